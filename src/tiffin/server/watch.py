"""Which of the user's files changed, for `--reload`.

Owns the stamps of the files that it looks at; never reloads anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_MOST_FILES = 2_000
_SKIPPED = {"__pycache__", "node_modules", "site-packages"}


class FileWatch:
    """Compares files with how they were.

    Args:
        files: the user's files that are known to matter. folder: every Python file below it matters too.
    """

    def __init__(self, files: Iterable[str], folder: str) -> None:
        self._files = sorted(set(files))
        self._folder = folder
        self._seen = self._look()

    def changed(self) -> list[str]:
        """Return the files that changed, came or went since the last call."""
        now = self._look()
        before, self._seen = self._seen, now
        return sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))

    def _look(self) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for path in [*self._files, *python_files(self._folder)]:
            try:
                stat = os.stat(path)  # noqa: PTH116 - called for every file twice a second
            except OSError:
                continue
            found[path] = (stat.st_mtime_ns, stat.st_size)
        return found


def python_files(folder: str) -> Iterator[str]:
    """Yield the Python files below a folder, without environments, hidden folders and caches, 2,000 at most."""
    count = 0
    for where, folders, files in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and name not in _SKIPPED and not (Path(where) / name / "pyvenv.cfg").exists()
        ]
        for name in files:
            if name.endswith(".py"):
                yield os.path.join(where, name)  # noqa: PTH118 - as above
                count += 1
                if count == _MOST_FILES:
                    return
