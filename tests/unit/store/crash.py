"""A crash in the middle of a store command: the hook of `store.fs` raises at one step, and at every step after it.

`sweep` runs a command once to count its steps, then once for each point before and after each step, in a fresh copy of the store.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tiffin.store import fs
from tiffin.store.names import Ref
from tiffin.store.store import Store


class Crash(BaseException):
    """The process is gone."""


def points(command: Callable[[Store], object], root: Path) -> int:
    """Return how many points a command has at which it can stop."""
    seen = 0

    def count(when: str, step: str, path: str) -> None:
        nonlocal seen
        seen += 1

    fs.hook = count
    try:
        command(Store(root))
    finally:
        fs.hook = None
    return seen


def stopped_at(point: int, command: Callable[[Store], object], root: Path) -> bool:
    """Run a command and stop it at a point; return whether it got there."""
    left = point

    def stop(when: str, step: str, path: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:  # and from now on: no clean-up runs in a process that is gone
            raise Crash(f"{when} {step} {path}")

    fs.hook = stop
    try:
        command(Store(root))
    except Crash:
        return True
    finally:
        fs.hook = None
    return False


def sweep(command: Callable[[Store], object], before: Path, scratch: Path, check: Callable[[Store], None]) -> int:
    """Stop a command at every point; after each, every name must be absent or complete, and the command must work.

    Args:
        command: changes a store. before: a store as it is before. check: further looks at the store after the crash.
    """
    copy_store(before, scratch / "count")
    total = points(command, scratch / "count")
    assert total > 4
    for point in range(total):
        root = scratch / f"at-{point}"
        copy_store(before, root)
        assert stopped_at(point, command, root)
        store = Store(root)
        complete(store)
        check(store)
        command(store)
        complete(store)
        assert leftovers(store) == []
        shutil.rmtree(root)
    return total


def copy_store(source: Path, target: Path) -> None:
    """Copy a store with its hard links."""
    import subprocess

    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def complete(store: Store) -> None:
    """Make sure that every name that is there is complete, and every tag leads somewhere."""
    for name in store.names():
        for stored in store.versions(name):
            stored.verify()
        store.find(Ref(name)).verify()
        for tag in store.tags(name):
            store.find(Ref(name, tag)).verify()


def leftovers(store: Store) -> list[str]:
    """Return what crashed commands left that the next draft does not sweep."""
    with store.draft():
        pass
    return [path.name for path in (store.root / "tmp").iterdir() if path.is_dir()]
