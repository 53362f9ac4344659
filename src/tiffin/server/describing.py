"""Getting to know the user's application: from the cache, else from a describe child.

Owns the child while it runs; never imports user code itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import msgspec

from tiffin.server.describe_cache import DescribeCache
from tiffin.server.loop import Loop
from tiffin.server.processes import Child, describe_exit
from tiffin.spec.service import Application

_READ_BYTES = 65_536


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of describing.

    Attributes:
        application: None where it went wrong. files: the user's files that it depends on. cached: no child was needed.
        problem: what went wrong, for the log; the child has told the details on stderr. status: the child's exit status.
    """

    application: Application | None
    files: list[str] = []
    cached: bool = False
    problem: str = ""
    status: int = 0


class _Printed(msgspec.Struct, frozen=True):
    """What a describe child prints, as JSON. files: the user's files that it imported."""

    application: Application
    files: list[str] = []


class Describer:
    """Describes one target, as often as asked.

    Args:
        loop: watches the child. cache: what earlier children said. target, app_dir: what to describe, and the folder to import
            from. timeout_s: longest time for a child.
    """

    def __init__(self, loop: Loop, cache: DescribeCache, target: str, app_dir: str, timeout_s: float) -> None:
        self._loop = loop
        self._cache = cache
        self._target = target
        self._app_dir = app_dir
        self._timeout_s = timeout_s
        self._run: _Run | None = None

    @property
    def pid(self) -> int | None:
        """Number of the child that is running, None for none."""
        return None if self._run is None else self._run.pid

    def describe(self, done: Callable[[Described], None], *, use_cache: bool = True) -> None:
        """Describe now; a child that is still running for an earlier order is stopped and its order forgotten.

        Args:
            done: gets the outcome, before this returns when it was cached.
            use_cache: false: what the cache says turned out to be wrong; it is forgotten.
        """
        self.cancel()
        if use_cache:
            entry = self._cache.get(self._target, self._app_dir)
            if entry is not None:
                done(Described(application=entry.application, files=[stamp.path for stamp in entry.files], cached=True))
                return
        else:
            self._cache.drop(self._target, self._app_dir)

        def finished(described: Described) -> None:
            self._run = None
            if described.application is not None:
                self._cache.put(self._target, self._app_dir, described.application, described.files)
            done(described)

        self._run = _Run(self._loop, self._target, self._app_dir, self._timeout_s, finished)

    def cancel(self) -> None:
        """Stop a child that is running; its order gets no outcome."""
        if self._run is not None:
            self._run.discard()
            self._run = None


class _Run:
    """One describe child and the pipe that it prints to."""

    def __init__(
        self, loop: Loop, target: str, app_dir: str, timeout_s: float, finished: Callable[[Described], None]
    ) -> None:
        self._loop = loop
        self._finished = finished
        self._output = bytearray()
        self._late = False
        self._pipe, theirs = os.pipe()
        os.set_blocking(self._pipe, False)
        # -P: see the worker's start.
        argv = [sys.executable, "-P", "-m", "tiffin.service.describe", target, "--dir", app_dir]
        try:
            self._child = Child(loop, argv, os.environ, (), self._ended, stdout=theirs)
        finally:
            os.close(theirs)
        self._timer = loop.later(timeout_s, self._too_late)
        loop.watch(self._pipe, self._read)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._child.pid

    def discard(self) -> None:
        """Kill the child, say nothing."""
        self._child.discard()
        self._close()

    def _read(self) -> None:
        try:
            while data := os.read(self._pipe, _READ_BYTES):
                self._output += data
        except BlockingIOError:
            return
        self._loop.unwatch(self._pipe)

    def _too_late(self) -> None:
        self._late = True
        self._child.kill()

    def _ended(self, status: int) -> None:
        self._read()  # what it wrote last
        self._close()
        self._finished(self._outcome(status))

    def _outcome(self, status: int) -> Described:
        if self._late:
            return Described(application=None, status=1, problem="importing the service took too long")
        if status != 0:
            return Described(
                application=None,
                status=status if status > 0 else 128 - status,  # as a shell says it
                problem=f"the service cannot be described ({describe_exit(status)})",
            )
        try:
            found = msgspec.json.decode(self._output, type=_Printed)
        except msgspec.DecodeError as error:
            return Described(application=None, status=70, problem=f"the describe child printed nonsense: {error}")
        return Described(application=found.application, files=list(found.files))

    def _close(self) -> None:
        self._timer.cancel()
        self._loop.unwatch(self._pipe)
        os.close(self._pipe)
