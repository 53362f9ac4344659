"""A simulated engine and workers around the scheduler: callers, transfer times, compute times, one event queue, no real time."""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable
from itertools import count

from tiffin.batching.instructions import Dispatch, Expire, Instruction, Recall, Reject
from tiffin.batching.policy import Limits, MethodPolicy, Slots, Ticket
from tiffin.batching.scheduler import Scheduler

TRANSFER_S = 0.0002
TICK_S = 0.025


class Simulation:
    """One scheduler, single-threaded workers, and what became of the calls.

    Args:
        methods: policies.
        compute: seconds that a method takes for so many rows, on a worker, from a time on.
        workers: how many.
    """

    def __init__(
        self, methods: list[MethodPolicy], compute: Callable[[int, int, int, float], float], workers: int = 1
    ) -> None:
        self.scheduler = Scheduler(methods, Limits(), 0.0003)
        self.compute = compute
        self.now = 1.0
        self.end = 0.0
        self.random = random.Random(7)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._ids = count(1)
        self._inbox: dict[int, deque[Dispatch]] = {worker: deque() for worker in range(1, workers + 1)}
        self._busy: dict[int, bool] = dict.fromkeys(self._inbox, False)
        self._tickets: dict[int, Ticket] = {}
        self._then: dict[int, Callable[[], None]] = {}
        self.busy_s: dict[int, float] = dict.fromkeys(range(1, workers + 1), 0.0)
        self.batches: Counter[int] = Counter()
        self.ends: Counter[str] = Counter()
        self.by_method: Counter[int] = Counter()  # answered calls
        self.waits: list[float] = []  # latency of each answered call
        for worker in self._inbox:
            self.scheduler.worker_up(self.now, worker, Slots())

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something `seconds` from now."""
        heapq.heappush(self._events, (self.now + seconds, next(self._order), action))

    def call(
        self, method: int = 0, rows: int = 1, timeout: float = 60.0, then: Callable[[], None] | None = None
    ) -> None:
        """Let a call arrive now; `then` is done when it has ended, however."""
        number = next(self._ids)
        ticket = Ticket(number, method, rows, 100, self.now, self.now + timeout)
        self._tickets[number] = ticket
        if then is not None:
            self._then[number] = then
        refused = self.scheduler.arrive(self.now, ticket)
        if refused is not None:
            self._ended(number, f"refused {refused.code}")

    def closed_loop(self, callers: int, method: int = 0, rows: int = 1) -> None:
        """Start callers that call again as soon as they have an answer."""

        def again() -> None:
            if self.now < self.end:
                self.call(method, rows, then=lambda: self.at(0.0, again))

        for _ in range(callers):
            self.at(0.0, again)

    def open_loop(self, per_second: float, method: int = 0, timeout: float = 60.0) -> None:
        """Start arrivals that wait for nobody."""

        def arrive() -> None:
            if self.now < self.end:
                self.call(method, timeout=timeout)
                self.at(self.random.expovariate(per_second), arrive)

        self.at(0.0, arrive)

    def run(self, seconds: float) -> None:
        """Run until nothing happens any more; no call is made after `seconds`."""
        self.end = self.now + seconds
        self.at(TICK_S, self._tick)
        while self._events:
            self.now, _, action = heapq.heappop(self._events)
            action()
            while self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            self._obey(self.scheduler.schedule(self.now))

    def _tick(self) -> None:
        self._obey(self.scheduler.tick(self.now))
        if self.scheduler.open_calls or self.now < self.end:
            self.at(TICK_S, self._tick)

    def _obey(self, instructions: list[Instruction]) -> None:
        for order in instructions:
            if isinstance(order, Dispatch):
                self.batches[order.worker] += 1
                self.at(TRANSFER_S, lambda order=order: self._receive(order))  # type: ignore[misc]
            elif isinstance(order, Recall):
                self.at(TRANSFER_S, lambda order=order: self._recall(order))  # type: ignore[misc]
            elif isinstance(order, Reject):
                self._ended(order.call, f"rejected {order.code}")
            elif isinstance(order, Expire):
                self._ended(order.call, "expired")

    def _receive(self, order: Dispatch) -> None:
        self._inbox[order.worker].append(order)
        if not self._busy[order.worker]:
            self._begin(order.worker)

    def _recall(self, order: Recall) -> None:
        for waiting in self._inbox[order.worker]:
            if waiting.batch == order.batch:
                self._inbox[order.worker].remove(waiting)
                self.at(TRANSFER_S, lambda: self.scheduler.recalled(self.now, order.worker, order.batch))
                return

    def _begin(self, worker: int) -> None:
        order = self._inbox[worker].popleft()
        self._busy[worker] = True
        rows = sum(self._tickets[call].rows for call in order.calls)
        took = self.compute(order.method, rows, worker, self.now)
        self.busy_s[worker] += took
        self.at(took, lambda: self._over(order, rows, took))

    def _over(self, order: Dispatch, rows: int, took: float) -> None:
        self._busy[order.worker] = False
        self.at(TRANSFER_S, lambda: self._ran(order, rows, took))
        if self._inbox[order.worker]:
            self._begin(order.worker)

    def _ran(self, order: Dispatch, rows: int, took: float) -> None:
        for call in order.calls:
            if call in self._tickets:
                self.waits.append(self.now - self._tickets[call].arrived)
                self.by_method[order.method] += 1
                self._ended(call, "answered")
            self.scheduler.answered(call)
        self.scheduler.finished(self.now, order.worker, order.batch, took, rows, 0.0)

    def _ended(self, call: int, how: str) -> None:
        self.ends[how] += 1
        del self._tickets[call]
        then = self._then.pop(call, None)
        if then is not None:
            then()
