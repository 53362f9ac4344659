"""Giving waiting calls to workers: which batch goes where, what is sent ahead, what is called back.

Owns these decisions and no state of its own (see `books`). Times in CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

from math import inf

from tiffin.batching.books import Books
from tiffin.batching.capacity import Batch, Worker
from tiffin.batching.instructions import Dispatch, Instruction, Recall
from tiffin.batching.policy import SENT, Ticket
from tiffin.batching.queues import CallQueue, Lane, Method

AHEAD_S = 0.01  # unbatchable calls are sent ahead behind so much work: behind more, another worker may be free first
TWO_FRAMES = 16  # from so many on, waiting calls are sent in two frames: one runs while the other one's answers go out
RECALL_GAIN_S = 0.002  # a staged batch is called back if it would wait longer than this while another worker is idle


class Giving(Books):
    """The part of a scheduler that hands out work; each method here appends to `out`."""

    __slots__ = ()

    def _fill_compute(self, now: float, lane: Lane, out: list[Instruction]) -> None:
        """Give compute calls to free slots, shared evenly, then stage what may be staged."""
        usable = self._usable
        while lane.queued or lane.alone.live:
            best: Worker | None = None
            free = 0
            for worker in usable:
                room = worker.slots[0] - len(worker.running[0])
                if room > 0:
                    free += room
                    if best is None or worker.load < best.load:
                        best = worker
            if best is None:
                if lane.queued and not lane.alone.live:
                    self._stage(now, lane, out)
                return
            if lane.alone.live:
                self._give_alone(now, best, lane.alone, out)
                continue
            method = lane.choose()
            room = method.room_now(now)
            if free > 1:
                room = min(room, -(-method.queued_rows // free))
            if not method.batchable and method.queued_rows >= TWO_FRAMES:
                room = min(room, -(-method.queued_rows // (2 * free)))
            self._take(now, 0.0, best, method, room, out)

    def _stage(self, now: float, lane: Lane, out: list[Instruction]) -> None:
        """Send batches ahead to busy workers, so that they need not wait for the next one."""
        while lane.queued:
            method = lane.choose()
            head = method.head()
            if head is None or not head.idempotent:
                return
            best: Worker | None = None
            soonest = 0.0
            open_workers = 0
            for worker in self._usable:
                start_in = worker.stage_in_s(now)
                if start_in is not None:
                    open_workers += 1
                    if best is None or start_in < soonest:
                        best = worker
                        soonest = start_in
            if best is None:
                return
            room = method.room_now(now)
            if method.batchable:
                if soonest > self._transfer_s and method.queued_rows < room:
                    return
            elif soonest > AHEAD_S:
                return
            elif open_workers > 1:
                room = min(room, -(-method.queued_rows // open_workers))
            self._take(now, soonest if soonest < inf else 0.0, best, method, room, out)

    def _fill_singles(self, now: float, lane: Lane, out: list[Instruction]) -> None:
        """Give async calls or streams, one by one, to the worker that runs the fewest."""
        number = lane.number
        while lane.queued or lane.alone.live:
            best: Worker | None = None
            fewest = 0
            for worker in self._usable:
                count = len(worker.running[number])
                if count < worker.slots[number] and (best is None or count < fewest):
                    best = worker
                    fewest = count
            if best is None:
                return
            if lane.alone.live:
                self._give_alone(now, best, lane.alone, out)
            else:
                self._take(now, 0.0, best, lane.choose(), 1, out)

    def _isolate(self, now: float, out: list[Instruction]) -> None:
        """Keep one worker free for calls that died in company twice, and give it one of them at a time."""
        if self._ward is None and self._isolated.live and self._usable:
            self._ward = min(self._usable, key=lambda worker: worker.load)
            self._count_capacity()
        while self._ward is not None and self._isolated.live and not self._ward.load:
            self._give_alone(now, self._ward, self._isolated, out, exclusive=True)
        if self._ward is not None and not self._isolated.live:
            self._ward = None  # it takes other work as soon as the last of them is over
            self._count_capacity()

    def _take(
        self, now: float, start_in: float, worker: Worker, method: Method, room: int, out: list[Instruction]
    ) -> None:
        """Form a batch of a method's next calls and give it to a worker; calls that can't be in time are ended instead."""
        late: list[Ticket] = []
        calls = method.take(now, now + start_in + self._transfer_s, room, late)
        lane = method.lane
        for ticket in calls:
            lane.leave(method, ticket)
        for ticket in late:
            lane.leave(method, ticket)
            self._give_up(now, ticket, out)
        if calls:
            self._give(now, worker, calls, out, solo=not calls[0].idempotent)

    def _give_alone(
        self, now: float, worker: Worker, queue: CallQueue, out: list[Instruction], *, exclusive: bool = False
    ) -> None:
        """Give a worker the first of the calls that must not be in company."""
        ticket = queue.pop()
        if ticket.deadline <= now:
            self._give_up(now, ticket, out)
        else:
            self._give(now, worker, [ticket], out, solo=True, exclusive=exclusive)

    def _give(
        self,
        now: float,
        worker: Worker,
        calls: list[Ticket],
        out: list[Instruction],
        *,
        solo: bool,
        exclusive: bool = False,
    ) -> None:
        """Dispatch calls that were taken from their queue as one batch."""
        method = self._methods[calls[0].method]
        lane = method.lane
        self._last_batch = number = self._last_batch + 1
        ids: list[int] = []
        rows = 0
        size = 0
        cost = 0.0
        for ticket in calls:
            ticket.state = SENT
            ticket.batch = number
            ticket.attempts += 1
            rows += ticket.rows
            size += ticket.size
            cost += ticket.cost_s
            ids.append(ticket.id)
        count = len(ids)
        self.queued_calls -= count
        self.queued_bytes -= size
        self.running += count
        lane.queued_s = lane.queued_s - cost if lane.queued or lane.alone.live else 0.0
        batch = Batch(number, worker, method, calls, rows, method.predict(rows))
        batch.solo = solo
        if method.limits:
            batch.row_limit = method.row_limit(now, calls)
        method.recent_rows = rows
        if exclusive:
            batch.exclusive = worker.exclusive = True
        lane.running_s += batch.predicted
        lane.charge(method, batch.predicted)
        self._batches[number] = batch
        worker.put(now, lane.number, batch)
        if batch.started is None:
            self._staged += 1
        out.append(Dispatch(worker.id, number, method.index, ids, calls[0].attempts, batch.row_limit))

    def _recall_waiting(self, now: float, out: list[Instruction]) -> None:
        """Call staged batches back that would wait long while another worker could run them.

        That is one with a free slot, or, for a batch behind one that takes much longer than predicted, any that gets on.
        """
        idle = any(len(worker.running[0]) < worker.slots[0] for worker in self._usable)
        moving = idle or not all(worker.is_stuck(now) for worker in self._usable)
        if not moving:
            return
        for worker in self._workers.values():
            if worker.paused or not worker.staged:
                continue
            if worker.is_stuck(now) or (idle and worker.start_in_s(now) > RECALL_GAIN_S):
                for batch in worker.staged:
                    if not batch.recalling:
                        batch.recalling = True
                        out.append(Recall(worker.id, batch.id))
