"""Async calls and streams: concurrency, windows, cancels."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.unit.worker.bench import WAIT_S, Bench, spec_of
from tiffin.errors import Error
from tiffin.messages.link import Cancel, Data, End, Failure, Media, Ran, Reply, Window

Make = Callable[..., Bench]
ASYNC = spec_of("plain", kind="async")
GENERATOR = spec_of("numbers", kind="generator")
ASYNC_GENERATOR = spec_of("numbers", kind="async_generator")


def numbers(x: int) -> Iterator[int]:
    yield from range(x)


async def async_numbers(x: int) -> AsyncIterator[int]:
    for number in range(x):
        yield number


BOTH = pytest.mark.parametrize(("spec", "function"), [(GENERATOR, numbers), (ASYNC_GENERATOR, async_numbers)])


def test_async_calls_run_at_once_and_answer_as_they_end(bench: Make) -> None:
    arrived: list[int] = []
    all_here = asyncio.Event()

    async def meet(x: int) -> int:
        arrived.append(x)
        if len(arrived) == 3:
            all_here.set()
        await all_here.wait()
        return x

    b = bench((ASYNC, meet))
    calls = [b.open({"x": value}) for value in range(3)]
    b.send(*(b.batch(call) for call in calls))
    answers = [b.any() for _ in range(6)]
    assert {answer.stream: answer.body for answer in answers if isinstance(answer, Reply)} == {
        call.stream: b"%d" % value for value, call in enumerate(calls)
    }
    assert sum(isinstance(answer, Ran) for answer in answers) == 3


def test_failures_of_an_async_method(bench: Make) -> None:
    async def fail(x: str) -> Any:
        if x == "own":
            raise Error("own", code="app.own", status=418)
        if x == "cancelled":
            raise asyncio.CancelledError
        if x == "output":
            return object()
        raise KeyError(x)

    b = bench((ASYNC, fail))
    for x, code in (
        ("own", "app.own"),
        ("other", "METHOD_FAILED"),
        ("cancelled", "METHOD_FAILED"),
        ("output", "BAD_OUTPUT"),
    ):
        b.give(b.open({"x": x}))
        assert b.expect(Failure).code == code
        b.expect(Ran)
    b.give(b.open(b"nonsense"))
    assert b.expect(Failure).code == "INVALID_INPUT"
    b.expect(Ran)


def test_an_async_call_whose_client_leaves_is_cancelled_and_frees_its_slot(bench: Make) -> None:
    entered, ended = threading.Event(), threading.Event()

    async def wait(x: int) -> int:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return x

    b = bench((ASYNC, wait))
    call = b.open({"x": 1})
    batch = b.give(call)
    assert entered.wait(WAIT_S)
    b.send(Cancel(call.stream))
    assert b.expect(Ran).batch == batch.batch
    assert ended.is_set()


def test_a_cancel_in_the_same_frame_as_its_call_is_heard(bench: Make) -> None:
    async def wait(x: int) -> int:
        await asyncio.Event().wait()
        return x

    b = bench((ASYNC, wait))
    batch = b.batch(b.open({"x": 1}))
    b.send(batch, Cancel(batch.members[0].stream))
    assert b.expect(Ran).batch == batch.batch
    session = b.worker.session()
    assert session is not None and not session.cancelled and not session.stop


def test_a_batchable_async_method_runs_on_the_loop_but_in_the_compute_lane(bench: Make) -> None:
    threads: list[str] = []

    async def joined(x: list[int]) -> list[int]:
        await asyncio.sleep(0)
        threads.append(threading.current_thread().name)
        return [value + 1 for value in x]

    b = bench((spec_of("joined", kind="async", batchable=True), joined))
    b.give(b.open({"x": [1]}), b.open({"x": [2]}))
    assert [b.expect(Reply).body, b.expect(Reply).body] == [b"[2]", b"[3]"]
    assert threads == ["tiffin-loop"]


@BOTH
def test_items_are_sent_as_they_come(bench: Make, spec: Any, function: Any) -> None:
    b = bench((spec, function))
    call = b.open({"x": 3}, accept=Media.NDJSON)
    b.give(call)
    assert b.expect(Data) == Data(call.stream, b"0\n", Media.NDJSON)
    assert b.expect(Data) == Data(call.stream, b"1\n")
    assert b.expect(Data) == Data(call.stream, b"2\n")
    assert b.expect(End).stream == call.stream
    assert b.expect(Ran).rows == 1


@BOTH
def test_a_stream_without_items_still_has_a_media_type(bench: Make, spec: Any, function: Any) -> None:
    b = bench((spec, function))
    call = b.open({"x": 0})
    b.give(call)
    assert b.expect(Data) == Data(call.stream, b"", Media.SSE)
    b.expect(End)


@BOTH
def test_a_reader_that_does_not_read_holds_its_own_stream_only(bench: Make, spec: Any, function: Any) -> None:
    b = bench((spec, function), window=8, streams=2)
    slow, quick = b.open({"x": 10}), b.open({"x": 3})
    b.give(slow)
    for _ in range(4):  # two bytes each: the window is full
        assert b.expect(Data).stream == slow.stream
    b.give(quick)
    for kind in (Data, Data, Data, End):
        message: Any = b.expect(kind)
        assert message.stream == quick.stream
    b.expect(Ran)
    b.send(Window(slow.stream, 4), Window(12345, 4))
    assert [b.expect(Data).data for _ in range(2)] == [b"4\n", b"5\n"]
    b.send(Window(slow.stream, 100))
    assert [b.expect(Data).data for _ in range(4)] == [b"6\n", b"7\n", b"8\n", b"9\n"]
    assert b.expect(End).stream == slow.stream


@BOTH
def test_an_item_larger_than_the_window_goes_out_alone(bench: Make, spec: Any, function: Any) -> None:
    b = bench((spec, function), window=1)
    call = b.open({"x": 2})
    b.give(call)
    b.expect(Data)
    b.send(Window(call.stream, 1))
    b.send(Window(call.stream, 1))
    b.expect(Data)
    b.expect(End)


def test_generators_are_closed_when_their_client_leaves(bench: Make) -> None:
    closed: list[str] = []

    def endless(x: str) -> Iterator[str]:
        try:
            while True:
                yield x
        finally:
            closed.append(x)

    async def async_endless(x: str) -> AsyncIterator[str]:
        try:
            while True:
                yield x
        finally:
            closed.append(x)

    b = bench((GENERATOR, endless), (ASYNC_GENERATOR, async_endless), window=4)
    for method in (0, 1):
        call = b.open({"x": str(method)}, method)
        b.give(call)
        b.expect(Data)
        b.send(Cancel(call.stream))
        b.expect(Ran)
        assert closed == ["0", "1"][: method + 1]


def test_an_exception_in_the_middle_of_a_stream_ends_it_with_a_failure(bench: Make) -> None:
    def breaks(x: int) -> Iterator[int]:
        yield x
        raise ValueError("halfway")

    async def async_breaks(x: int) -> AsyncIterator[int]:
        yield x
        raise ValueError("halfway")

    b = bench((GENERATOR, breaks), (ASYNC_GENERATOR, async_breaks))
    for method in (0, 1):
        b.give(b.open({"x": 1}, method))
        b.expect(Data)
        assert "ValueError: halfway" in b.expect(Failure).message
        b.expect(Ran)


def test_a_blocked_event_loop_shows_in_the_sign_of_life(bench: Make) -> None:
    entered, leave = threading.Event(), threading.Event()

    async def block(x: int) -> int:
        entered.set()
        leave.wait(WAIT_S)
        return x

    b = bench((ASYNC, block))
    b.give(b.open({"x": 1}))
    assert entered.wait(WAIT_S)
    lane = b.worker._async
    assert lane is not None
    lane.lag_s()
    assert lane.lag_s() > 0
    leave.set()
    b.expect(Reply)


def test_who_blocks_the_event_loop_is_named_once(bench: Make, caplog: pytest.LogCaptureFixture) -> None:
    entered, leave = threading.Event(), threading.Event()

    async def blocks_here(x: int) -> int:
        entered.set()
        leave.wait(WAIT_S)
        return x

    b = bench((ASYNC, blocks_here))
    b.give(b.open({"x": 1}))
    assert entered.wait(WAIT_S)
    lane = b.worker._async
    assert lane is not None
    lane.lag_s()
    lane._asked -= 5.0
    assert lane.lag_s() > 5.0
    lane.lag_s()
    leave.set()
    b.expect(Reply)
    (record,) = caplog.records
    assert "blocked the event loop for 5.0 s" in record.getMessage() and "leave.wait" in record.getMessage()
