from __future__ import annotations

import inspect
import typing
from pathlib import Path

import pytest

import tiffin
from tiffin.cli.reference import page
from tiffin.cli.settings import FLAGS
from tiffin.config.load import settings
from tiffin.errors import FACTS
from tiffin.service.options import ApiOptions, ServiceOptions

PAGES = Path(__file__).parents[3] / "docs" / "reference"


def test_the_committed_page_is_current():
    assert (PAGES / "configuration.md").read_text() == page(), (
        "python -m tiffin.cli.reference > docs/reference/configuration.md"
    )


def test_the_configuration_page_has_one_row_for_each_setting():
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [setting.key for setting in settings()]


def test_every_flag_is_a_setting_and_on_the_page():
    assert set(FLAGS) <= {setting.key for setting in settings()}
    assert [flag for flag in FLAGS.values() if f"`{flag}`" not in page()] == []


def test_the_service_page_has_every_code_with_its_status():
    text = (PAGES / "service.md").read_text()
    inside = {"CANCELLED"}  # nobody is there to read it
    assert [code for code in FACTS if code not in inside and f"| `{code}` | {FACTS[code].status} |" not in text] == []


def test_the_service_page_has_every_option():
    text = (PAGES / "service.md").read_text()
    options = (*ApiOptions.__struct_fields__, *ServiceOptions.__struct_fields__)
    assert [name for name in options if f"| `{name}` |" not in text] == []


@pytest.mark.parametrize(("decorator", "options"), [(tiffin.service, ServiceOptions), (tiffin.api, ApiOptions)])
def test_editors_show_every_option_with_its_default(decorator, options):
    shown = inspect.signature(typing.get_overloads(decorator)[1]).parameters
    assert list(shown) == list(options.__struct_fields__)
    plain = options()
    assert [name for name in shown if (shown[name].default or None) != (getattr(plain, name) or None)] == []
