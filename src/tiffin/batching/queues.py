"""Waiting calls: one queue per method, grouped into the lanes that they wait for.

Owns the order of waiting calls and the fairness among methods; never knows a worker. Times in seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from tiffin.batching.limits import RowLimits, bucket_of
from tiffin.batching.policy import QUEUED, MethodPolicy, Ticket
from tiffin.batching.profile import Profile

FRAME_S = 0.001  # calls of an unbatchable method that share a frame: so much predicted compute at most
FRAME_CALLS = 64
HALVED_S = 30.0  # how long a method's row limit stays halved after splitting cost too much
SPLIT_SHARE = 0.1
LEAST_COST_S = 1e-5  # what a batch of an unknown method counts towards its share


class CallQueue:
    """First in, first out; a call that left stays as a tombstone (its state is not QUEUED) until it comes up.

    Attributes:
        entries: waiting calls and tombstones. live: waiting calls.
    """

    __slots__ = ("entries", "live")

    def __init__(self) -> None:
        self.entries: deque[Ticket] = deque()
        self.live = 0

    def push(self, ticket: Ticket) -> None:
        """Add at the end."""
        self.entries.append(ticket)
        self.live += 1

    def push_front(self, ticket: Ticket) -> None:
        """Add at the front."""
        self.entries.appendleft(ticket)
        self.live += 1

    def head(self) -> Ticket | None:
        """Return the first waiting call without taking it."""
        entries = self.entries
        while entries:
            if entries[0].state == QUEUED:
                return entries[0]
            entries.popleft()
        return None

    def pop(self) -> Ticket:
        """Take the first waiting call; there must be one."""
        while True:
            ticket = self.entries.popleft()
            if ticket.state == QUEUED:
                self.live -= 1
                return ticket

    def forget(self) -> None:
        """Count out one waiting call whose state has just been changed; sweep when tombstones prevail."""
        self.live -= 1
        if len(self.entries) > 64 + 2 * self.live:
            self.entries = deque(ticket for ticket in self.entries if ticket.state == QUEUED)


class Method:
    """What the scheduler keeps of one method.

    Attributes:
        index: its number. policy: as told. lane: number of its lane. batchable: as in the policy.
        room: most rows of a batch now (batchable), or most calls of a frame.
        unit_s: predicted seconds of one row in a full batch. full_s: of a full batch, or of one call if unbatchable.
        inner, outer: waiting sub-calls, and calls from outside. queued, queued_rows: both together.
        recent_rows: rows of its latest batch. limits: how many rows fit into memory, where workers have found out.
        tag: compute seconds it was given, in the lane's virtual time: the smallest is served next.
    """

    __slots__ = (
        "_halved_until",
        "_rows",
        "batchable",
        "index",
        "inner",
        "lane",
        "limits",
        "max_latency_s",
        "outer",
        "policy",
        "profile",
        "queued",
        "queued_rows",
        "recent_rows",
        "room",
        "full_s",
        "tag",
        "unit_s",
    )

    def __init__(self, index: int, policy: MethodPolicy, lane: Lane) -> None:
        self.index = index
        self.policy = policy
        self.lane = lane
        self.batchable = policy.batchable
        self.max_latency_s = policy.max_latency_s
        self._rows = policy.max_rows if policy.batchable else 1
        self._halved_until = 0.0
        self.room = self._rows
        self.limits = RowLimits(self._rows)
        self.profile = Profile(self._rows)
        self.unit_s = 0.0
        self.full_s = 0.0
        self.inner = CallQueue()
        self.outer = CallQueue()
        self.queued = 0
        self.queued_rows = 0
        self.recent_rows = 0
        self.tag = 0.0

    def observe(self, now: float, compute_s: float, rows: int, split_s: float) -> None:
        """Learn from a batch that ran `rows` (at least 1) in `compute_s`, `split_s` of it spent on bisection."""
        profile = self.profile
        if not self.batchable:
            each = compute_s / rows
            profile.observe(1, each)
            self.unit_s = self.full_s = each = profile.predict(1)
            if self.lane.number == 0:
                self.room = FRAME_CALLS if each * FRAME_CALLS <= FRAME_S else max(1, int(FRAME_S / each))
            return
        profile.observe(rows, compute_s - split_s)
        if split_s > SPLIT_SHARE * compute_s:
            self.room = max(1, self.room // 2)
            self._halved_until = now + HALVED_S
        room = min(self.room, self.limits.least)
        self.full_s = profile.predict(room)
        self.unit_s = self.full_s / room

    def predict(self, rows: int) -> float:
        """Return the predicted seconds for `rows` rows, or for so many calls of an unbatchable method; 0 if unknown."""
        return self.profile.predict(rows) if self.batchable else self.unit_s * rows

    def room_now(self, now: float) -> int:
        """Return most rows of the batch that the call which is served next will be in (unbatchable: calls of a frame)."""
        if self._halved_until and now >= self._halved_until:  # its time is over
            self._halved_until = 0.0
            self.room = self._rows
        if self.limits:
            head = self.head()
            if head is not None:
                return min(self.room, self.limits.of(now, bucket_of(head)))
        return self.room

    def row_limit(self, now: float, calls: Sequence[Ticket]) -> int:
        """Return how many rows of a batch of these calls may run at once, 0 where nothing was learned."""
        return self.limits.of(now, max(map(bucket_of, calls))) if self.limits else 0

    def head(self) -> Ticket | None:
        """Return the call that is served next."""
        return self.inner.head() or self.outer.head()

    def take(self, now: float, start: float, room: int, late: list[Ticket]) -> list[Ticket]:
        """Take the next calls, in order: as many as fit together, at least one if any waits.

        Args:
            now: the time. start: when the batch is predicted to start.
            room: most rows; a first call with more is taken alone. A call that is not idempotent is taken alone.
            late: calls that came up but can't be done in time any more are put here instead.

        Returns:
            Calls for one batch; empty if all that waited were late. The caller counts both out.
        """
        calls: list[Ticket] = []
        rows = 0
        horizon = start + self.predict(min(self.queued_rows, room))
        for queue in (self.inner, self.outer):
            entries = queue.entries
            while entries:
                ticket = entries[0]
                if ticket.state != QUEUED:
                    entries.popleft()
                    continue
                if self.limits:  # a larger row than those before may leave less room
                    room = min(room, self.limits.of(now, bucket_of(ticket)))
                if calls and (rows + ticket.rows > room or not ticket.idempotent):
                    return calls
                entries.popleft()
                queue.live -= 1
                if horizon > ticket.due and is_late(now, ticket):
                    late.append(ticket)
                    continue
                calls.append(ticket)
                rows += ticket.rows
                if rows >= room or not ticket.idempotent:
                    return calls
        return calls


class Lane:
    """The methods that wait for one kind of worker capacity.

    Attributes:
        number: 0 compute, 1 async, 2 stream. methods: its methods.
        queued: calls waiting in the methods' queues. inner: those of them that are sub-calls.
        alone: calls that were present in a death, each to be run in a batch of its own, before all others.
        queued_s: predicted compute of all that wait. running_s: of all batches out, whole.
        slots: capacity of all workers. clock: virtual time: tag of the method served last.
    """

    __slots__ = ("alone", "clock", "inner", "methods", "number", "queued", "queued_s", "running_s", "slots")

    def __init__(self, number: int) -> None:
        self.number = number
        self.methods: list[Method] = []
        self.queued = 0
        self.inner = 0
        self.alone = CallQueue()
        self.queued_s = 0.0
        self.running_s = 0.0
        self.slots = 0

        self.clock = 0.0

    def choose(self) -> Method:
        """Return the method to serve next; one must have waiting calls. Sub-calls first, then the least served."""
        best: Method | None = None
        inner = self.inner
        for method in self.methods:
            if method.queued and (not inner or method.inner.live) and (best is None or method.tag < best.tag):
                best = method
        if best is None:
            raise LookupError("no method of this lane has waiting calls")
        return best

    def join(self, method: Method, ticket: Ticket, *, front: bool = False) -> None:
        """Put a call into its method's queue."""
        if not method.queued and method.tag < self.clock:
            method.tag = self.clock  # an idle method saves up nothing
        method.queued += 1
        method.queued_rows += ticket.rows
        self.queued += 1
        queue = method.outer
        if ticket.inner:
            self.inner += 1
            queue = method.inner
        if front:
            queue.push_front(ticket)
        else:
            queue.push(ticket)

    def leave(self, method: Method, ticket: Ticket) -> None:
        """Count a call out that was taken from its method's queue."""
        method.queued -= 1
        method.queued_rows -= ticket.rows
        self.queued -= 1
        if ticket.inner:
            self.inner -= 1

    def charge(self, method: Method, seconds: float) -> None:
        """Count a batch towards the method's share of the lane."""
        self.clock = method.tag
        method.tag += max(seconds, LEAST_COST_S)


def is_late(now: float, ticket: Ticket) -> bool:
    """Return whether a call that is predicted to miss its time should be given up.

    One that has most of its time left is tried all the same: the prediction may be wrong, and only a run can mend it.
    """
    return now - ticket.arrived > 0.5 * (ticket.due - ticket.arrived)
