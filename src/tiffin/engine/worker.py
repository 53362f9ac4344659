"""A worker as the engine sees it: its link, its state, what it said last.

Owns the link of one worker start (id and epoch); never a scheduler or a call. Times are CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tiffin.link.front_end import EngineLink
from tiffin.messages.link import Beat, Hello, LinkMessage, Ran, Ready

if TYPE_CHECKING:
    from tiffin.engine.calls import Lease
    from tiffin.engine.fleet import Fleet
    from tiffin.engine.generation import ServiceState

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class WorkerState(Enum):
    """The life of a worker's link."""

    LOADING = "loading"
    READY = "ready"
    FROZEN = "frozen"
    LOST = "lost"


class Memory(NamedTuple):
    """Device memory of a worker's process as its frameworks count it, in bytes; -1 where none can tell.

    Attributes:
        used: now. loaded: after loading. peaks: most that a batch took, by method and by rows, rounded up to a power of two.
    """

    used: int = -1
    loaded: int = -1
    peaks: Mapping[str, Mapping[int, int]] = {}

    @property
    def peak(self) -> int:
        """Most that any batch took, -1 where none was measured."""
        return max((size for by_rows in self.peaks.values() for size in by_rows.values()), default=-1)


class WorkerHandle:
    """One link; the `LinkHandler` of its messages.

    Attributes:
        hello: who it is. state, service: None until its generation is known.
        out: messages for the next frame. outside: calls its methods made, its stream id → call id.
        batches: method of every batch that it has, by batch id. leases: payloads that those may still read.
        memory: what it said of its device memory. busy_s: seconds that its compute lane ran methods.
    """

    __slots__ = (
        "_cpu_s",
        "_fleet",
        "_seen",
        "batches",
        "busy_s",
        "hello",
        "leases",
        "link",
        "memory",
        "out",
        "outside",
        "service",
        "state",
    )

    def __init__(self, fleet: Fleet, link: EngineLink, hello: Hello, now: float) -> None:
        self._fleet = fleet
        self.link = link
        self.hello = hello
        self.state = WorkerState.LOADING
        self.service: ServiceState | None = None
        self.out: list[LinkMessage] = []
        self.outside: dict[int, int] = {}
        self.leases: dict[int, list[Lease]] = {}
        self.batches: dict[int, int] = {}
        self.memory = Memory()
        self.busy_s = 0.0
        self._seen = now
        self._cpu_s = 0.0

    @property
    def id(self) -> int:
        """The worker's number; it stays the same when the process is replaced."""
        return self.hello.worker

    def messages(self, messages: list[LinkMessage]) -> None:
        """See `LinkHandler.messages`."""
        self._fleet.received(self, messages)

    def closed(self, reason: str) -> None:
        """See `LinkHandler.closed`."""
        self._fleet.link_lost(self, reason)

    def flush(self) -> None:
        """Send what was collected, as one frame."""
        if self.out:
            out, self.out = self.out, []
            self.link.send(out)

    def release(self, batch: int) -> None:
        """The batch is over: its payloads are not read here any more."""
        for lease in self.leases.pop(batch, ()):
            lease.release()

    def release_all(self) -> None:
        """The process is gone: nothing is read here any more."""
        for batch in list(self.leases):
            self.release(batch)

    def ran(self, method: int, message: Ran) -> None:
        """Count a batch that is over, and let go of what it read."""
        # Async calls and streams overlap, and wait more than they work: theirs are no seconds of work.
        if self.service is not None and self.service.spec.methods[method].lane == "compute":
            self.busy_s += message.compute_s
        if self.leases:
            self.release(message.batch)

    def beat(self, now: float, cpu_s: float) -> None:
        """Note a sign of life, with the CPU seconds that the worker had used by then."""
        self._seen = now
        self._cpu_s = cpu_s

    def holds(self, message: Beat) -> None:
        """Note what the worker says of its memory."""
        self.memory = Memory(message.memory_bytes, self.memory.loaded, message.peaks)

    def loaded(self, message: Ready) -> None:
        """Note that the service is loaded, and the memory that it took."""
        self.state = WorkerState.READY
        self.memory = Memory(message.memory_bytes, message.memory_bytes, self.memory.peaks)

    def silent_s(self, now: float) -> float:
        """Return for how long the worker gave no sign of life and gained no CPU time."""
        silent = now - self._seen
        if silent > 1.0:
            cpu_s = _cpu_s(self.hello.pid)
            if cpu_s > self._cpu_s + 2 / _TICKS_PER_S:
                self._cpu_s = cpu_s
                self._seen = now
                return 0.0
        return silent


def _cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process of this machine so far; 0 where it cannot be read."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
