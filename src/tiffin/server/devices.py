"""When a dead worker's devices are free again, and what happens to devices meanwhile.

Owns the threads that ask NVML, which may hang, and the way of their answers into the loop; never decides about a worker. Times in
seconds.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Literal, NamedTuple, Protocol

from tiffin.gpu import live
from tiffin.gpu.events import XidWatch
from tiffin.server.loop import Loop, Timer

_FIRST_S = 0.05
_MOST_S = 0.5

State = Literal["free", "held", "lost", "unknown"]


class Verdict(NamedTuple):
    """How devices are: "free"; "held" by a process that should be gone; "lost"; "unknown": the driver does not answer."""

    state: State
    reason: str = ""


class Release:
    """A look for devices that is under way."""

    def __init__(
        self, uuids: Collection[str], pids: Collection[int], until: float, done: Callable[[Verdict], None]
    ) -> None:
        self.uuids = tuple(uuids)
        self.pids = frozenset(pids)
        self.until = until
        self.done: Callable[[Verdict], None] | None = done
        self.last = Verdict("unknown", "the driver does not answer")
        self.pause_s = _FIRST_S
        self.asked = False
        self.timer: Timer | None = None

    def cancel(self) -> None:
        """Never call back."""
        self.done = None
        if self.timer is not None:
            self.timer.cancel()


class Devices(Protocol):
    """What the fleet needs to know of devices."""

    def release(
        self, uuids: Collection[str], pids: Collection[int], limit_s: float, done: Callable[[Verdict], None]
    ) -> Release:
        """Call back once: when none of the processes is on the devices any more, when one is lost, or after `limit_s`."""
        ...


class Nvml(Protocol):
    """See `tiffin.gpu.live`."""

    def holders(self, uuids: Collection[str]) -> dict[str, frozenset[int]]:
        """Return the processes on each device; one that cannot be asked is left out."""
        ...

    def lost(self, uuids: Collection[str]) -> dict[str, str]:
        """Return why devices are lost, those that are."""
        ...


@dataclass
class _Answer:
    """What the asking thread found for one release."""

    release: Release
    held: dict[str, frozenset[int]] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)


class DeviceWatch:
    """See the module; implements `Devices`.

    Args:
        loop: that is called back in. nvml: asks the driver.
    """

    def __init__(self, loop: Loop, nvml: Nvml = live) -> None:
        self._loop = loop
        self._nvml = nvml
        self._questions: SimpleQueue[Release | None] = SimpleQueue()
        self._news: SimpleQueue[_Answer | tuple[str, int]] = SimpleQueue()
        self._pipe: tuple[int, int] | None = None
        self._thread: threading.Thread | None = None
        self._xids: XidWatch | None = None
        self._on_xid: Callable[[str, int], None] | None = None

    def release(
        self, uuids: Collection[str], pids: Collection[int], limit_s: float, done: Callable[[Verdict], None]
    ) -> Release:
        """See `Devices.release`."""
        one = Release(uuids, pids, self._loop.clock() + limit_s, done)
        self._open()
        if self._thread is None:
            self._thread = threading.Thread(target=self._ask, name="tiffin-devices", daemon=True)
            self._thread.start()
        self._look(one)
        return one

    def watch_xids(self, uuids: Collection[str], report: Callable[[str, int], None]) -> None:
        """Call back, in the loop, for every Xid of these boards from now on instead of those before."""
        if self._xids is not None:
            self._xids.stop()
        self._on_xid = report
        self._open()
        self._xids = XidWatch(uuids, lambda uuid, number: self._post((uuid, number)))
        self._xids.start()

    def close(self) -> None:
        """Ask nothing more; threads that the driver holds end with the process."""
        if self._xids is not None:
            self._xids.stop()
        if self._thread is not None:
            self._questions.put(None)
        if self._pipe is not None:
            self._loop.unwatch(self._pipe[0])
            pipe, self._pipe = self._pipe, None
            os.close(pipe[0])  # the other end stays for a thread that still wants to write

    def _open(self) -> None:
        if self._pipe is None:
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[0], False)
            os.set_blocking(self._pipe[1], False)
            self._loop.watch(self._pipe[0], self._take)

    def _look(self, one: Release) -> None:
        """Ask again, unless a question is under way, and see to it that the time is kept even if no answer comes."""
        one.timer = None
        now = self._loop.clock()
        if one.done is None:
            return
        if now >= one.until:
            self._end(one, one.last)
            return
        if not one.asked:
            one.asked = True
            self._questions.put(one)
        one.timer = self._loop.later(min(one.until - now, one.pause_s), lambda: self._look(one))
        one.pause_s = min(one.pause_s * 2, _MOST_S)

    def _end(self, one: Release, verdict: Verdict) -> None:
        done = one.done
        one.cancel()
        if done is not None:
            done(verdict)

    # -- on the asking thread ----------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        while True:
            one = self._questions.get()
            if one is None:
                return
            answer = _Answer(one)
            try:
                answer.held = dict(self._nvml.holders(one.uuids))
                answer.lost = dict(self._nvml.lost(one.uuids))
            except Exception as error:  # wall: without its thread nobody would ever hear of a device again
                answer.lost = {}
                answer.held = {}
                one.last = Verdict("unknown", f"the driver cannot be asked: {error}")
            self._post(answer)

    def _post(self, news: _Answer | tuple[str, int]) -> None:
        self._news.put(news)
        pipe = self._pipe
        if pipe is not None:
            try:
                os.write(pipe[1], b".")
            except OSError:  # it is full, so that the loop will look anyway; or the loop has gone
                pass

    # -- in the loop -------------------------------------------------------------------------------------------------------

    def _take(self) -> None:
        if self._pipe is not None:
            os.read(self._pipe[0], 4096)
        while not self._news.empty():
            news = self._news.get()
            if isinstance(news, tuple):
                if self._on_xid is not None:
                    self._on_xid(*news)
            elif news.release.done is not None:
                self._answered(news)

    def _answered(self, answer: _Answer) -> None:
        one = answer.release
        one.asked = False
        if answer.lost:
            self._end(one, Verdict("lost", "; ".join(f"{uuid} is lost: {why}" for uuid, why in answer.lost.items())))
            return
        # In a container the driver tells the host's numbers, which are none of ours: then the processes' own end must do.
        stuck = {uuid: pids & one.pids for uuid, pids in answer.held.items() if pids & one.pids}
        if stuck:
            uuid, pids = next(iter(stuck.items()))
            names = ", ".join(map(str, sorted(pids)))
            one.last = Verdict("held", f"process {names} has ended and still holds {uuid}")
        else:  # also where the driver lists no processes (WSL2): more than that cannot be known
            self._end(one, Verdict("free"))
