"""Commands of the store killed from outside, by strace at their n-th system call that changes the disk; and disks that are full.

Cases F21 and F23: whatever was cut off, every name is absent or complete, and the next command works.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.registry import registry
from tests.unit.store.crash import complete, copy_store, leftovers
from tests.unit.store.made import FILES, add
from tiffin.store import exchange, oci
from tiffin.store.names import Ref
from tiffin.store.store import Store

CHANGING = "mkdir,mkdirat,rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,fsync,fchmod,ftruncate"

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, list[str]]]]:
    """Yield a folder with a store as it is before, and the commands by name."""
    folder = tmp_path_factory.mktemp("kills")
    store = Store(folder / "before")
    add(store, "digits", "v1")
    add(store, "digits", "v2", {"weights.bin": b"2" * 100})
    store.tag(Ref("digits", "v1"), "prod")
    other = add(Store(folder / "other"), "fresh", "v1", {**FILES, "deep/er/file": b"d" * 200_000})
    exchange.export(other, str(folder / "fresh.tar"))
    (folder / "given").mkdir()
    (folder / "given" / "a").write_bytes(b"a" * 1000)
    tiffin = [sys.executable, "-m", "tiffin", "models"]
    saving = f"import tiffin, pathlib; tiffin.models.save('saved:v1', pathlib.Path({str(folder / 'given')!r}))"
    with registry(folder) as host:
        oci.push(other, oci.parse_place(f"{host}/fresh:v1"))
        yield (
            folder,
            {
                "save": [sys.executable, "-c", saving],
                "import": [*tiffin, "import", str(folder / "fresh.tar")],
                "delete": [*tiffin, "delete", "-y", "digits:v1"],
                "tag": [*tiffin, "tag", "digits:v2", "prod"],
                "pull": [*tiffin, "pull", f"{host}/fresh:v1"],
            },
        )


def run(command: list[str], home: Path, at: tuple[str, int] | None, log: Path) -> int:
    """Run a command under strace, killed at the n-th system call of a name; return its exit status."""
    inject = [] if at is None else ["-e", f"inject={at[0]}:signal=KILL:when={at[1]}"]
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={CHANGING}", *inject, *command],
        env={**os.environ, "TIFFIN_HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode


def kills(folder: Path, name: str, command: list[str], wanted: int) -> int:
    """Kill a command at evenly spread points; return how often it died."""
    log = folder / f"{name}.log"
    counted = folder / f"{name}-count"
    copy_store(folder / "before", counted)
    assert run(command, counted, None, log) == 0
    names = re.findall(r"^\d+\s+(\w+)\(", log.read_text(), re.MULTILINE)
    calls = [(name, names[: index + 1].count(name)) for index, name in enumerate(names)]
    assert len(calls) > 5
    died = 0
    for index in range(wanted):
        when = calls[index * len(calls) // wanted]
        home = folder / f"{name}-{index}"
        copy_store(folder / "before", home)
        died += run(command, home, when, log) != 0
        store = Store(home)
        complete(store)
        store.find(Ref("digits", "v2")).verify()
        status = subprocess.run(
            command, env={**os.environ, "TIFFIN_HOME": str(home)}, capture_output=True, timeout=60, check=False
        ).returncode
        if name == "delete" and status != 0:
            assert [one.manifest.version for one in store.versions("digits")] == ["v2"]  # the first try had done it
        elif name == "save" and status != 0:
            store.find(Ref("saved", "v1")).verify()
        else:
            assert status == 0
        complete(store)
        assert leftovers(store) == []
        shutil.rmtree(home)
    return died


@needs_strace
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["save", "import", "delete", "tag", "pull"])
def test_f23_killed_at_a_few_steps(world: tuple[Path, dict[str, list[str]]], name: str) -> None:
    folder, commands = world
    assert kills(folder, name, commands[name], 4) >= 3


@pytest.mark.long
@needs_strace
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", ["save", "import", "delete", "tag", "pull"])
def test_f23_killed_at_sixty_steps(world: tuple[Path, dict[str, list[str]]], name: str) -> None:
    folder, commands = world
    assert kills(folder, name, commands[name], 60) >= 45


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder on a disk of 2 MB; skip where none can be mounted."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("how", ["import", "save"])
def test_f21_a_full_disk_is_said_and_nothing_is_left(small_disk: Path, tmp_path: Path, how: str) -> None:
    store = Store(small_disk / "home")
    add(store)
    add(Store(tmp_path / "other"), "large", "v1", {"weights.bin": os.urandom(3_000_000)})
    archive = exchange.export(Store(tmp_path / "other").find(Ref("large")), str(tmp_path / "large.tar"))
    (tmp_path / "weights.bin").write_bytes(os.urandom(3_000_000))
    saving = f"import tiffin, pathlib; tiffin.models.save('large', pathlib.Path({str(tmp_path / 'weights.bin')!r}))"
    command = [sys.executable, "-m", "tiffin", "models", "import", archive]
    if how == "save":
        command = [sys.executable, "-c", saving]
    done = subprocess.run(
        command,
        env={**os.environ, "TIFFIN_HOME": str(store.root)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    if how == "import":
        assert done.returncode == 74
        assert "the disk is full" in done.stderr
        assert "tiffin models gc" in done.stderr
    assert store.names() == ["digits"]
    complete(store)
    assert leftovers(store) == []
    add(store, version="v2", files={"x": b"x" * 1000})
