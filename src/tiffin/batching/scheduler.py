"""The scheduler of one service: events in, instructions out.

Owns every open call's place and the order of all decisions; never does I/O, never looks at a clock.
Times in CLOCK_MONOTONIC seconds. Events only change state; `schedule` gives waiting calls to workers, `tick` looks at clocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from tiffin.batching.admission import refuse_full, refuse_slow
from tiffin.batching.capacity import ABORT_GRACE_S, Batch, Worker
from tiffin.batching.deadlines import Wheel
from tiffin.batching.deaths import DownCause, verdict
from tiffin.batching.instructions import Abort, Dispatch, Expire, Instruction, Kill, Recall, Reject
from tiffin.batching.policy import DONE, GONE, QUEUED, SENT, Limits, MethodPolicy, Slots, Ticket
from tiffin.batching.queues import CallQueue, Lane, Method
from tiffin.errors import Code

LANES = {"compute": 0, "async": 1, "stream": 2}
AHEAD_S = 0.01  # unbatchable calls are sent ahead behind so much work: behind more, another worker may be free first
TWO_FRAMES = 16  # from so many on, waiting calls are sent in two frames: one runs while the other one's answers go out
RECALL_GAIN_S = 0.002  # a staged batch is called back if it would wait longer than this while another worker is idle


class Scheduler:
    """Decides which call runs when, where and with whom.

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
        self._last_batch = 0
        self._workers: dict[int, Worker] = {}
        self._usable: list[Worker] = []
        self._isolated = CallQueue()  # calls that died in company twice: each next gets a worker for itself
        self._ward: Worker | None = None  # the worker that is kept free for them
        self._staged = 0
        self._wheel = Wheel()
        self._later: list[Instruction] = []  # decided during an event that returns none
        self.queued_calls = 0
        self.queued_bytes = 0
        self.running = 0

    # ---------------------------------------------------------------------------------------------------- calls

    def arrive(self, now: float, ticket: Ticket) -> Reject | None:
        """Take a new call into its queue, or refuse it.

        Args:
            now: the time.
            ticket: the call; the scheduler's own from here on.

        Returns:
            None if it waits now; a Reject with TOO_MANY or OVERLOADED if it would find no room or no time.
        """
        method = self._methods[ticket.method]
        lane = method.lane
        due = min(ticket.arrived + method.max_latency_s, ticket.deadline)
        ticket.due = due
        size = ticket.size
        ticket.cost_s = cost = method.unit_s * ticket.rows
        if not ticket.inner:
            limits = self._limits
            if self.queued_calls >= limits.queue_calls or (
                self.queued_bytes and self.queued_bytes + size > limits.queue_bytes
            ):
                return refuse_full(ticket, lane, limits, self.queued_calls)
            # A cheap bound first; only calls that may be too many pay for the exact look.
            if lane.slots and (lane.queued_s + lane.running_s) * 1.25 / lane.slots + method.full_s + cost + now > due:
                refused = refuse_slow(now, ticket, method, self._usable)
                if refused is not None:
                    return refused
        lane.queued_s += cost
        self._calls[ticket.id] = ticket
        self._wheel.add(ticket.id, due)
        self.queued_calls += 1
        self.queued_bytes += size
        lane.join(method, ticket)
        return None

    def cancel(self, now: float, call: int) -> list[Instruction]:
        """Forget a call whose client left: a queued one is never run, a worker that has it is told.

        Args:
            now: the time.
            call: its id; unknown ones are ignored.

        Returns:
            An Abort if a worker has it.
        """
        del now
        ticket = self._calls.get(call)
        if ticket is None:
            return []
        batch = self._end(ticket)
        return [Abort(batch.worker.id, call)] if batch is not None else []

    def answered(self, call: int) -> None:
        """Note that a call's reply or failure came: its deadline is over; its slot is freed by `finished`."""
        ticket = self._calls.get(call)
        if ticket is None:
            return
        if ticket.state != SENT:
            self._end(ticket)  # waits to be run again, and the first run's answer came after all
            return
        del self._calls[call]
        self._wheel.discard(call, ticket.due)
        ticket.state = DONE
        self.running -= 1
        batch = self._batches.get(ticket.batch)
        if batch is not None:
            batch.left -= 1

    def streaming(self, call: int) -> None:
        """Note that the first byte of a call's answer was sent: it is never run again."""
        ticket = self._calls.get(call)
        if ticket is not None:
            ticket.streamed = True

    def made_outside_call(self, call: int) -> None:
        """Note that a call has called a non-idempotent method: it is not idempotent from now on."""
        ticket = self._calls.get(call)
        if ticket is not None:
            ticket.idempotent = False
            batch = self._batches.get(ticket.batch)
            if batch is not None:
                batch.solo = True

    def drop_all(self, code: Code) -> list[Reject]:
        """End every open call with `code`, queued or running; slots stay taken until workers finish."""
        rejects = [Reject(call, code, f"the service ended the call: {code}") for call in self._calls]
        for ticket in list(self._calls.values()):
            self._end(ticket)
        return rejects

    # -------------------------------------------------------------------------------------------------- workers

    def worker_up(self, now: float, worker: int, slots: Slots) -> None:
        """Take in a worker that is ready for work.

        Raises:
            ValueError: it is up already; its end must be reported first.
        """
        del now
        if worker in self._workers:
            raise ValueError(f"worker {worker} is already up: report worker_down first")
        self._workers[worker] = Worker(worker, slots)
        self._count_capacity()

    def worker_paused(self, worker: int, paused: bool) -> None:
        """Give a worker no new work while it is frozen."""
        known = self._workers.get(worker)
        if known is not None:
            known.paused = paused
            self._count_capacity()

    def worker_down(self, now: float, worker: int, cause: DownCause) -> list[Instruction]:
        """Take a worker out and decide what becomes of the calls it had.

        Calls that ran are run again, each in a batch of its own, or rejected; batches that had not started go back to the
        front of the queue as if nothing had happened.

        Args:
            now: the time.
            worker: its id; unknown ones are ignored.
            cause: only "crash" counts as a death that a call may be blamed for.
        """
        gone = self._workers.pop(worker, None)
        if gone is None:
            return []
        out: list[Instruction] = []
        started = gone.started()
        present = sum(batch.left for batch in started)
        for batch in started:
            self._forget(batch)
            overran = cause == "run_limit" and len(batch.calls) == 1 and (batch.overran or batch.over_limit(now))
            for ticket in batch.waited_for():
                if cause == "crash":
                    ticket.deaths += 1
                end = verdict(
                    ticket,
                    batch.method.policy.name or str(batch.method.index),
                    alone=cause == "crash" and present == 1,
                    overran=overran,
                    run_limit_s=batch.limit_s,
                    max_attempts=self._limits.max_attempts,
                )
                if end is None:
                    self._requeue(ticket)
                else:
                    self._end(ticket)
                    out.append(Reject(ticket.id, *end))
        for batch in reversed(gone.staged):
            self._staged -= 1
            self._forget(batch)
            self._put_back(batch)
        self._count_capacity()
        return out

    def finished(self, now: float, worker: int, batch: int, compute_s: float, rows: int, split_s: float) -> None:
        """Note that a batch is over: its slot is free and its method's profile learns.

        Args:
            now: the time.
            worker, batch: ids; unknown ones are ignored.
            compute_s: how long it took. rows: rows that ran. split_s: part of it spent on bisection.
        """
        over = self._batches.get(batch)
        if over is None or over.worker.id != worker:
            return
        self._release(now, over)
        if rows > 0 and over.aborted is None:
            over.method.observe(now, compute_s, rows, split_s)
        if over.left:
            for ticket in over.waited_for():
                self._end(ticket)
                self._later.append(
                    Reject(ticket.id, Code.INTERNAL, "the worker finished without an answer to this call")
                )

    def recalled(self, now: float, worker: int, batch: int) -> None:
        """Put the calls of a batch that a worker gave back to the front of the queue; unknown ones are ignored."""
        back = self._batches.get(batch)
        if back is None or back.worker.id != worker:
            return
        self._release(now, back)
        self._put_back(back)

    # ------------------------------------------------------------------------------------------------ decisions

    def schedule(self, now: float) -> list[Instruction]:
        """Form batches for all capacity that is free, and call back what waits behind a slow batch for nothing.

        Returns:
            What to do, in order. Calling it again without an event in between returns nothing new.
        """
        out: list[Instruction] = []
        if self._later:
            out, self._later = self._later, out
        if self._ward is not None or self._isolated.live:
            self._isolate(now, out)
        compute, tasks, streams = self._lanes
        if compute.queued or compute.alone.live:
            self._fill_compute(now, compute, out)
        if tasks.queued or tasks.alone.live:
            self._fill_singles(now, tasks, out)
        if streams.queued or streams.alone.live:
            self._fill_singles(now, streams, out)
        if self._staged:
            self._recall_waiting(now, out)
        return out

    def tick(self, now: float) -> list[Instruction]:
        """Look at deadlines and run limits; call it every 25 ms while calls are open."""
        out: list[Instruction] = []
        for call in self._wheel.due(now):
            self._is_due(now, self._calls[call], out)
        for worker in self._workers.values():
            if worker.load and not worker.doomed:
                self._watch(now, worker, out)
        if self._staged:
            self._recall_waiting(now, out)
        return out

    # ---------------------------------------------------------------------------------------------------- views

    @property
    def open_calls(self) -> int:
        """Calls that have not ended."""
        return len(self._calls)

    @property
    def predicted_wait_s(self) -> float:
        """Seconds that a new compute call would wait, as far as is known."""
        lane = self._lanes[0]
        return (lane.queued_s + lane.running_s) / max(1, lane.slots)

    def backlog_s(self, worker: int) -> float:
        """Return the predicted compute of what a worker has; 0 for an unknown one."""
        known = self._workers.get(worker)
        return known.backlog_s() if known is not None else 0.0

    # ------------------------------------------------------------------------------------------ giving out work

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
            method.recover(now)
            room = method.room
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
            method.recover(now)
            room = method.room
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

    def _give_up(self, now: float, ticket: Ticket, out: list[Instruction]) -> None:
        """End a call that was taken from its queue and can't be in time."""
        self._count_out(ticket)
        ticket.state = DONE
        self._close(ticket)
        out.append(_too_late(now, ticket))

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
        method.recent_rows = rows
        if exclusive:
            batch.exclusive = worker.exclusive = True
        lane.running_s += batch.predicted
        lane.charge(method, batch.predicted)
        self._batches[number] = batch
        worker.put(now, lane.number, batch)
        if batch.started is None:
            self._staged += 1
        out.append(Dispatch(worker.id, number, method.index, ids, calls[0].attempts))

    def _recall_waiting(self, now: float, out: list[Instruction]) -> None:
        """Call staged batches back that would wait long while another worker could run them.

        That is one with a free slot, or, for a batch behind one that takes much longer than predicted, any that gets on.
        """
        idle = any(len(worker.running[0]) < worker.slots[0] for worker in self._usable)
        moving = idle or not all(worker.is_stuck(now) for worker in self._usable)
        if not moving:
            return
        for worker in self._workers.values():
            if worker.staged and (worker.is_stuck(now) or (idle and worker.start_in_s(now) > RECALL_GAIN_S)):
                for batch in worker.staged:
                    if not batch.recalling:
                        batch.recalling = True
                        out.append(Recall(worker.id, batch.id))

    # --------------------------------------------------------------------------------------------------- clocks

    def _is_due(self, now: float, ticket: Ticket, out: list[Instruction]) -> None:
        """Handle a call that came up in the wheel, which has let go of it."""
        if ticket.deadline > now:
            if ticket.state == QUEUED:
                self._end(ticket)
                out.append(_too_late(now, ticket))
            else:  # it runs: only its deadline counts from here on
                ticket.due = ticket.deadline
                self._wheel.add(ticket.id, ticket.due)
            return
        batch = self._end(ticket)
        out.append(Expire(ticket.id))
        if batch is not None and batch.started is None:
            out.append(Abort(batch.worker.id, ticket.id))

    def _watch(self, now: float, worker: Worker, out: list[Instruction]) -> None:
        """Enforce run limits: a compute batch costs its worker, an async call or stream is asked to stop first."""
        compute, tasks, streams = worker.running
        for batch in compute.values():
            if batch.over_limit(now):
                self._doom(now, worker, batch, out)
                return
        for singles in (tasks, streams):
            for batch in singles.values():
                if batch.aborted is not None:
                    if now - batch.aborted >= ABORT_GRACE_S:
                        self._doom(now, worker, batch, out)
                        return
                elif batch.over_limit(now):
                    batch.aborted = now
                    call = batch.calls[0].id
                    out.append(Abort(worker.id, call))
                    for ticket in batch.waited_for():
                        self._end(ticket)
                        name = batch.method.policy.name or str(batch.method.index)
                        out.append(
                            Reject(
                                call,
                                Code.RUN_LIMIT,
                                f"method {name!r} ran longer than its run limit of {batch.limit_s:g} s",
                            )
                        )

    def _doom(self, now: float, worker: Worker, batch: Batch, out: list[Instruction]) -> None:
        """Have a worker killed for a batch that broke its run limit."""
        batch.overran = worker.doomed = True
        self._count_capacity()
        name = batch.method.policy.name or str(batch.method.index)
        ran = now - (batch.started or now)
        out.append(Kill(worker.id, f"method {name!r} has run for {ran:.1f} s, its run limit is {batch.limit_s:g} s"))

    # ---------------------------------------------------------------------------------------------- bookkeeping

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


def _too_late(now: float, ticket: Ticket) -> Instruction:
    """Return how a waiting call ends that can't be done in time."""
    if ticket.deadline <= now:
        return Expire(ticket.id)
    waited = now - ticket.arrived
    return Reject(
        ticket.id, Code.OVERLOADED, f"the call waited {waited:.3f} s and can't be done in its time any more", 1.0
    )
