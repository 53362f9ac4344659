"""The engine between a scripted edge and scripted workers, with a clock that stands still."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tiffin.config.parts import Config, TrafficConfig
from tiffin.engine.engine import Engine
from tiffin.link.arena import Arena
from tiffin.messages.control import (
    KillWorker,
    Retired,
    ServiceFailed,
    ToSupervisor,
    WorkerDied,
    WorkerReady,
    WorkerStarted,
)
from tiffin.messages.link import (
    PROTOCOL,
    Batch,
    Beat,
    Cancel,
    Data,
    End,
    Failure,
    Hello,
    LinkMessage,
    Open,
    Ran,
    Ready,
    Recalled,
    Reply,
    Slot,
    Welcome,
    Window,
)
from tiffin.messages.port import Call, ToEdge
from tiffin.observe.exposition import expose
from tiffin.observe.metrics import Registry
from tiffin.spec.service import Application, MethodSpec, Param, ServiceSpec
from tiffin.spec.types import AnyType


def method(name: str, **more: object) -> MethodSpec:
    return MethodSpec(name=name, route=f"/{name}", params=(Param(name="x", type=AnyType()),), returns=AnyType(), **more)  # type: ignore[arg-type]


PLAIN, JOINED, ONCE, STREAM = range(4)
ENTRY = ServiceSpec(
    name="Entry",
    target="m:Entry",
    methods=(
        method("plain"),
        method("joined", batchable=True, max_batch_size=8),
        method("once", idempotent=False),
        method("stream", kind="generator"),
    ),
    depends={"other": "Other"},
)
OTHER = ServiceSpec(name="Other", target="m:Other", methods=(method("inner"), method("inner_once", idempotent=False)))
APPLICATION = Application(services=(OTHER, ENTRY))


class Timers:
    def __init__(self) -> None:
        self.now = 1000.0
        self.soon: list[Callable[[], None]] = []
        self.later: list[tuple[float, Callable[[], None]]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self.later.append((self.now + delay, callback))

    def run(self, seconds: float = 0.0) -> None:
        until = self.now + seconds
        while True:
            while self.soon:
                self.soon.pop(0)()
            due = sorted((entry for entry in self.later if entry[0] <= until), key=lambda entry: entry[0])
            if not due:
                break
            self.later.remove(due[0])
            self.now = due[0][0]
            due[0][1]()
        self.now = until


class Link:
    """A scripted worker: notes what it gets."""

    def __init__(self) -> None:
        self.got: list[LinkMessage] = []
        self.closed = ""
        self.polls = 0

    def send(self, messages: Sequence[LinkMessage]) -> None:
        self.got += messages

    def poll(self) -> None:
        self.polls += 1

    def close(self, reason: str) -> None:
        self.closed = reason

    def take(self, kind: type) -> list[LinkMessage]:
        found = [message for message in self.got if isinstance(message, kind)]
        self.got = [message for message in self.got if not isinstance(message, kind)]
        return found


class Bench:
    def __init__(self, arena: Arena | None = None, config: Config | None = None) -> None:
        self.timers = Timers()
        self.told: list[ToSupervisor] = []
        self.answers: list[ToEdge] = []
        config = config or Config()
        self.registry = Registry()
        self.engine = Engine(self.timers, lambda: self.timers.now, config, arena, self.registry, self.told.append)
        self.engine.connect(self)
        self.engine.fleet.activate(1, APPLICATION)
        self.next_id = 0

    def receive(self, message: ToEdge) -> None:
        self.answers.append(message)

    def worker(self, worker: int, spec: ServiceSpec = ENTRY, epoch: int = 1, generation: int = 1) -> Link:
        link = Link()
        hello = Hello(PROTOCOL, worker, epoch, 1, spec.name, generation, spec.digest(), "cpu")
        link.handle = self.engine.fleet.greet(link, hello)  # type: ignore[attr-defined]
        self.say(link, Ready(0.1))
        assert link.take(Welcome)
        return link

    def say(self, link: Link, *messages: LinkMessage) -> None:
        link.handle.messages(list(messages))  # type: ignore[attr-defined]
        self.timers.run()

    def call(self, number: int = PLAIN, body: bytes | Slot = b"{}", timeout_s: float = 10.0) -> int:
        self.next_id += 1
        size = len(body) if isinstance(body, bytes) else body.size
        deadline = self.timers.now + timeout_s
        self.engine.send(Call(self.next_id, number, 1, size, 0, -1, body, deadline, f"r{self.next_id}"))
        return self.next_id

    def batch(self, link: Link) -> Batch:
        self.timers.run()
        (batch,) = link.take(Batch)
        assert isinstance(batch, Batch)
        return batch

    def die(self, worker: int, epoch: int = 1) -> None:
        self.engine.fleet.worker_died(WorkerDied(worker, epoch, "crash", "signal 9"))
        self.timers.run()


def test_a_call_goes_to_a_worker_and_its_reply_back() -> None:
    bench = Bench()
    link = bench.worker(0)
    id = bench.call(body=b'{"x":1}')
    batch = bench.batch(link)
    assert [(open.stream, open.body, open.attempt) for open in batch.members] == [(id, b'{"x":1}', 1)]
    bench.say(link, Reply(id, b"2"), Ran(batch.batch, 0.001, 1))
    assert bench.answers == [Reply(id, b"2")]
    assert not bench.engine.calls


def test_calls_of_one_round_share_a_batch() -> None:
    bench = Bench()
    link = bench.worker(0)
    ids = [bench.call(JOINED) for _ in range(5)]
    assert [open.stream for open in bench.batch(link).members] == ids


def test_a_reply_for_an_ended_call_is_dropped() -> None:
    bench = Bench()
    link = bench.worker(0)
    id = bench.call(timeout_s=0.2)
    batch = bench.batch(link)
    bench.timers.run(0.3)
    (answer,) = bench.answers
    assert isinstance(answer, Failure) and (answer.stream, answer.code, answer.status) == (id, "DEADLINE", 504)
    assert link.take(Cancel) == [Cancel(id)]
    bench.say(link, Reply(id, b"late"), Ran(batch.batch, 0.3, 1))
    assert len(bench.answers) == 1


def test_a_queued_call_of_a_client_that_left_is_never_run() -> None:
    bench = Bench()
    id = bench.call()
    bench.engine.send(Cancel(id))
    link = bench.worker(0)
    bench.timers.run(0.1)
    assert link.take(Batch) == []
    assert bench.answers == []


def test_members_of_a_dead_batch_run_again_each_alone() -> None:
    bench = Bench()
    first = bench.worker(0)
    ids = [bench.call(JOINED) for _ in range(3)]
    assert len(bench.batch(first).members) == 3
    bench.die(0)
    second = bench.worker(0, epoch=2)
    for id in ids:
        batch = bench.batch(second)
        assert [(open.stream, open.attempt) for open in batch.members] == [(id, 2)]
        bench.say(second, Reply(id, b"ok"), Ran(batch.batch, 0.001, 1))
    assert [answer.stream for answer in bench.answers] == ids


def test_a_call_that_is_not_idempotent_is_never_run_twice() -> None:
    bench = Bench()
    link = bench.worker(0)
    bench.call(ONCE)
    bench.batch(link)
    bench.die(0)
    (answer,) = bench.answers
    assert isinstance(answer, Failure) and (answer.code, answer.retryable) == ("MAYBE_EXECUTED", False)
    again = bench.worker(0, epoch=2)
    bench.timers.run(0.1)
    assert again.take(Batch) == []


def test_a_call_that_kills_two_workers_is_poison() -> None:
    bench = Bench()
    for epoch in (1, 2):
        link = bench.worker(0, epoch=epoch)
        if epoch == 1:
            bench.call()
        bench.batch(link)
        bench.die(0, epoch)
    (answer,) = bench.answers
    assert isinstance(answer, Failure) and answer.code == "POISON"


def test_a_broken_link_waits_for_the_supervisors_word() -> None:
    bench = Bench()
    link, other = bench.worker(0), bench.worker(1)
    id = bench.call()
    bench.timers.run()
    holder, spare = (link, other) if link.take(Batch) else (other, link)
    number = 0 if holder is link else 1
    holder.handle.closed("reset")  # type: ignore[attr-defined]
    bench.timers.run(0.1)
    assert [told for told in bench.told if isinstance(told, KillWorker)] == [KillWorker(number, 1, "crash", "reset")]
    assert spare.take(Batch) == []
    bench.die(number)
    assert [open.stream for open in bench.batch(spare).members] == [id]


def test_without_the_supervisors_word_the_calls_run_again_all_the_same() -> None:
    bench = Bench()
    link = bench.worker(0)
    bench.call()
    bench.batch(link)
    link.handle.closed("reset")  # type: ignore[attr-defined]
    bench.timers.run(3)
    assert bench.batch(bench.worker(0, epoch=2)).members


def test_a_worker_of_an_older_start_is_refused() -> None:
    bench = Bench()
    bench.engine.fleet.worker_started(WorkerStarted(0, 3, 1, "Entry", "cpu"))
    hello = Hello(PROTOCOL, 0, 2, 1, "Entry", 1, ENTRY.digest(), "cpu")
    assert bench.engine.fleet.greet(Link(), hello) is None
    assert bench.engine.fleet.greet(Link(), Hello(99, 0, 3, 1, "Entry", 1, ENTRY.digest(), "cpu")) is None


def test_a_worker_with_another_spec_is_killed() -> None:
    bench = Bench()
    link = Link()
    handle = bench.engine.fleet.greet(link, Hello(PROTOCOL, 0, 1, 1, "Entry", 1, "0" * 64, "cpu"))
    assert handle is not None
    handle.messages([Ready(0.1)])
    assert isinstance(bench.told[0], KillWorker)


def test_a_payload_in_the_arena_is_kept_until_no_worker_can_read_it() -> None:
    arena = Arena(1 << 20)
    bench = Bench(arena)
    link = bench.worker(0)
    slot = arena.allocate(50_000)
    assert slot is not None
    id = bench.call(body=slot, timeout_s=0.2)
    batch = bench.batch(link)
    bench.timers.run(0.3)
    assert len(bench.answers) == 1
    assert arena.used_bytes, "the worker may still be reading"
    bench.say(link, Reply(id, b"late"), Ran(batch.batch, 1.0, 1))
    assert arena.used_bytes == 0


@pytest.mark.parametrize("ending", ["cancel", "death", "reply", "failed"])
def test_every_way_to_end_gives_the_payload_back(ending: str) -> None:
    arena = Arena(1 << 20)
    bench = Bench(arena)
    slot = arena.allocate(50_000)
    assert slot is not None
    if ending == "failed":
        bench.call(body=slot)
        bench.engine.fleet.service_failed(ServiceFailed("Entry", "it keeps dying"))
        assert isinstance(bench.answers[0], Failure) and bench.answers[0].code == "UNAVAILABLE"
        assert arena.used_bytes == 0
        return
    link = bench.worker(0)
    id = bench.call(ONCE if ending == "death" else PLAIN, body=slot)
    batch = bench.batch(link)
    if ending == "cancel":
        bench.engine.send(Cancel(id))
        assert arena.used_bytes
        bench.say(link, Ran(batch.batch, 0.1, 1))
    elif ending == "death":
        bench.die(0)
    else:
        bench.say(link, Reply(id, b"1"), Ran(batch.batch, 0.1, 1))
    assert arena.used_bytes == 0


def test_a_stream_passes_windows_and_ends_once() -> None:
    bench = Bench()
    link = bench.worker(0)
    id = bench.call(STREAM)
    batch = bench.batch(link)
    bench.say(link, Data(id, b"a", 5))
    bench.engine.send(Window(id, 1))
    assert link.take(Window) == [Window(id, 1)]
    bench.say(link, End(id), Ran(batch.batch, 0.1, 1))
    assert bench.answers == [Data(id, b"a", 5), End(id)]


def test_a_stream_is_not_retried_after_its_first_byte() -> None:
    bench = Bench()
    link = bench.worker(0)
    bench.call(STREAM)
    bench.batch(link)
    bench.say(link, Data(1, b"a", 5))
    bench.die(0)
    answer = bench.answers[-1]
    assert isinstance(answer, Failure) and answer.code == "WORKER_LOST"


def open_inner(stream: int, parent: int, number: int = 0) -> Open:
    return Open(stream, number, 1, 2, 2, b"\x80", 5.0, "r", "root", service="Other", meta={"parent": str(parent)})


def test_a_call_through_depends_reaches_the_other_service_and_comes_back() -> None:
    bench = Bench()
    link, other = bench.worker(0), bench.worker(1, OTHER)
    id = bench.call()
    bench.batch(link)
    bench.say(link, open_inner(1, id))
    inner = bench.batch(other)
    bench.say(other, Reply(inner.members[0].stream, b"x", 2), Ran(inner.batch, 0.01, 1))
    assert link.take(Reply) == [Reply(1, b"x", 2)]
    assert list(bench.engine.calls) == [id]


def test_a_child_ends_with_its_parent() -> None:
    bench = Bench()
    link, other = bench.worker(0), bench.worker(1, OTHER)
    id = bench.call()
    bench.batch(link)
    bench.say(link, open_inner(1, id))
    (running,) = bench.batch(other).members
    bench.engine.send(Cancel(id))
    assert not bench.engine.calls
    assert other.take(Cancel) == [Cancel(running.stream)]


def joined_inner(stream: int, parents: list[int], number: int = 0) -> Open:
    meta = {"parents": ",".join(map(str, parents))}
    return Open(stream, number, 1, 2, 2, b"\x80", 50.0, "r", "root", service="Other", meta=meta)


def test_a_child_of_joined_calls_ends_with_the_last_of_them() -> None:
    bench = Bench()
    link, other = bench.worker(0), bench.worker(1, OTHER)
    first, second = bench.call(JOINED), bench.call(JOINED)
    bench.batch(link)
    bench.say(link, joined_inner(1, [first, second]))
    (running,) = bench.batch(other).members
    assert running.remaining_s == 10.0
    bench.engine.send(Cancel(first))
    assert other.take(Cancel) == []
    bench.engine.send(Cancel(second))
    assert other.take(Cancel) == [Cancel(running.stream)]
    assert not bench.engine.calls


def test_joined_calls_whose_run_called_what_is_not_idempotent_are_not_retried() -> None:
    bench = Bench()
    link, _other = bench.worker(0), bench.worker(1, OTHER)
    ids = [bench.call(JOINED), bench.call(JOINED)]
    bench.batch(link)
    bench.say(link, joined_inner(1, ids, number=1))
    bench.die(0)
    failures = [answer for answer in bench.answers if isinstance(answer, Failure)]
    assert [(failure.stream, failure.code) for failure in failures] == [(id, "MAYBE_EXECUTED") for id in ids]


def test_a_child_that_ended_with_its_parent_is_said_to_its_worker_and_forgotten() -> None:
    bench = Bench()
    link, _other = bench.worker(0), bench.worker(1, OTHER)
    id = bench.call()
    bench.batch(link)
    bench.say(link, open_inner(1, id))
    bench.engine.send(Cancel(id))
    (failed,) = link.take(Failure)
    assert isinstance(failed, Failure) and (failed.stream, failed.code) == (1, "CANCELLED")
    assert link.handle.outside == {}  # type: ignore[attr-defined]


def test_a_child_of_a_call_that_has_ended_is_not_run() -> None:
    bench = Bench()
    link, other = bench.worker(0), bench.worker(1, OTHER)
    id = bench.call()
    bench.batch(link)
    bench.engine.send(Cancel(id))
    bench.say(link, open_inner(1, id))
    assert other.take(Batch) == []
    (failed,) = link.take(Failure)
    assert isinstance(failed, Failure) and failed.code == "CANCELLED"


def test_only_calls_that_run_again_count_as_retried() -> None:
    bench = Bench()
    link = bench.worker(0)
    bench.call(ONCE)
    bench.batch(link)
    bench.die(0)
    assert b'tiffin_retries_total{service="Entry"} 0' in expose(bench.registry, "")[0]


def test_a_generation_retires_only_after_all_before_it() -> None:
    bench = Bench()
    old = bench.worker(0)
    id = bench.call()
    batch = bench.batch(old)
    bench.engine.fleet.activate(2, APPLICATION)
    bench.engine.fleet.activate(3, APPLICATION)
    assert not [told for told in bench.told if isinstance(told, Retired)]
    bench.say(old, Reply(id, b"1"), Ran(batch.batch, 0.1, 1))
    assert [told for told in bench.told if isinstance(told, Retired)] == [Retired(1), Retired(2)]


def test_a_call_that_called_what_is_not_idempotent_is_not_retried() -> None:
    bench = Bench()
    link, _other = bench.worker(0), bench.worker(1, OTHER)
    id = bench.call()
    bench.batch(link)
    bench.say(link, open_inner(1, id, number=1))
    bench.die(0)
    failures = [answer for answer in bench.answers if isinstance(answer, Failure)]
    assert [(failure.stream, failure.code) for failure in failures] == [(id, "MAYBE_EXECUTED")]


def test_an_unknown_service_is_said_to_the_worker() -> None:
    bench = Bench()
    link = bench.worker(0)
    bench.say(link, Open(1, 0, 1, 2, 2, b"", 5.0, "r", service="Nobody"))
    (failed,) = link.take(Failure)
    assert isinstance(failed, Failure) and "Nobody" in failed.message


def test_a_new_generation_takes_new_calls_and_the_old_one_retires() -> None:
    bench = Bench()
    old = bench.worker(0)
    before = bench.call()
    batch = bench.batch(old)
    new = bench.worker(5, generation=2)
    bench.engine.fleet.activate(2, APPLICATION)
    after = bench.call()
    assert [open.stream for open in bench.batch(new).members] == [after]
    assert not [told for told in bench.told if isinstance(told, Retired)]
    bench.say(old, Reply(before, b"1"), Ran(batch.batch, 0.1, 1))
    assert Retired(1) in bench.told
    assert WorkerReady(5, 1, 0.1) in bench.told


def test_a_frozen_worker_gets_no_work_and_is_killed_and_readiness_says_so() -> None:
    bench = Bench()
    link = bench.worker(0)
    bench.worker(1, OTHER)
    bench.say(link, Beat(0.0, 1e9))
    assert bench.engine.fleet.why_not_ready() == ""
    for _ in range(10):
        bench.timers.run(0.25)
        bench.engine.fleet.handles[1].beat(bench.timers.now, 1e9)
    assert "Entry" in bench.engine.fleet.why_not_ready()
    bench.call()
    bench.timers.run(1)
    assert link.take(Batch) == []
    bench.timers.run(3)
    killed = [told for told in bench.told if isinstance(told, KillWorker)]
    assert killed and killed[0].cause == "killed" and "frozen" in killed[0].detail


def test_a_full_queue_refuses_at_once() -> None:
    bench = Bench(config=Config(traffic=TrafficConfig(queue_calls=2)))
    for _ in range(3):
        bench.call()
    (answer,) = bench.answers
    assert isinstance(answer, Failure) and (answer.code, answer.status) == ("TOO_MANY", 429)


def test_before_the_spec_calls_are_told_to_come_back() -> None:
    bench = Bench()
    bench.engine.fleet.generation = None
    bench.call()
    (answer,) = bench.answers
    assert isinstance(answer, Failure) and (answer.code, answer.status, answer.retry_after_s) == ("STARTING", 503, 1.0)


def test_a_crowd_of_calls_in_one_round_does_not_keep_the_workers_waiting() -> None:
    bench = Bench()
    link = bench.worker(0)
    for _ in range(200):
        bench.call(JOINED)
    assert link.polls >= 200 // 33
    assert link.take(Batch), "work is handed out before the round ends"


def test_the_cause_of_an_ordered_end_stands_when_the_link_breaks() -> None:
    bench = Bench()
    link = bench.worker(0)
    bench.engine.fleet.kill(link.handle, "run_limit", "too long")  # type: ignore[attr-defined]
    bench.say(link, Beat(0.0, 1.0))
    link.handle.closed("reset")  # type: ignore[attr-defined]
    assert [told.cause for told in bench.told if isinstance(told, KillWorker)] == ["run_limit"]
    bench.call()
    bench.timers.run(0.1)
    assert link.take(Batch) == []


def test_a_batch_that_was_called_back_keeps_its_count_of_attempts() -> None:
    bench = Bench()
    link = bench.worker(0)
    bench.call()
    first = bench.batch(link)
    bench.say(link, Recalled(first.batch))
    again = bench.batch(link)
    assert [open.attempt for open in again.members] == [first.members[0].attempt]
