"""A bar for what takes longer than a second, on a terminal; nothing in a pipe.

Owns the bar; never decides what is counted. Sizes in bytes, times in seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

_PATIENCE_S = 1.0


@contextmanager
def working(what: str) -> Generator[None]:
    """Show on a terminal that something without a measure goes on."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


class Bar:
    """Shows progress on stderr once something has taken a second; a context manager, called with what, done, total."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._shown: Any = None
        self._task: Any = None
        self._what = ""
        self._wanted = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown is not None:
            self._shown.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Move the bar."""
        if not self._wanted or (self._shown is None and time.monotonic() - self._started < _PATIENCE_S):
            return
        if self._shown is None:
            from rich import progress
            from rich.console import Console

            self._shown = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.DownloadColumn(),
                progress.TransferSpeedColumn(),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._shown.start()
        if what != self._what:
            if self._task is not None:
                self._shown.remove_task(self._task)
            self._what, self._task = what, self._shown.add_task(what, total=total)
        self._shown.update(self._task, completed=done, total=total)
