"""Case S-WIRE-06: nothing in Tiffin unpickles, evaluates or executes text, but the one file that loads trusted models."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src" / "tiffin"
TRUSTED = "frameworks/trusted.py"
MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "code", "codeop"}
CALLS = {"eval", "exec", "compile", "__import__"}
# The name of an error, so that a refused load can be explained.
ALLOWED = {"frameworks/torch.py imports _pickle.UnpicklingError"}


def findings() -> set[str]:
    found: set[str] = set()
    for path in sorted(SOURCE.rglob("*.py")):
        where = path.relative_to(SOURCE).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {
                    f"{where} imports {name.name}" for name in node.names if name.name.partition(".")[0] in MODULES
                }
            elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
                found |= {f"{where} imports {node.module}.{name.name}" for name in node.names}
            elif isinstance(node, ast.Call):
                found |= {f"{where} {said}" for said in _call(node)}
    return found


def _call(node: ast.Call) -> set[str]:
    said: set[str] = set()
    name = ast.unparse(node.func)
    if isinstance(node.func, ast.Name) and name in CALLS:
        said.add(f"calls {name}")
    first = node.args[0] if node.args else None
    if (
        isinstance(first, ast.Constant)
        and first.value in MODULES
        and name in ("library", "importlib.import_module", "import_module")
    ):
        said.add(f"loads {first.value}")
    for keyword in node.keywords:
        value = ast.unparse(keyword.value)
        if (keyword.arg, value) in (("allow_pickle", "True"), ("weights_only", "False"), ("safe_mode", "False")):
            said.add(f"passes {keyword.arg}={value} to {name}")
    if name.endswith(("yaml.load", "yaml.unsafe_load", "yaml.full_load")):
        said.add(f"calls {name}")
    return said


def test_s_wire_06_only_the_trusted_loader_unpickles() -> None:
    assert {one for one in findings() if not one.startswith(TRUSTED)} == ALLOWED


def test_s_wire_06_the_scan_sees_the_trusted_loader() -> None:
    assert {one for one in findings() if one.startswith(TRUSTED)} == {
        f"{TRUSTED} imports pickle",
        f"{TRUSTED} loads joblib",
        f"{TRUSTED} passes weights_only=False to library('torch').load",
    }
