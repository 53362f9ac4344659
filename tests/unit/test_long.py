"""The runner of the slow cases: what is done stays done, and only for the commit it was measured on."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "long.py"


@pytest.fixture
def long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("long_under_test", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(module, "commit", lambda: "abc")
    test = tmp_path / "test_case.py"
    test.write_text(
        "import json, os\n"
        "def test_good(): open(os.environ['LONG_FIGURES'], 'w').write(json.dumps({'failed_calls': 0}))\n"
        "def test_bad(): assert False\n"
    )
    alone = ("-p", "no:cacheprovider", "--noconftest", "-c", "/dev/null", "--rootdir", str(tmp_path))
    cases = tuple(module.Case(name, name, (*alone, f"{test}::test_{name}")) for name in ("good", "bad"))
    monkeypatch.setattr(module, "CASES", cases)
    monkeypatch.setattr(module, "OPTIONS", ())
    return module


def test_results_say_what_was_measured(long: ModuleType, tmp_path: Path) -> None:
    assert long.main([]) == 1
    good = json.loads((tmp_path / "good.json").read_text())
    assert (good["passed"], good["commit"], good["figures"]) == (True, "abc", {"failed_calls": 0})
    assert good["machine"]["cores"] > 0
    assert json.loads((tmp_path / "bad.json").read_text())["passed"] is False


def test_a_good_result_is_not_measured_again(
    long: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = {"passed": True, "commit": "abc"}
    (tmp_path / "good.json").write_text(json.dumps(result))
    (tmp_path / "bad.json").write_text(json.dumps(result))
    assert long.main([]) == 0
    assert capsys.readouterr().out.count("has a good result") == 2
    assert long.main(["bad"]) == 1


def test_an_unknown_case_is_named(long: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert long.main(["godo"]) == 2
    assert "'godo'; there are: good, bad" in capsys.readouterr().err
