from __future__ import annotations

import os
from pathlib import Path

import click
import pytest

from tiffin.cli.settings import FLAGS, gather, setting_options
from tiffin.config.parts import Config
from tiffin.errors import ConfigError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("TIFFIN_"):
            monkeypatch.delenv(name)
    return tmp_path


def gathered(*arguments: str) -> tuple[Config, dict[str, str]]:
    """Return what a command with these arguments gets."""
    found: list[tuple[Config, dict[str, str]]] = []

    @click.command()
    @setting_options
    def command(**given: object) -> None:
        found.append(gather(given))

    command.main(list(arguments), standalone_mode=False)
    return found[0]


def refused(*arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        gathered(*arguments)
    return f"{caught.value.message} {caught.value.hint}"


def test_nothing_given():
    assert gathered()[0] == Config()


def test_flag_over_set_over_environment_over_file_over_default(here, monkeypatch):
    (here / "tiffin.toml").write_text("[http]\nport = 1\nhost = '1'\npath_prefix = '/1'\n[traffic]\ntimeout_s = 1\n")
    monkeypatch.setenv("TIFFIN_HTTP_PORT", "2")
    monkeypatch.setenv("TIFFIN_HTTP_HOST", "2")
    monkeypatch.setenv("TIFFIN_HTTP_PATH_PREFIX", "/2")
    config, sources = gathered("--set", "http.port=3", "--set", "http.host=3", "--port", "4")
    assert (config.http.port, config.http.host, config.http.path_prefix, config.traffic.timeout_s) == (4, "3", "/2", 1)
    keys = ("http.port", "http.host", "http.path_prefix", "traffic.timeout_s", "http.docs")
    assert [sources[key] for key in keys] == ["--port", "--set", "environment", "tiffin.toml", "default"]


def test_every_flag_sets_its_setting():
    values = {"http.port": "1", "workers.count": "2", "http.path_prefix": "/p", "log.level": "error"}
    for key, flag in FLAGS.items():
        if key == "http.tls_key":
            continue  # not without its certificate
        _config, sources = gathered(flag, values.get(key, "x"))
        assert [name for name, source in sources.items() if source != "default"] == [key]
        assert sources[key] == flag


def test_a_flag_for_a_list_is_repeated():
    config, _sources = gathered("--cors-origin", "https://a", "--cors-origin", "https://b")
    assert config.http.cors_origins == ("https://a", "https://b")


def test_the_section_of_pyproject_is_a_settings_file(here):
    (here / "pyproject.toml").write_text("[project]\nname = 'x'\n[tool.tiffin.http]\nport = 8\n")
    config, sources = gathered()
    assert (config.http.port, sources["http.port"]) == (8, "pyproject.toml")


def test_tiffin_toml_goes_before_pyproject(here):
    (here / "pyproject.toml").write_text("[tool.tiffin.http]\nport = 8\n")
    (here / "tiffin.toml").write_text("[http]\nport = 9\n")
    assert gathered()[0].http.port == 9


def test_a_named_file_takes_the_place_of_the_others(here):
    (here / "tiffin.toml").write_text("[http]\nport = 9\n")
    (here / "other.toml").write_text("[http]\nhost = 'h'\n")
    config, sources = gathered("--config", "other.toml")
    assert (config.http.port, config.http.host, sources["http.host"]) == (3000, "h", "other.toml")


@pytest.mark.parametrize("text", ["[http\n", "http = 1\n", "[http]\nprot = 1\n", "[http]\nport = 'x'\n"])
def test_a_wrong_file_is_named(here, text):
    (here / "tiffin.toml").write_text(text)
    assert "tiffin.toml" in refused()


def test_a_file_that_is_not_text_is_named(here):
    (here / "tiffin.toml").write_bytes(b"\xff\xfe")
    assert "tiffin.toml" in refused()


def test_a_tool_section_of_another_shape(here):
    (here / "pyproject.toml").write_text("[tool]\ntiffin = 3\n")
    assert "pyproject.toml" in refused()


def test_a_named_file_must_be_there():
    assert "'gone.toml' does not exist" in refused("--config", "gone.toml")


@pytest.mark.parametrize("assignment", ["http.port", "", "=3", "http.port:3"])
def test_set_takes_key_and_value(assignment):
    assert "--set" in refused("--set", assignment)


def test_a_value_may_hold_an_equals_sign():
    assert gathered("--set", "http.tls_certificate=a=b")[0].http.tls_certificate == "a=b"


def test_of_two_assignments_the_last_counts():
    assert gathered("--set", "http.port=1", "--set", "http.port=2")[0].http.port == 2
