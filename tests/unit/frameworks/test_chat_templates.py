"""Case S-MODEL-09: templates of a stranger's model are read before anything could render them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiffin
from tiffin.errors import TrustError
from tiffin.frameworks.chat_templates import reach

pytest.importorskip("jinja2", reason="jinja2 is not installed (it comes with PyTorch)")

HOSTILE = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('x') }}{{ a.__init__ }}",
    "{% for i in range(1000000000) %}{% endfor %}",
    "{{ 'a' * 10000000000 }}",
    "{{ 'a' * n }}",
    "{{ n * 99999999 }}",
    "{{ 10 ** 99 }}",
    "{% generation %}{{ 'a' * 10000000000 }}{% endgeneration %}",
    "{% if %}",
]
USUAL = [
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] }}{% endfor %}",
    "{%- if tools %}{{ tools | tojson(indent=4) }}{% endif %}{{ messages[0].content.strip() }}",
    "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{% generation %}{{ m.x }}{% endgeneration %}{% endfor %}",
    "{% set ns = namespace(found=false) %}{{ raise_exception('x') if not ns.found }}{{ strftime_now('%d') }}{{ 2 * loop_count }}",
]


@pytest.mark.parametrize("template", HOSTILE)
def test_s_model_09_what_is_no_layout_is_found(template: str) -> None:
    assert reach(template)


@pytest.mark.parametrize("template", USUAL)
def test_s_model_09_what_models_use_is_harmless(template: str) -> None:
    assert reach(template) == []


@pytest.mark.parametrize("place", ["tokenizer_config.json", "named", "chat_template.jinja"])
def test_s_model_09_a_model_with_such_a_template_needs_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path / "home"))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    (folder / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    assert not tiffin.models.import_(folder, "plain").info.code
    bomb = "{{ 'a' * 10000000000 }}"
    if place == "chat_template.jinja":
        (folder / place).write_text(bomb)
    else:
        given = bomb if place != "named" else [{"name": "default", "template": bomb}]
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": given}))
    with pytest.raises(TrustError):
        tiffin.models.import_(folder, "bomb")
