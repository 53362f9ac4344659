"""Property tests: whatever the order of arrivals, cancels, deaths, finishes, recalls, answers and ticks, no call is lost.

The machine below plays engine and workers. It keeps its own books from the instructions alone and checks each instruction
against them; the scheduler's insides are looked at only at the end, for what should have been forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tiffin.batching.instructions import Abort, Dispatch, Expire, Instruction, Kill, Recall, Reject
from tiffin.batching.policy import Limits, MethodPolicy, Slots, Ticket
from tiffin.batching.scheduler import Scheduler
from tiffin.errors import Code

pytestmark = pytest.mark.timeout(900)

METHODS = [
    MethodPolicy(name="joined", batchable=True, max_rows=4, run_limit_s=0.5),
    MethodPolicy(name="plain", run_limit_s=0.3),
    MethodPolicy(name="writes", idempotent=False, run_limit_s=0.4),
    MethodPolicy(name="waits", lane="async", run_limit_s=0.4),
    MethodPolicy(name="streams", lane="stream", run_limit_s=2.0),
    MethodPolicy(name="urgent", batchable=True, max_rows=4, max_latency_s=0.1, run_limit_s=0.5),
]
LIMITS = Limits(queue_calls=20, queue_bytes=300, max_attempts=4)
LANE = {"compute": 0, "async": 1, "stream": 2}
CAUSES = ["crash", "crash", "device", "killed", "oom_killer", "run_limit", "link", "out_of_memory"]
ROOM = (4, 4, 4, 3, 3, 2, 1)  # rows that fit into scarce memory, by the binary digits of a row's bytes


@dataclass
class Call:
    """What the machine knows of a call."""

    id: int
    method: int
    rows: int
    size: int
    deadline: float
    idempotent: bool
    ends: list[str] = field(default_factory=list)
    attempts: int = 0
    deaths: int = 0
    streamed: bool = False
    batch: Sent | None = None  # while its client waits for a batch


@dataclass
class Sent:
    """A batch that a worker has."""

    id: int
    worker: Desk
    lane: int
    calls: list[Call]
    at: float
    open: set[int] = field(default_factory=set)  # members that the worker has not answered
    limit: int = 0  # rows that may run at once
    recall: bool = False
    heard: int = 0  # answers that the scheduler was told of while somebody waited for them


@dataclass
class Desk:
    """A worker: its batches per lane in the order they came; the first `slots` of a lane run."""

    id: int
    slots: tuple[int, int, int]
    batches: tuple[list[Sent], list[Sent], list[Sent]]
    paused: bool = False
    doomed: bool = False

    def running(self) -> list[Sent]:
        return [batch for lane in range(3) for batch in self.batches[lane][: self.slots[lane]]]

    def staged(self) -> list[Sent]:
        return self.batches[0][self.slots[0] :]

    def runs(self, batch: Sent) -> bool:
        return any(batch is other for other in self.running())


def bucket(calls: list[Call]) -> int:
    """Return the binary digits of the largest row's bytes."""
    return max((call.size // call.rows).bit_length() for call in calls)


class AnyOrder(RuleBasedStateMachine):
    """Engine and workers in one."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.scheduler = Scheduler(METHODS, LIMITS)
        self.calls: dict[int, Call] = {}
        self.workers: dict[int, Desk] = {}
        self.last = 0
        self.scarce = False
        self.learned: dict[tuple[int, int], int] = {}  # rows, by method and size of a row

    # ------------------------------------------------------------------------------------ the machine's books

    @property
    def open(self) -> list[Call]:
        return [call for call in self.calls.values() if not call.ends]

    def end(self, call: Call, how: str) -> None:
        assert not call.ends, f"call {call.id} ended twice: {call.ends} and {how}"
        call.ends.append(how)
        call.batch = None

    def apply(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Dispatch():
                    self.dispatch(instruction)
                case Recall(worker, number):
                    batch = next(b for b in self.workers[worker].staged() if b.id == number)
                    assert not batch.recall, "recalled twice"
                    batch.recall = True
                case Abort(worker, number):
                    held = [c.id for b in self.all_of(self.workers[worker]) for c in b.calls]
                    assert number in held
                case Kill(worker, reason):
                    desk = self.workers[worker]
                    assert not desk.doomed
                    assert "run limit" in reason
                    assert any(self.now - b.at >= METHODS[b.calls[0].method].run_limit_s for b in desk.running())
                    desk.doomed = True
                case Reject(number, code, message, retry):
                    assert message
                    assert retry >= 0
                    self.end(self.calls[number], str(code))
                case Expire(number):
                    assert self.calls[number].deadline <= self.now
                    self.end(self.calls[number], "expired")

    def all_of(self, desk: Desk) -> list[Sent]:
        return [batch for lane in desk.batches for batch in lane]

    def dispatch(self, order: Dispatch) -> None:
        desk = self.workers[order.worker]
        policy = METHODS[order.method]
        lane = LANE[policy.lane]
        calls = [self.calls[number] for number in order.calls]
        assert not desk.paused
        assert not desk.doomed
        assert calls
        assert len(set(order.calls)) == len(calls)
        for call in calls:
            assert not call.ends, "an ended call was dispatched"
            assert call.batch is None, "a call is in two batches"
            assert call.method == order.method
            assert not call.streamed
            assert call.deadline >= self.now
            assert call.idempotent or call.attempts == 0, "run twice though not idempotent"
            assert order.attempt == call.attempts + 1
            assert call.attempts == 0 or len(calls) == 1, "a call that ran in a worker that died has company"
            assert call.idempotent or len(calls) == 1
        rows = sum(call.rows for call in calls)
        assert len(calls) == 1 or rows <= (policy.max_rows if policy.batchable else 64)
        known = [
            most for (number, size), most in self.learned.items() if number == order.method and size <= bucket(calls)
        ]
        assert order.limit <= policy.max_rows
        for most in known:
            assert 0 < order.limit <= most, "more than is known to fit"
            assert len(calls) == 1 or rows <= most
        taken = desk.batches[lane]
        if lane:
            assert len(calls) == 1
            assert len(taken) < desk.slots[lane], "a lane was over-committed"
        elif len(taken) >= desk.slots[0]:
            alone = [b for b in desk.running() if b.lane == 0 and not all(c.idempotent for c in b.calls)]
            assert len(desk.staged()) < desk.slots[0] - len(alone), "staged where nothing may be staged"
            assert calls[0].idempotent, "a call that is not idempotent was staged"
        if calls[0].deaths >= 2:
            assert not self.all_of(desk), "a call that died in company twice is not alone"
        assert not any(b.calls[0].deaths >= 2 for b in self.all_of(desk)), "company for a call that must be alone"
        batch = Sent(order.batch, desk, lane, calls, self.now, set(order.calls), order.limit)
        for call in calls:
            call.batch = batch
            call.attempts += 1
        taken.append(batch)

    def remove(self, batch: Sent) -> None:
        """A batch is over; what was staged behind it starts now."""
        lane = batch.worker.batches[batch.lane]
        before = batch.worker.running()
        lane.remove(batch)
        for other in batch.worker.running():
            if not any(other is b for b in before):
                other.at = self.now

    # -------------------------------------------------------------------------------------------------- rules

    @initialize(workers=st.integers(0, 3), threads=st.integers(1, 2), scarce=st.booleans())
    def start(self, workers: int, threads: int, scarce: bool) -> None:
        self.scarce = scarce
        for _ in range(workers):
            self.up(threads, 2)

    @rule(
        method=st.integers(0, len(METHODS) - 1),
        rows=st.integers(1, 6),
        size=st.integers(0, 40),
        timeout=st.sampled_from([0.01, 0.2, 1.0, 30.0]),
        inner=st.booleans(),
        count=st.integers(1, 12),
    )
    def arrive(self, method: int, rows: int, size: int, timeout: float, inner: bool, count: int) -> None:
        policy = METHODS[method]
        for _ in range(count):
            self.last += 1
            call = Call(self.last, method, rows if policy.batchable else 1, size, self.now + timeout, policy.idempotent)
            self.calls[call.id] = call
            waiting = [c for c in self.open if c.batch is None and c is not call]
            waiting_bytes = sum(c.size for c in waiting)
            ticket = Ticket(
                call.id, method, call.rows, size, self.now, call.deadline, idempotent=policy.idempotent, inner=inner
            )
            refused = self.scheduler.arrive(self.now, ticket)
            full = len(waiting) >= LIMITS.queue_calls or (waiting_bytes and waiting_bytes + size > LIMITS.queue_bytes)
            if inner:
                assert refused is None
            elif full:
                assert refused is not None
                assert refused.code is Code.TOO_MANY
                assert refused.retry_after_s > 0
            elif refused is not None:
                assert refused.code is Code.OVERLOADED
                assert refused.retry_after_s > 0
            if refused is not None:
                self.end(call, str(refused.code))

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(list(self.calls.values())))
        batch = call.batch
        was_open = not call.ends
        instructions = self.scheduler.cancel(self.now, call.id)
        if was_open:
            self.end(call, "cancelled")
            assert instructions == ([Abort(batch.worker.id, call.id)] if batch else [])
        else:
            assert instructions == []

    @precondition(lambda self: any(desk.running() for desk in self.workers.values()))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        running = [b for desk in self.workers.values() for b in desk.running() if b.open]
        if running:
            batch = data.draw(st.sampled_from(running))
            self.answer_one(batch, data.draw(st.sampled_from(sorted(batch.open))))

    def answer_one(self, batch: Sent, number: int) -> None:
        call = self.calls[number]
        batch.open.discard(number)
        self.scheduler.answered(number)
        if call.batch is batch:
            batch.heard += 1
            self.end(call, "answered")

    @precondition(lambda self: any(desk.running() for desk in self.workers.values()))
    @rule(data=st.data(), split=st.sampled_from([0.0, 0.0, 0.5]), answer=st.sampled_from([True, True, True, False]))
    def finish(self, data: st.DataObject, split: float, answer: bool) -> None:
        batch = data.draw(st.sampled_from([b for desk in self.workers.values() for b in desk.running()]))
        self.finish_one(batch, split, answer=answer)

    def finish_one(self, batch: Sent, split: float = 0.0, *, answer: bool = True) -> None:
        if answer:
            for number in sorted(batch.open):
                self.answer_one(batch, number)
        forgotten = [call for call in batch.calls if call.batch is batch]
        self.remove(batch)
        rows = sum(call.rows for call in batch.calls)
        compute_s = self.now - batch.at
        fits = self.fits(batch, rows) if self.scarce else 0
        self.scheduler.finished(self.now, batch.worker.id, batch.id, compute_s, rows, compute_s * split, fits)
        self.schedule()
        assert all(call.ends == ["INTERNAL"] for call in forgotten)

    def fits(self, batch: Sent, rows: int) -> int:
        """What the worker says of memory: so many rows at once were enough; 0: it never ran out."""
        method, size = batch.calls[0].method, bucket(batch.calls)
        room = ROOM[size]
        if not METHODS[method].batchable or min(rows, batch.limit or METHODS[method].max_rows) <= room:
            return 0
        self.learned[method, size] = min(room, self.learned.get((method, size), room))
        return room

    @precondition(lambda self: any(b.recall for desk in self.workers.values() for b in desk.batches[0]))
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        # One that has started meanwhile may still have been given back: the scheduler guesses when a batch starts.
        back = [
            b for desk in self.workers.values() for b in desk.batches[0] if b.recall and len(b.open) == len(b.calls)
        ]
        back = [b for b in back if all(c.idempotent and not c.streamed for c in b.calls)]
        if back:
            batch = data.draw(st.sampled_from(back))
            self.remove(batch)
            for call in batch.calls:
                if call.batch is batch:
                    call.batch = None
                    call.attempts -= 1
            self.scheduler.recalled(self.now, batch.worker.id, batch.id)

    @rule(seconds=st.sampled_from([0.0001, 0.001, 0.004, 0.01, 0.05]))
    def advance(self, seconds: float) -> None:
        self.now += seconds

    @rule(ticks=st.integers(1, 60))
    def tick(self, ticks: int) -> None:
        for _ in range(ticks):
            self.now += 0.025
            self.apply(self.scheduler.tick(self.now))
            assert all(call.deadline > self.now for call in self.open), "held past its deadline"

    @rule()
    def schedule(self) -> None:
        self.apply(self.scheduler.schedule(self.now))
        assert self.scheduler.schedule(self.now) == [], "a second look decided something new"
        if any(call.deaths >= 2 and call.batch is None for call in self.open):
            return  # a worker may be kept free for it
        for lane in range(3):
            free = [
                desk
                for desk in self.workers.values()
                if not (desk.paused or desk.doomed)
                and len(desk.batches[lane]) < desk.slots[lane]
                and not any(b.calls[0].deaths >= 2 for b in self.all_of(desk))
            ]
            if free:
                waiting = [c for c in self.open if c.batch is None and LANE[METHODS[c.method].lane] == lane]
                assert not waiting, "a call waits though there is room for it"

    @precondition(lambda self: len(self.workers) < 3)
    @rule(threads=st.integers(1, 2), singles=st.integers(1, 3))
    def up(self, threads: int, singles: int) -> None:
        number = next(n for n in range(1, 5) if n not in self.workers)
        self.workers[number] = Desk(number, (threads, singles, singles), ([], [], []))
        self.scheduler.worker_up(self.now, number, Slots(threads=threads, concurrency=singles, streams=singles))

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), cause=st.sampled_from(CAUSES))
    def down(self, data: st.DataObject, cause: str) -> None:
        desk = self.workers.pop(data.draw(st.sampled_from(sorted(self.workers))))
        ran = [(call, batch) for batch in desk.running() for call in batch.calls]
        present = sum(len(batch.calls) - batch.heard for batch in desk.running())
        instructions = self.scheduler.worker_down(self.now, desk.id, cause)  # type: ignore[arg-type]
        codes = {i.call: i.code for i in instructions if isinstance(i, Reject)}
        assert len(codes) == len(instructions), "a death gives nothing but rejects"
        for call, batch in ran:
            if call.batch is not batch:
                assert call.id not in codes
                continue
            call.batch = None
            call.deaths += cause in ("crash", "device")
            code = codes.get(call.id)
            if code is Code.RUN_LIMIT:
                assert cause == "run_limit"
                assert len(batch.calls) == 1
            elif call.streamed:
                assert code is Code.WORKER_LOST
            elif not call.idempotent:
                assert code is Code.MAYBE_EXECUTED
            elif cause in ("crash", "device") and call.deaths >= 2 and present == 1:
                assert code is Code.POISON
            elif call.attempts >= LIMITS.max_attempts:
                assert code is Code.WORKER_LOST
            else:
                assert code is None
        for batch in desk.staged():
            for call in batch.calls:
                if call.batch is batch:
                    call.batch = None
                    call.attempts -= 1
                    assert call.id not in codes, "blamed though it never started"
        self.apply(instructions)

    @rule(data=st.data(), turns=st.integers(1, 6), seconds=st.sampled_from([0.00001, 0.0005, 0.02]))
    def work(self, data: st.DataObject, turns: int, seconds: float) -> None:
        """What happens most: batches are given out, run and finish."""
        for _ in range(turns):
            self.schedule()
            running = [b for desk in self.workers.values() for b in desk.running()]
            if not running:
                return
            self.now += seconds
            self.finish_one(data.draw(st.sampled_from(running)))

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), times=st.integers(1, 4))
    def crash_and_replace(self, data: st.DataObject, times: int) -> None:
        """A call that kills what runs it."""
        for _ in range(times):
            self.schedule()
            self.down(data, "crash")
            self.up(1, 2)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), paused=st.booleans())
    def pause(self, data: st.DataObject, paused: bool) -> None:
        desk = self.workers[data.draw(st.sampled_from(sorted(self.workers)))]
        desk.paused = paused
        self.scheduler.worker_paused(desk.id, paused)

    @precondition(lambda self: any(desk.running() for desk in self.workers.values()))
    @rule(data=st.data())
    def streaming(self, data: st.DataObject) -> None:
        batch = data.draw(st.sampled_from([b for desk in self.workers.values() for b in desk.running()]))
        call = batch.calls[0]
        if batch.lane and call.batch is batch:
            self.scheduler.streaming(call.id)
            call.streamed = True

    @precondition(lambda self: any(desk.running() for desk in self.workers.values()))
    @rule(data=st.data())
    def outside(self, data: st.DataObject) -> None:
        batch = data.draw(st.sampled_from([b for desk in self.workers.values() for b in desk.running()]))
        staged = batch.worker.staged()
        for call in batch.calls:
            if call.batch is batch and not staged:  # what is staged already stays: it carries no blame
                self.scheduler.made_outside_call(call.id)
                call.idempotent = False

    @precondition(lambda self: len(self.open) > 5)
    @rule(really=st.integers(0, 9))
    def drop_all(self, really: int) -> None:
        if really == 0:
            rejects = self.scheduler.drop_all(Code.STOPPING)
            assert sorted(reject.call for reject in rejects) == sorted(call.id for call in self.open)
            self.apply(list(rejects))

    @rule(call=st.integers(10**6, 10**6 + 5))
    def unknown(self, call: int) -> None:
        self.scheduler.answered(call)
        self.scheduler.streaming(call)
        self.scheduler.made_outside_call(call)
        self.scheduler.finished(self.now, 1, call, 1.0, 1, 0.0)
        self.scheduler.recalled(self.now, 1, call)
        self.scheduler.worker_paused(99, paused=True)
        assert self.scheduler.cancel(self.now, call) == []
        assert self.scheduler.worker_down(self.now, 99, "crash") == []

    # --------------------------------------------------------------------------------------------- invariants

    @invariant()
    def books_agree(self) -> None:
        waiting = [call for call in self.open if call.batch is None]
        assert self.scheduler.open_calls == len(self.open)
        assert self.scheduler.queued_calls == len(waiting)
        assert self.scheduler.queued_bytes == sum(call.size for call in waiting)
        assert self.scheduler.running == len(self.open) - len(waiting)
        assert self.scheduler.predicted_wait_s >= -1e-9
        for desk in self.workers.values():
            assert self.scheduler.backlog_s(desk.id) >= 0.0

    def teardown(self) -> None:
        """Let workers live and finish: every call must end, and nothing be remembered."""
        for desk in self.workers.values():
            desk.paused = False
            self.scheduler.worker_paused(desk.id, paused=False)
        for number in [desk.id for desk in self.workers.values() if desk.doomed]:
            del self.workers[number]
            for call in self.open:
                if call.batch is not None and call.batch.worker.id == number:
                    if not call.batch.worker.runs(call.batch):
                        call.attempts -= 1
                    call.batch = None
            self.apply(self.scheduler.worker_down(self.now, number, "killed"))
        if not self.workers:
            self.up(1, 1)
        for _ in range(1000):
            self.schedule()
            running = [b for desk in self.workers.values() for b in desk.running()]
            if not running:
                break
            self.finish_one(running[0])
            self.now += 0.0005
            self.apply(self.scheduler.tick(self.now))
        assert not self.open, "calls were lost"
        assert all(len(call.ends) == 1 for call in self.calls.values())
        assert len(self.scheduler._wheel) == 0
        assert not self.scheduler._batches
        assert self.scheduler._staged == 0
        assert not self.scheduler._calls
        for lane in self.scheduler._lanes:
            assert lane.queued == lane.inner == lane.alone.live == 0
            assert lane.queued_s == pytest.approx(0.0, abs=1e-9)
            assert lane.running_s == pytest.approx(0.0, abs=1e-9)
            for method in lane.methods:
                assert method.queued == method.queued_rows == method.inner.live == method.outer.live == 0


TestAnyOrder = AnyOrder.TestCase
# The profile's own number where it asks for more (HYPOTHESIS_PROFILE=long), but no more than ten minutes of them.
TestAnyOrder.settings = settings(max_examples=min(10_000, max(200, settings().max_examples)), stateful_step_count=60)
