"""The scheduler's books: which calls are open, what waits, what each worker has.

Owns every open call's place; moves calls between places, decides nothing. Times in CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.batching.capacity import Batch, Worker
from tiffin.batching.deadlines import Wheel
from tiffin.batching.instructions import Expire, Instruction, Reject
from tiffin.batching.policy import DONE, GONE, QUEUED, Limits, MethodPolicy, Ticket
from tiffin.batching.queues import CallQueue, Lane, Method
from tiffin.errors import Code

LANES = {"compute": 0, "async": 1, "stream": 2}


class Books:
    """State of one scheduler.

    Args:
        methods: what to know of each method; tickets name one by its index.
        limits: bounds of the queue and of attempts.
        transfer_s: time for a batch to travel to a worker.

    Attributes:
        queued_calls: calls that wait. queued_bytes: their payloads. running: calls that workers have and clients wait for.
    """

    __slots__ = (
        "_batches",
        "_calls",
        "_isolated",
        "_lanes",
        "_last_batch",
        "_later",
        "_limits",
        "_methods",
        "_staged",
        "_transfer_s",
        "_usable",
        "_ward",
        "_wheel",
        "_workers",
        "queued_bytes",
        "queued_calls",
        "running",
    )

    def __init__(self, methods: Sequence[MethodPolicy], limits: Limits, transfer_s: float = 0.0003) -> None:
        self._lanes = (Lane(0), Lane(1), Lane(2))
        self._methods: list[Method] = []
        for index, policy in enumerate(methods):
            lane = self._lanes[LANES[policy.lane]]
            method = Method(index, policy, lane)
            lane.methods.append(method)
            self._methods.append(method)
        self._limits = limits
        self._transfer_s = transfer_s
        self._calls: dict[int, Ticket] = {}
        self._batches: dict[int, Batch] = {}
        self._last_batch: int = 0
        self._workers: dict[int, Worker] = {}
        self._usable: list[Worker] = []
        self._isolated = CallQueue()  # calls that died in company twice: each next gets a worker for itself
        self._ward: Worker | None = None  # the worker that is kept free for them
        self._staged: int = 0
        self._wheel = Wheel()
        self._later: list[Instruction] = []  # decided during an event that returns none
        self.queued_calls: int = 0
        self.queued_bytes: int = 0
        self.running: int = 0

    def _end(self, ticket: Ticket) -> Batch | None:
        """Close a call, wherever it is; return the batch that holds it, if any."""
        self._close(ticket)
        if ticket.state == QUEUED:
            ticket.state = DONE
            method = self._methods[ticket.method]
            self._count_out(ticket)
            if ticket.attempts == 0:
                method.lane.leave(method, ticket)
                (method.inner if ticket.inner else method.outer).forget()
            elif ticket.deaths < 2:
                method.lane.alone.forget()
            else:
                self._isolated.forget()
            return None
        ticket.state = GONE
        self.running -= 1
        return self._batches.get(ticket.batch)

    def _close(self, ticket: Ticket) -> None:
        """Forget a call's id and deadline."""
        del self._calls[ticket.id]
        self._wheel.discard(ticket.id, ticket.due)

    def _count_out(self, ticket: Ticket) -> None:
        """Count a call out of what waits."""
        self.queued_calls -= 1
        self.queued_bytes -= ticket.size
        self._methods[ticket.method].lane.queued_s -= ticket.cost_s

    def _release(self, now: float, batch: Batch) -> None:
        """Free the slot of a batch whose worker lives."""
        worker = batch.worker
        staged = len(worker.staged)
        worker.release(now, batch.method.lane.number, batch)
        self._staged -= staged - len(worker.staged)
        self._forget(batch)
        if batch.exclusive:
            self._count_capacity()

    def _forget(self, batch: Batch) -> None:
        """Drop a batch from the books."""
        del self._batches[batch.id]
        lane = batch.method.lane
        lane.running_s -= batch.predicted

    def _put_back(self, batch: Batch) -> None:
        """Put the calls of a batch that never started back to the front; it was no attempt."""
        for ticket in reversed(batch.waited_for()):
            ticket.attempts -= 1
            self._requeue(ticket)

    def _requeue(self, ticket: Ticket) -> None:
        """Let a call wait again: at the front if it never ran, else for a batch, or a worker, of its own."""
        method = self._methods[ticket.method]
        lane = method.lane
        ticket.state = QUEUED
        ticket.batch = 0
        self.running -= 1
        self.queued_calls += 1
        self.queued_bytes += ticket.size
        if ticket.deaths >= 2:
            ticket.cost_s = 0.0  # the calls of its lane do not wait for it
        lane.queued_s += ticket.cost_s
        if ticket.attempts == 0:
            lane.join(method, ticket, front=True)
        elif ticket.deaths < 2:
            lane.alone.push(ticket)
        else:
            self._isolated.push(ticket)

    def _count_capacity(self) -> None:
        """Note which workers may be given work, and how much of it at once."""
        ward = self._ward
        if ward is not None and (ward.paused or ward.doomed or ward.id not in self._workers):
            self._ward = ward = None
        self._usable = [worker for worker in self._workers.values() if worker.usable and worker is not ward]
        for number, lane in enumerate(self._lanes):
            lane.slots = sum(worker.slots[number] for worker in self._usable)

    def _give_up(self, now: float, ticket: Ticket, out: list[Instruction]) -> None:
        """End a call that was taken from its queue and can't be in time."""
        self._count_out(ticket)
        ticket.state = DONE
        self._close(ticket)
        out.append(too_late(now, ticket))


def too_late(now: float, ticket: Ticket) -> Instruction:
    """Return how a waiting call ends that can't be done in time."""
    if ticket.deadline <= now:
        return Expire(ticket.id)
    waited = now - ticket.arrived
    return Reject(
        ticket.id, Code.OVERLOADED, f"the call waited {waited:.3f} s and can't be done in its time any more", 1.0
    )
