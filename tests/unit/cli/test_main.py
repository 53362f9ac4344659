"""The command as a user meets it: what it prints, where, and the exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import tiffin.server.supervisor
from tiffin.cli.main import COMMANDS, cli
from tiffin.cli.say import say_exception
from tiffin.config.load import settings
from tiffin.errors import Code, ConfigError, Error, PlacementError, SpecError, StartError, UsageError
from tiffin.version import VERSION


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("TIFFIN_"):
            monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Record what would be served, and end with a status of its own."""
    calls: list[tuple[Any, ...]] = []

    def run(target: str, app_dir: str, config: object, *, reload: bool = False) -> int:
        calls.append((target, app_dir, config, reload))
        return 65

    monkeypatch.setattr(tiffin.server.supervisor, "run", run)
    return calls


def tiffin_(*arguments: str, color: bool = False) -> Result:
    return CliRunner().invoke(cli, list(arguments), color=color)


def refused(status: int, *arguments: str) -> list[str]:
    result = tiffin_(*arguments)
    assert (result.exit_code, result.stdout) == (status, ""), result.output
    return result.stderr.splitlines()


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_lists_every_command(arguments):
    result = tiffin_(*arguments)
    assert result.exit_code == 0
    assert [name for name in COMMANDS if f"\n  {name} " not in result.stdout] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_what_the_command_itself_says(name):
    command = cli.get_command(click.Context(cli, **cli.context_settings), name)
    assert command is not None
    own = command.get_short_help_str(limit=500)
    assert own.split()[0] == COMMANDS[name].split()[0]
    assert tiffin_(name, "--help").exit_code == 0


def test_version():
    assert tiffin_("--version").stdout == f"tiffin {VERSION}\n"
    assert tiffin_("version").stdout.startswith(f"tiffin {VERSION}\npython 3.")


def test_serve_hands_target_folder_and_settings_on_and_ends_with_the_servers_status(here, served):
    result = tiffin_("serve", "service:Digits", "--port", "4000", "--set", "traffic.timeout_s=5", "--reload")
    assert result.exit_code == 65
    ((target, folder, config, reload),) = served
    assert (target, folder, reload) == ("service:Digits", str(here), True)
    assert (config.http.port, config.traffic.timeout_s) == (4000, 5)


def test_an_interrupt_is_an_exit_status(monkeypatch, served):
    def run(*_args: object, **_more: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(tiffin.server.supervisor, "run", run)
    assert tiffin_("serve", "service:Digits").exit_code == 130


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("what", hint="do"), 2),
        (SpecError("what", hint="do"), 65),
        (PlacementError("what", hint="do"), 69),
        (StartError("what", hint="do"), 71),
        (ConfigError("what", hint="do"), 78),
        (StartError("what", hint="do", exit_code=48), 48),
    ],
)
def test_an_error_is_two_lines_and_its_own_status(monkeypatch, error, status):
    def run(*_args: object, **_more: object) -> int:
        raise error

    monkeypatch.setattr(tiffin.server.supervisor, "run", run)
    assert refused(status, "serve", "service:Digits") == ["error: what", "hint: do"]


def test_an_error_without_a_hint_is_one_line(capsys):
    assert say_exception(StartError("what")) == 71
    assert capsys.readouterr().err == "error: what\n"


@pytest.mark.parametrize(("code", "status"), [("OVERLOADED", 75), ("INVALID_INPUT", 65), ("app.mine", 70)])
def test_a_failed_call_has_its_codes_status(capsys, code, status):
    assert say_exception(Error("what", code=code)) == status
    assert capsys.readouterr().err == f"error: {code}: what\n"


def test_every_code_has_an_exit_status(capsys):
    assert [code for code in Code if not 0 < say_exception(Error("x", code=code)) < 256] == []


def test_a_command_that_does_not_exist_names_the_nearest():
    assert refused(2, "serv") == ["error: no command 'serv'", "hint: did you mean 'serve'?"]
    assert "serve" in refused(2, "xyzzy")[1]


def test_a_target_without_the_command_is_understood():
    assert refused(2, "service:Digits")[1] == "hint: to serve it: tiffin serve service:Digits"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("serve", "--prot", "3"), "--prot"),
        (("serve", "--port"), "--port"),
        (("serve", "a", "b"), "b"),
        (("--nope",), "--nope"),
    ],
)
def test_what_click_refuses_looks_the_same(arguments, named):
    lines = refused(2, *arguments)
    assert lines[0].startswith("error: ")
    assert named in lines[0]
    assert "--help" in lines[1]


def test_a_wrong_setting_is_refused_before_anything_starts(served):
    assert refused(78, "serve", "service:Digits", "--port", "x")[0].startswith("error: http.port = 'x' (--port)")
    assert refused(78, "config", "--set", "http.prot=1")[1] == "hint: did you mean 'http.port'?"
    assert refused(71, "serve", "gone.py")[0] == "error: file 'gone.py' does not exist"
    assert served == []


def test_colour_only_where_it_is_wanted(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" not in tiffin_("serv").stderr
    assert tiffin_("serv", color=True).stderr.startswith("\x1b[31m\x1b[1merror:\x1b[0m no command")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in tiffin_("serv", color=True).stderr


def test_config_shows_every_setting_and_its_source(here, monkeypatch):
    (here / "tiffin.toml").write_text("[http]\nport = 8\n")
    monkeypatch.setenv("TIFFIN_LOG_LEVEL", "debug")
    lines = tiffin_("config", "--workers", "3").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [setting.key for setting in settings()]
    shown = {line.split()[0]: line.split()[1:] for line in lines}
    assert shown["http.port"] == ["8", "(tiffin.toml)"]
    assert shown["log.level"] == ["debug", "(environment)"]
    assert shown["workers.count"] == ["3", "(--workers)"]
    assert shown["http.host"] == ["127.0.0.1"]


def test_config_as_json():
    found = json.loads(tiffin_("config", "--json", "--port", "5").stdout)
    assert found["http.port"] == {"value": 5, "source": "--port"}
    assert list(found) == [setting.key for setting in settings()]


def test_help_imports_no_server():
    program = (
        "import sys; from tiffin.cli.main import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "names = ('msgspec', 'asyncio', 'rich', 'numpy', 'tiffin.server', 'tiffin.cli.serve')\n"
        "print([name for name in names if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=20)
    heavy = done.stderr.strip()
    assert heavy == "['msgspec']"  # what `import tiffin` itself needs


def test_a_failed_call_names_its_request_and_a_refused_one_says_all_in_its_message(capsys):
    failed = Error("it broke", code=Code.METHOD_FAILED, request_id="r-1")
    assert say_exception(failed) == 70
    assert capsys.readouterr().err.splitlines() == [
        "error: METHOD_FAILED: it broke",
        "hint: the server's log may tell more under request r-1",
    ]
    assert say_exception(Error("no", code=Code.INVALID_INPUT, request_id="r-2")) == 65
    assert capsys.readouterr().err.splitlines() == ["error: INVALID_INPUT: no"]
