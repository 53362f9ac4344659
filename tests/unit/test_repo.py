"""What the repository itself must keep: nothing of one machine in it, and a light import."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Spelled in pieces: this file is searched too. A mirror, a proxy or a closed network must be a setting of pip, not of the code.
REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pypi", "python", "org"),
        ("files", "pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("deb", "debian", "org"),
        ("archive", "ubuntu", "com"),
        ("proxy", "golang", "org"),
        ("crates", "io"),
    )
)
MACHINE_PATHS = ("/" + "work/", "/" + "root/", "/tmp/" + "brief", "/" + "home/")
HEAVY = ("numpy", "torch", "pydantic", "grpc", "uvloop", "httptools", "rich", "pynvml", "asyncio", "httpx")


def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def texts() -> list[tuple[Path, str]]:
    found = []
    for path in tracked():
        try:
            found.append((path.relative_to(ROOT), path.read_text()))
        except UnicodeDecodeError:
            continue  # a picture, a font
    return found


@pytest.mark.parametrize("needle", REGISTRY_HOSTS + MACHINE_PATHS)
def test_no_host_or_path_of_one_place_is_committed(needle: str) -> None:
    assert [str(path) for path, text in texts() if needle in text] == []


def test_every_module_says_what_it_owns() -> None:
    silent = [
        str(path)
        for path, text in texts()
        if path.parts[:2] == ("src", "tiffin")
        and path.suffix == ".py"
        and text.strip()
        and not text.lstrip().startswith('"""')
    ]
    assert silent == []


def test_no_room_for_everything() -> None:
    nameless = re.compile(r"(^|/)(utils?|helpers?|common|misc|_internal)(\.py|/)")
    assert [str(path) for path in tracked() if nameless.search(str(path.relative_to(ROOT)))] == []


def test_files_stay_short_or_say_why() -> None:
    """Above 400 lines a module's docstring has a sentence with "long because"."""
    long = [
        f"{path}: {len(text.splitlines())} lines"
        for path, text in texts()
        if path.parts[:2] == ("src", "tiffin")
        and path.suffix == ".py"
        and len(text.splitlines()) > 400
        and "long because" not in " ".join((ast.get_docstring(ast.parse(text)) or "").split())
    ]
    assert long == []


def test_import_loads_nothing_heavy() -> None:
    program = "import sys, json; import tiffin; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=20
    ).stdout
    loaded = set(json.loads(output))
    assert "tiffin" in loaded
    assert sorted(loaded.intersection(HEAVY)) == []


def test_every_public_name_exists() -> None:
    program = "import tiffin; [getattr(tiffin, name) for name in tiffin.__all__]; print(len(tiffin.__all__))"
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=20
    ).stdout
    assert int(output) > 5


def test_contract_refuses_what_it_should(tmp_path: Path) -> None:
    """The import contract is real: an upward import in a copy of the house is found."""
    house = tmp_path / "src" / "tiffin"
    for room in ("web", "engine", "codecs", "worker"):
        (house / room).mkdir(parents=True)
        (house / room / "__init__.py").write_text(f'"""{room}."""\n')
    (house / "__init__.py").write_text('"""tiffin."""\n')
    (house / "errors.py").write_text('"""errors."""\n')
    (house / "codecs" / "__init__.py").write_text("from tiffin import web\n")
    (house / "engine" / "__init__.py").write_text("from tiffin import worker\n")
    config = (ROOT / "pyproject.toml").read_text()
    start = config.index("[tool.importlinter]")
    house_contract = config[start : config.index('id = "front"')].rsplit("[[", 1)[0]
    (tmp_path / "pyproject.toml").write_text(house_contract)
    run = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "src"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert run.returncode == 1
    assert "tiffin.codecs is not allowed to import tiffin.web" in run.stdout
    assert "tiffin.engine is not allowed to import tiffin.worker" in run.stdout
