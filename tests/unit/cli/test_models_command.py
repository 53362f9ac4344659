"""`tiffin models …`: what the commands print, in a pipe and as JSON, and what they say when something cannot be."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.unit.store.made import add
from tiffin.cli.main import cli
from tiffin.cli.models_view import plain, size_text
from tiffin.store.store import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path / "home"))
    return Store(tmp_path / "home")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["models", *arguments])


def test_list_shows_what_is_there_in_plain_columns(store: Store) -> None:
    add(store, "digits", "v1")
    add(store, "iris", "v2", code=True, framework="pickle", format="pickle")
    found = run("list")
    assert found.exit_code == 0
    head, first, second = found.stdout.splitlines()
    assert head.split() == ["Model", "Tags", "Framework", "Size", "Created", "Trust"]
    assert first.split()[:3] == ["digits:v1", "latest", "folder/folder"]
    assert first.endswith("data")
    assert second.endswith("NOT TRUSTED")
    listed = json.loads(run("list", "--json").stdout)
    assert [(one["name"], one["version"], one["trusted"], one["tags"]) for one in listed] == [
        ("digits", "v1", False, ["latest"]),
        ("iris", "v2", False, ["latest"]),
    ]


def test_an_empty_store_says_what_to_do(store: Store) -> None:
    found = run("list")
    assert (found.exit_code, found.stdout) == (0, "")
    assert "tiffin models import" in found.stderr


def test_get_shows_everything(store: Store) -> None:
    add(store, labels={"team": "vision"}, metadata={"accuracy": 0.98})
    found = run("get", "digits")
    assert "label team" in found.stdout
    assert "weights.bin" in found.stdout
    assert json.loads(run("get", "digits", "--json").stdout)["metadata"] == {"accuracy": 0.98}


@pytest.mark.parametrize(
    "command", [("get",), ("inspect",), ("delete", "-y"), ("trust",), ("export",), ("tag",), ("list",)]
)
def test_a_name_that_is_not_there_names_what_is_near(store: Store, command: tuple[str, ...]) -> None:
    add(store)
    name = "digit" if command[0] == "list" else "digit:v1"
    found = run(*command, name, *(["x"] if command[0] == "tag" else []))
    assert found.exit_code == 66
    assert "hint: did you mean 'digits'?" in found.stderr


def test_tag_untag_and_delete(store: Store) -> None:
    add(store)
    assert run("tag", "digits:v1", "prod").stdout == "digits:v1 is digits:prod\n"
    assert run("tag", "digits", "prod", "--remove").exit_code == 0
    assert run("delete", "digits").exit_code == 65  # which one?
    assert CliRunner().invoke(cli, ["models", "delete", "digits:v1"], input="n\n").exit_code == 130
    assert run("delete", "-y", "digits:v1").stdout == "deleted digits:v1\n"
    assert store.names() == []


def test_export_and_import(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(store)
    place = run("export", "digits", str(tmp_path)).stdout.strip()
    assert place.endswith("digits-v1.tar")
    assert run("export", "digits", place).exit_code == 65
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path / "other"))
    assert run("import", place).stdout == "digits:v1\n"
    assert run("import", place, "--name", "mine:v9").stdout == "mine:v9\n"
    cut = tmp_path / "cut.tar"
    cut.write_bytes(Path(place).read_bytes()[:-2000])
    found = run("import", str(cut), "--name", "third")
    assert found.exit_code == 74
    assert "ends too early" in found.stderr


def test_a_pickle_is_not_taken_without_trust_and_inspect_says_why(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"a": pytest.raises}))
    refused = run("import", str(path))
    assert refused.exit_code == 77
    assert "--trust" in refused.stderr
    looked = run("inspect", str(path))
    assert looked.exit_code == 77
    assert "imports _pytest.raises.raises" in looked.stdout
    assert run("import", str(path), "--trust").stdout.startswith("model:")
    assert "trusted" in run("list").stdout


def test_inspect_of_data_is_clean(store: Store) -> None:
    add(store)
    found = run("inspect", "digits")
    assert (found.exit_code, found.stdout) == (0, "digits: 3 files, data alone: loading it runs nothing\n")
    assert json.loads(run("inspect", "digits", "--json").stdout)["looked"] == 3


def test_du_and_gc(store: Store) -> None:
    add(store)
    assert json.loads(run("du", "--json").stdout)["disk_bytes"] == 3008
    assert "3.0 kB" in run("du").stdout
    assert run("gc").stdout == "freed 0 B\n"


def test_what_others_wrote_cannot_command_the_terminal(store: Store) -> None:
    add(store, labels={"x": "\x1b[2Jgone\r\n"}, metadata={"y\x07": "z"})
    shown = run("get", "digits").stdout
    assert "\x1b" not in shown
    assert "\\x1b[2Jgone\\x0d\\x0a" in shown
    assert plain("ok é") == "ok é"


def test_sizes_for_people() -> None:
    assert [size_text(size) for size in (0, 999, 1000, 91_600_000, 268_000_000, 5 * 10**12)] == [
        "0 B", "999 B", "1.0 kB", "91.6 MB", "268 MB", "5.0 TB",
    ]  # fmt: skip
