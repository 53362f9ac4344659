from __future__ import annotations

from pathlib import Path

from tiffin.cli.reference import page
from tiffin.cli.settings import FLAGS
from tiffin.config.load import settings

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "configuration.md"


def test_the_committed_page_is_current():
    assert PAGE.read_text() == page(), "python -m tiffin.cli.reference > docs/reference/configuration.md"


def test_the_page_has_one_row_for_each_setting():
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [setting.key for setting in settings()]


def test_every_flag_is_a_setting_and_on_the_page():
    assert set(FLAGS) <= {setting.key for setting in settings()}
    assert [flag for flag in FLAGS.values() if f"`{flag}`" not in page()] == []
