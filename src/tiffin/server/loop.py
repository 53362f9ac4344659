"""A small event loop for the supervisor: descriptors, timers, signals.

Owns the selector, the timers and the signal handlers while it runs. Written instead of using asyncio because the supervisor lives
as long as the service and asyncio alone would double its memory. Times are CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

Callback = Callable[[], None]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Timer:
    """A callback that is due later."""

    __slots__ = ("callback", "due")

    def __init__(self, due: float, callback: Callback) -> None:
        self.due = due
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """Never call back; harmless when it has done so already."""
        self.callback = None


class Loop:
    """Calls back when a descriptor is ready, a timer is due or a signal came; one thread.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._running = False

    def watch(self, fd: int, readable: Callback | None, writable: Callback | None = None) -> None:
        """Call back whenever the descriptor is readable or writable; replaces what was watched there; both None: nothing."""
        events = (selectors.EVENT_READ if readable else 0) | (selectors.EVENT_WRITE if writable else 0)
        known = fd in self._selector.get_map()
        if not events:
            if known:
                self._selector.unregister(fd)
        elif known:
            self._selector.modify(fd, events, (readable, writable))
        else:
            self._selector.register(fd, events, (readable, writable))

    def unwatch(self, fd: int) -> None:
        """Forget a descriptor; do this before closing it."""
        self.watch(fd, None)

    def later(self, delay_s: float, callback: Callback) -> Timer:
        """Call back once, after `delay_s` seconds."""
        timer = Timer(self.clock() + delay_s, callback)
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        return timer

    def stop(self) -> None:
        """Let `run` return after the callback that is running."""
        self._running = False

    def run(self, on_signal: Callable[[int], None]) -> None:
        """Run until `stop`; an exception of a callback ends it too.

        Args:
            on_signal: gets SIGINT, SIGTERM and SIGHUP as numbers, between callbacks and never inside one. A signal that was
                ignored when the process started stays ignored (nohup).
        """
        inbox, outbox = socket.socketpair()
        inbox.setblocking(False)
        outbox.setblocking(False)
        kept = {number: signal.getsignal(number) for number in _SIGNALS}
        wakeup = signal.set_wakeup_fd(outbox.fileno(), warn_on_full_buffer=False)

        def signalled() -> None:
            for number in inbox.recv(64):
                on_signal(number)

        try:
            for number, before in kept.items():
                if before is not signal.SIG_IGN:
                    signal.signal(number, _noted)
            self.watch(inbox.fileno(), signalled)
            self._running = True
            while self._running:
                self._turn()
        finally:
            self.unwatch(inbox.fileno())
            signal.set_wakeup_fd(wakeup)
            for number, before in kept.items():
                signal.signal(number, before)
            inbox.close()
            outbox.close()

    def close(self) -> None:
        """Give the selector's descriptor back."""
        self._selector.close()

    def _turn(self) -> None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        wait_s = max(0.0, self._timers[0][0] - self.clock()) if self._timers else None
        for key, mask in self._selector.select(wait_s):
            readable, writable = key.data
            # An earlier callback of this turn may have forgotten the descriptor, or changed what is watched there.
            if self._selector.get_map().get(key.fd) is not key:
                continue
            if readable and mask & selectors.EVENT_READ:
                readable()
            elif writable and mask & selectors.EVENT_WRITE:
                writable()
            if not self._running:
                return
        now = self.clock()
        while self._timers and self._timers[0][0] <= now and self._running:
            timer = heapq.heappop(self._timers)[2]
            if timer.callback is not None:
                timer.callback()


def _noted(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the wake-up descriptor has the number already."""
