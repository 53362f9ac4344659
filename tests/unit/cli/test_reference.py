from __future__ import annotations

import inspect
from pathlib import Path

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
    assert set(inspect.signature(tiffin.service).parameters) == {"cls", *ServiceOptions.__struct_fields__}
