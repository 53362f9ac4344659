"""A worker's life: hooks, the loss of a link, the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.unit.worker.bench import WAIT_S, Bench, spec_of
from tiffin.link.ends import LinkClosed
from tiffin.link.frames import BadFrame
from tiffin.messages.link import Batch, Beat, Data, Failure, LinkMessage, Open, Ran, Ready, Reply, Welcome
from tiffin.worker.hosted import Hosted
from tiffin.worker.loop import Worker

Make = Callable[..., Bench]
ECHO = spec_of("echo")


def echo(x: Any) -> Any:
    return x


def test_hooks_run_before_ready_and_after_the_last_batch() -> None:
    order: list[str] = []
    where: list[threading.Thread] = []

    async def connect() -> None:
        where.append(threading.current_thread())
        order.append("async startup")

    async def leave() -> None:
        order.append("async shutdown")

    b = Bench((ECHO, lambda x: order.append("call")))
    b.hooks = {
        "startup": [lambda: order.append("startup"), connect],
        "shutdown": [lambda: order.append("shutdown"), leave],
    }
    b.start()
    assert order == ["startup", "async startup"]
    b.give(b.open({"x": 1}))
    b.expect(Reply)
    b.stop()
    assert order[2:] == ["call", "shutdown", "async shutdown"]
    assert where[0] is not b.thread


def test_an_exception_in_load_ends_the_worker_and_is_the_callers() -> None:
    b = Bench((ECHO, echo))

    def fail() -> None:
        raise LookupError("no weights")

    b.hooks = {"startup": [fail], "shutdown": []}
    b.launch()
    b.thread.join(WAIT_S)
    assert isinstance(b.error, LookupError)


def test_a_lost_link_is_made_anew_and_the_model_stays(bench: Make) -> None:
    b = bench((ECHO, echo), reconnect=True)
    first = b.end
    b.end.close()
    b.end = b.ends.get(timeout=WAIT_S)
    assert b.end is not first
    b.expect(Ready)
    b.give(b.open({"x": 1}))
    assert b.expect(Reply).body == b"1"


def test_what_an_old_link_asked_for_is_not_answered_on_the_new_one(bench: Make) -> None:
    entered, leave = threading.Event(), threading.Event()
    seen: list[int] = []

    def gate(x: int) -> int:
        seen.append(x)
        entered.set()
        assert leave.wait(WAIT_S)
        return x

    closed = threading.Event()

    def endless(x: int) -> Iterator[int]:
        try:
            while True:
                yield x
        finally:
            closed.set()

    b = bench((spec_of("gate"), gate), (spec_of("endless", kind="generator"), endless), reconnect=True, window=4)
    b.give(b.open({"x": 1}, 1))
    b.expect(Data)
    b.expect(Data)
    b.give(b.open({"x": 1}))
    assert entered.wait(WAIT_S)
    b.give(b.open({"x": 2}))
    b.end.close()
    b.end = b.ends.get(timeout=WAIT_S)
    b.expect(Ready)
    assert closed.wait(WAIT_S)
    leave.set()
    call = Open(2, 0, 1, 0, -1, b'{"x":3}', 10.0, "r")  # the same number as the old link's
    b.give(call)
    assert b.expect(Reply) == Reply(2, b"3")
    b.expect(Ran)
    assert seen == [1, 3]


def test_without_reconnection_the_end_of_the_link_is_the_end(bench: Make) -> None:
    b = bench((ECHO, echo))
    b.end.close()
    b.thread.join(WAIT_S)
    assert not b.thread.is_alive() and b.error is None


def test_a_message_that_is_not_for_a_worker_breaks_the_link(bench: Make) -> None:
    b = bench((ECHO, echo), reconnect=True)
    for nonsense in (Welcome(1, 0, 0, 1.0), b.batch(b.open({"x": 1}, 7))):
        end = b.end
        b.send(nonsense)
        b.end = b.ends.get(timeout=WAIT_S)
        assert end.closed
        b.expect(Ready)


def test_an_answer_that_is_too_large_for_a_frame_fails_alone(bench: Make) -> None:
    b = bench((ECHO, echo))
    send = b.end.send

    def picky(messages: Sequence[LinkMessage]) -> None:
        if any(isinstance(message, Reply) and len(message.body) > 100 for message in messages):
            raise BadFrame("larger than a frame")
        send(messages)

    b.end.send = picky  # type: ignore[method-assign]
    large, small = b.open({"x": "x" * 200}), b.open({"x": "x"})
    b.give(large, small)
    failed = b.expect(Failure)
    assert (failed.stream, failed.code) == (large.stream, "BAD_OUTPUT")
    assert b.expect(Reply).stream == small.stream
    b.expect(Ran)


def test_what_still_runs_is_over_before_the_shutdown_hooks() -> None:
    order: list[str] = []
    entered = threading.Event()

    async def wait(x: int) -> int:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            order.append("call")
        return x

    b = Bench((spec_of("wait", kind="async"), wait))
    b.hooks = {"startup": [], "shutdown": [lambda: order.append("shutdown")]}
    b.start()
    b.give(b.open({"x": 1}))
    assert entered.wait(WAIT_S)
    b.stop()
    assert order == ["call", "shutdown"]


def test_a_stop_during_loading_is_not_forgotten() -> None:
    loading, loaded = threading.Event(), threading.Event()

    def load() -> None:
        loading.set()
        assert loaded.wait(WAIT_S)

    b = Bench((ECHO, echo))
    b.hooks = {"startup": [load], "shutdown": []}
    b.launch()
    assert loading.wait(WAIT_S)
    b.worker.stop()
    loaded.set()
    b.thread.join(WAIT_S)
    assert not b.thread.is_alive() and b.error is None


def test_the_sign_of_life_says_backlog_and_cpu(bench: Make) -> None:
    b = bench((ECHO, echo))
    b.worker._heart.beat()
    beat = b.expect(Beat)
    assert beat.backlog_s == 0.0 and beat.cpu_s > 0
    session, compute = b.worker.session(), b.worker._compute
    assert session is not None and compute is not None
    session.waiting[1000] = b.batch(b.open({"x": 1}))
    compute.recent_s = 0.25
    b.worker._heart.beat()
    assert b.expect(Beat).backlog_s == 0.25


def test_a_worker_waits_for_an_engine_that_is_not_there_yet() -> None:
    b = Bench((ECHO, echo))
    refusals = [LinkClosed("not yet"), LinkClosed("not yet")]
    connect = b._connect

    def later() -> Any:
        if refusals:
            raise refusals.pop()
        return connect()

    b._connect = later  # type: ignore[method-assign]
    b.start(reconnect=True)
    assert not refusals
    b.stop()


def test_a_worker_without_any_engine_ends() -> None:
    b = Bench((ECHO, echo))

    def never() -> Any:
        raise LinkClosed("nobody")

    worker = Worker(never, reconnect=False)
    worker.run(lambda: Hosted(b.spec, b.methods))  # returns, does not hang


def test_a_fault_in_taking_a_message_costs_the_link_not_the_reader(
    bench: Make, caplog: pytest.LogCaptureFixture
) -> None:
    b = bench((ECHO, echo), reconnect=True)
    b.send(b.batch(b.open({"x": 1})), None)  # type: ignore[arg-type]
    b.send(Batch("no number", "no number", []))  # type: ignore[arg-type]
    b.end = b.ends.get(timeout=WAIT_S)
    b.got = []
    b.expect(Ready)
    b.give(b.open({"x": 1}))
    assert b.expect(Reply).body == b"1"


def test_a_fault_in_an_extra_compute_thread_ends_the_worker(bench: Make) -> None:
    together = threading.Barrier(2)
    b = bench((ECHO, lambda x: together.wait(WAIT_S)), threads=2)
    send = b.end.send

    def broken(messages: Sequence[LinkMessage]) -> None:
        if threading.current_thread().name.startswith("tiffin-compute"):
            raise AssertionError("a fault of ours")
        send(messages)

    b.end.send = broken  # type: ignore[method-assign]
    for _ in range(2):
        b.give(b.open({"x": 1}))
    b.thread.join(WAIT_S)
    assert isinstance(b.error, AssertionError)
