"""What each worker has in hand: its batches, running and staged.

Owns batches until they are over; never chooses calls. Times in seconds (CLOCK_MONOTONIC where absolute).
"""

from __future__ import annotations

from collections import deque
from math import inf

from tiffin.batching.policy import SENT, Slots, Ticket
from tiffin.batching.queues import Method

OVERDUE_FACTOR = 2.0  # a batch that takes so many times its prediction…
OVERDUE_SLACK_S = 0.005  # …and so much more is not believed to end soon
ABORT_GRACE_S = 1.0  # an aborted call that does not end within this costs its worker


class Batch:
    """Calls that a worker was given together.

    Attributes:
        id, worker, method, calls: as dispatched. rows: all of them. predicted: seconds, 0 if unknown.
        started: when it began to run, None while it is staged.
        clock: since when its run limit counts; later than `started` where calls of a frame were answered since.
        limit_s: its run limit. left: members not answered. seen: `left` at the last tick.
        solo: nothing may be staged behind it. exclusive: nothing else may run on its worker.
        row_limit: rows that may run at once, 0 for what the method says.
        recalling: a Recall is out. aborted: when an Abort for breaking the run limit went out. overran: a Kill for that.
    """

    __slots__ = (
        "aborted",
        "calls",
        "clock",
        "exclusive",
        "id",
        "left",
        "limit_s",
        "method",
        "overran",
        "predicted",
        "recalling",
        "row_limit",
        "rows",
        "seen",
        "solo",
        "started",
        "worker",
    )

    def __init__(
        self, number: int, worker: Worker, method: Method, calls: list[Ticket], rows: int, predicted: float
    ) -> None:
        self.id = number
        self.worker = worker
        self.method = method
        self.calls = calls
        self.rows = rows
        self.predicted = predicted
        self.started: float | None = None
        self.clock = 0.0
        limit = method.policy.run_limit_s
        if method.batchable and rows > method.policy.max_rows:
            limit *= -(-rows // method.policy.max_rows)  # such a call runs in parts
        self.limit_s = limit
        self.left = self.seen = len(calls)
        self.solo = False
        self.row_limit = 0
        self.exclusive = False
        self.recalling = False
        self.aborted: float | None = None
        self.overran = False

    def remaining_s(self, now: float) -> float:
        """Return the predicted seconds until a running batch ends; infinite where no prediction is believed."""
        if self.started is None or not self.predicted:
            return inf
        elapsed = now - self.started
        if elapsed > OVERDUE_FACTOR * self.predicted + OVERDUE_SLACK_S:
            return inf
        return max(0.0, self.predicted - elapsed)

    def over_limit(self, now: float) -> bool:
        """Return whether the run limit is broken; a frame's clock starts anew when one of its calls was answered."""
        if self.left != self.seen and not self.method.batchable:
            self.seen = self.left
            self.clock = now
        return now - self.clock >= self.limit_s

    def waited_for(self) -> list[Ticket]:
        """Return the members whose clients still wait."""
        return [ticket for ticket in self.calls if ticket.state == SENT]


class Worker:
    """One worker process, as the scheduler sees it.

    Attributes:
        id: its number. slots: capacity by lane number.
        running: by lane number, the batches that run, by id. staged: compute batches that wait in the worker, in order.
        load: batches it has. paused: frozen. doomed: a Kill is out. exclusive: it runs a call that must be all alone.
    """

    __slots__ = ("doomed", "exclusive", "id", "load", "paused", "running", "slots", "staged")

    def __init__(self, number: int, slots: Slots) -> None:
        self.id = number
        self.slots = (slots.threads, slots.concurrency, slots.streams)
        self.running: tuple[dict[int, Batch], dict[int, Batch], dict[int, Batch]] = ({}, {}, {})
        self.staged: deque[Batch] = deque()
        self.load = 0
        self.paused = False
        self.doomed = False
        self.exclusive = False

    @property
    def usable(self) -> bool:
        """Whether it may be given work."""
        return not (self.paused or self.doomed or self.exclusive)

    def put(self, now: float, lane: int, batch: Batch) -> None:
        """Give it a batch: it runs at once where a slot is free, else it is staged."""
        self.load += 1
        running = self.running[lane]
        if len(running) < self.slots[lane]:
            batch.started = batch.clock = now
            running[batch.id] = batch
        else:
            self.staged.append(batch)

    def release(self, now: float, lane: int, batch: Batch) -> None:
        """Take a batch away, wherever it is; the first staged one starts in a freed slot."""
        self.load -= 1
        running = self.running[lane]
        if running.pop(batch.id, None) is None:
            self.staged.remove(batch)
        elif self.staged and lane == 0:
            following = self.staged.popleft()
            following.started = following.clock = now
            running[following.id] = following
        if batch.exclusive:
            self.exclusive = False

    def stage_in_s(self, now: float) -> float | None:
        """Return the predicted seconds until one more staged batch would start; infinite if unknown, None for no room.

        One batch may be staged per running one, none behind a batch that must have nothing behind it or that takes much
        longer than predicted.
        """
        ends: list[float] = []
        for batch in self.running[0].values():
            if batch.solo:
                continue
            remaining = batch.remaining_s(now)
            if remaining == inf and batch.predicted:
                continue
            ends.append(remaining)
        staged = len(self.staged)
        if staged >= len(ends):
            return None
        if staged:
            ends.sort()
        elif len(ends) > 1:
            return min(ends)
        return ends[staged]

    def start_in_s(self, now: float) -> float:
        """Return the predicted seconds until the first staged batch starts; infinite if unknown."""
        return min(batch.remaining_s(now) for batch in self.running[0].values())

    def is_stuck(self, now: float) -> bool:
        """Return whether all its compute slots are taken by batches that run much longer than predicted."""
        running = self.running[0]
        return len(running) >= self.slots[0] and all(
            batch.predicted and batch.remaining_s(now) == inf for batch in running.values()
        )

    def started(self) -> list[Batch]:
        """Return all batches that run."""
        return [batch for running in self.running for batch in running.values()]

    def backlog_s(self) -> float:
        """Return the predicted compute of all it has in the compute lane, in whole batches."""
        return sum(batch.predicted for batch in self.running[0].values()) + sum(
            batch.predicted for batch in self.staged
        )
