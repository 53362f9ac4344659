"""The scheduler of one service: events in, instructions out.

Owns what each event means and all clocks' rules; never does I/O, never looks at a clock. Times in CLOCK_MONOTONIC seconds.
Events only change state; `schedule` gives waiting calls to workers, `tick` looks at deadlines and run limits.
"""

from __future__ import annotations

from tiffin.batching.admission import refuse_full, refuse_slow
from tiffin.batching.books import too_late
from tiffin.batching.capacity import ABORT_GRACE_S, Batch, Worker
from tiffin.batching.deaths import BLAMED, DownCause, verdict
from tiffin.batching.giving import Giving
from tiffin.batching.instructions import Abort, Expire, Instruction, Kill, Reject
from tiffin.batching.limits import bucket_of
from tiffin.batching.policy import DONE, QUEUED, SENT, Slots, Ticket
from tiffin.errors import Code


class Scheduler(Giving):
    """Decides which call runs when, where and with whom. Arguments and attributes: see `Books`."""

    __slots__ = ()

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
            cause: only those in `BLAMED` count as a death that a call may be blamed for.
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
                if cause in BLAMED:
                    ticket.deaths += 1
                end = verdict(
                    ticket,
                    batch.method.policy.name or str(batch.method.index),
                    alone=cause in BLAMED and present == 1,
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

    def finished(
        self, now: float, worker: int, batch: int, compute_s: float, rows: int, split_s: float, fits: int = 0
    ) -> None:
        """Note that a batch is over: its slot is free and its method's profile learns.

        Args:
            now: the time.
            worker, batch: ids; unknown ones are ignored.
            compute_s: how long it took. rows: rows that ran. split_s: part of it spent on bisection.
            fits: rows at once that memory sufficed for, where it did not for more; 0 where it sufficed.
        """
        over = self._batches.get(batch)
        if over is None or over.worker.id != worker:
            return
        self._release(now, over)
        method = over.method
        if fits:
            method.limits.learn(now, max(map(bucket_of, over.calls)), fits)
        elif rows > 0 and over.aborted is None:
            method.observe(now, compute_s, rows, split_s)
            if method.limits:
                at_once = min(rows, over.row_limit or rows)
                method.limits.held(now, max(map(bucket_of, over.calls)), at_once)
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
    def open_batches(self) -> int:
        """Batches that workers have; their run limits need ticks even when no client waits any more."""
        return len(self._batches)

    @property
    def predicted_wait_s(self) -> float:
        """Seconds that a new compute call would wait, as far as is known."""
        lane = self._lanes[0]
        return (lane.queued_s + lane.running_s) / max(1, lane.slots)

    def row_limits(self) -> dict[str, int]:
        """Return, for methods that ran out of memory, the least rows at once that were learned."""
        return {method.policy.name: method.limits.least for method in self._methods if method.limits}

    def backlog_s(self, worker: int) -> float:
        """Return the predicted compute of what a worker has; 0 for an unknown one."""
        known = self._workers.get(worker)
        return known.backlog_s() if known is not None else 0.0

    # --------------------------------------------------------------------------------------------------- clocks

    def _is_due(self, now: float, ticket: Ticket, out: list[Instruction]) -> None:
        """Handle a call that came up in the wheel, which has let go of it."""
        if ticket.deadline > now:
            if ticket.state == QUEUED:
                self._end(ticket)
                out.append(too_late(now, ticket))
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
