from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from tiffin.cli.help_page import page
from tiffin.cli.main import COMMANDS, cli
from tiffin.cli.settings import FLAGS

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"


def test_the_committed_page_is_current():
    assert PAGE.read_text() == page(), "python -m tiffin.cli.help_page > docs/reference/cli.md"


def test_every_command_has_its_part_and_every_flag_its_row():
    text = page()
    assert [name for name in COMMANDS if f"## tiffin {name}" not in text] == []
    serve = text.split("## tiffin serve\n")[1].split("\n## ")[0]
    assert [flag for flag in [*FLAGS.values(), "--config", "--set", "--reload"] if f"| `{flag}" not in serve] == []
    assert [line for line in serve.splitlines() if line.endswith("| None |")] == []


def test_making_the_page_leaves_the_commands_as_they_are():
    page()
    assert CliRunner().invoke(cli, ["-h"]).exit_code == 0
    assert CliRunner().invoke(cli, ["serve", "-h"]).exit_code == 0
