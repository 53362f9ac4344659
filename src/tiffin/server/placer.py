"""How workers are started and stopped: the seam behind which a cluster may stand later.

Owns the processes that it started on this machine; never decides when one is started or stopped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from tiffin.server.loop import Loop
from tiffin.server.processes import Child
from tiffin.worker.setup import SETUP_VARIABLE, WorkerSetup

_OOM_SCORE = "300"


class WorkerOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One worker to start: what it is told, and its environment beside ours (its devices)."""

    setup: WorkerSetup
    env: dict[str, str]


class Running(Protocol):
    """A worker that was started."""

    @property
    def pid(self) -> int:
        """Number of its process, where it runs."""
        ...

    @property
    def tree(self) -> frozenset[int]:
        """Numbers of all processes that ended with it; known when it has ended."""
        ...

    def terminate(self) -> None:
        """Ask it to end."""
        ...

    def kill(self) -> None:
        """End it and all that it started."""
        ...

    def dead(self) -> bool:
        """Tell whether it has ended already, though nobody was told so far."""
        ...

    def discard(self) -> None:
        """End it now and say nothing."""
        ...


class Placer(Protocol):
    """Starts workers."""

    def start(self, order: WorkerOrder, ended: Callable[[int], None]) -> Running:
        """Start a worker.

        Args:
            ended: called once when it is gone, with its exit status (negative: minus the signal's number).

        Raises:
            OSError: it cannot be started now.
        """
        ...


class LocalPlacer:
    """Starts workers as processes of this machine.

    Args:
        loop: watches them. environ: what they inherit. life_fd: read end of a pipe whose other end dies with us.
    """

    def __init__(self, loop: Loop, environ: Mapping[str, str], life_fd: int) -> None:
        self._loop = loop
        self._environ = environ
        self._life_fd = life_fd

    def start(self, order: WorkerOrder, ended: Callable[[int], None]) -> Child:
        """See `Placer.start`."""
        env = {**self._environ, **order.env, SETUP_VARIABLE: msgspec.json.encode(order.setup).decode()}
        # -P: the current folder is no place to import the standard library from; the worker adds the user's folder itself.
        argv = [sys.executable, "-P", "-m", "tiffin.worker.main"]
        child = Child(self._loop, argv, env, [self._life_fd], ended, marker=SETUP_VARIABLE)
        try:
            # When memory runs out the kernel should take a worker, which is replaced, and not the front or the supervisor.
            Path(f"/proc/{child.pid}/oom_score_adj").write_text(_OOM_SCORE)
        except OSError:
            pass
        return child


def usable_cores() -> int:
    """Return how many CPU cores this process may use: its affinity, less where its control group has a smaller quota."""
    cores = len(os.sched_getaffinity(0))
    for quota in (_quota_v2, _quota_v1):
        try:
            return max(1, min(cores, round(quota())))
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return cores


def _quota_v2() -> float:
    quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    return int(quota) / int(period)  # "max" is no number: no quota


def _quota_v1() -> float:
    folder = Path("/sys/fs/cgroup/cpu")
    quota = int((folder / "cpu.cfs_quota_us").read_text())
    if quota <= 0:
        raise ValueError("no quota")
    return quota / int((folder / "cpu.cfs_period_us").read_text())
