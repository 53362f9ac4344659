"""Calls that methods make to other services: what goes out, what comes back, what ends them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec
import pytest

from tests.unit.worker.bench import WAIT_S, Bench, spec_of
from tiffin.errors import Error
from tiffin.messages.link import Cancel, Data, End, Failure, Media, Open, Ran, Reply, Window
from tiffin.worker import async_calls, calls
from tiffin.worker.calls import Request

Make = Callable[..., Bench]


def request(idempotent: bool = True, body: bytes = b"body") -> Request:
    return Request("Other", 3, "method", 2, Media.MSGPACK, body, idempotent, lambda media, data: (media, data.decode()))


class Inner:
    """Methods that call another service."""

    def __init__(self) -> None:
        self.bench: Bench | None = None
        self.requests = [request()]
        self.caught: list[BaseException] = []
        self.took: list[Any] = []

    def session(self) -> Any:
        assert self.bench is not None
        return self.bench.worker.session()

    def sync(self, x: Any) -> Any:
        try:
            return calls.call(self.session(), self.requests)
        except BaseException as error:
            self.caught.append(error)
            raise

    def joined(self, x: list[Any]) -> list[Any]:
        return [self.sync(x)[0] for _ in x]

    def generator(self, x: int) -> Iterator[Any]:
        for number, item in enumerate(calls.call_stream(self.session, request())):
            yield item
            if number + 1 == x:
                return

    async def plain(self, x: Any) -> Any:
        try:
            return await async_calls.call(self.session(), self.requests)
        except BaseException as error:
            self.caught.append(error)
            raise

    async def async_generator(self, x: int) -> AsyncIterator[Any]:
        items = async_calls.call_stream(self.session, request())
        number = 0
        try:
            async for item in items:
                yield item
                number += 1
                if number == x:
                    return
        finally:
            await items.aclose()  # type: ignore[attr-defined]


SYNC, ASYNC, JOINED, GENERATOR, ASYNC_GENERATOR = range(5)
CALLING = pytest.mark.parametrize("method", [SYNC, ASYNC])
ITERATING = pytest.mark.parametrize("method", [GENERATOR, ASYNC_GENERATOR])


@pytest.fixture
def inner(bench: Make) -> Inner:
    inner = Inner()
    inner.bench = bench(
        (spec_of("sync"), inner.sync),
        (spec_of("plain", kind="async"), inner.plain),
        (spec_of("joined", batchable=True), inner.joined),
        (spec_of("generator", kind="generator"), inner.generator),
        (spec_of("async_generator", kind="async_generator"), inner.async_generator),
    )
    return inner


def outer(inner: Inner, method: int, body: Any = None, **more: Any) -> tuple[Bench, Open, Open]:
    """Start a call; return it and the call that it makes."""
    b = inner.bench
    assert b is not None
    call = b.open({"x": 1} if body is None else body, method, **more)
    b.give(call)
    return b, call, b.expect(Open)


@CALLING
def test_a_call_carries_time_root_meta_and_its_parent(inner: Inner, method: int) -> None:
    meta = {"traceparent": "00-1", "tenant": "t"}
    b, call, out = outer(inner, method, remaining_s=5.0, request_id="child", root="root", meta=meta)
    assert (out.service, out.method, out.rows, out.media, out.body) == ("Other", 3, 2, Media.MSGPACK, b"body")
    assert out.accept == Media.MSGPACK and out.stream % 2 == 1 and out.idempotent
    assert 0 < out.remaining_s <= 5.0
    assert (out.request_id, out.root) == ("child", "root")
    assert out.meta == {**meta, "parent": str(call.stream)}
    b.send(Reply(out.stream, b"answer", Media.TEXT))
    assert b.expect(Reply).body == msgspec.json.encode([(Media.TEXT, "answer")])
    b.expect(Ran)


def test_calls_of_calls_have_rising_odd_streams_and_the_first_as_root(inner: Inner) -> None:
    b, _, first = outer(inner, SYNC, request_id="first")
    b.send(Reply(first.stream, b""))
    b.expect(Reply)
    b.expect(Ran)
    _, _, second = outer(inner, SYNC, request_id="second")
    assert second.stream > first.stream and second.root == "second"
    b.send(Reply(second.stream, b""))


@CALLING
def test_a_failure_is_raised_with_code_status_and_details(inner: Inner, method: int) -> None:
    b, call, out = outer(inner, method)
    b.send(Failure(out.stream, "app.cats", "no cats", 422, True, 2.0, b'{"n":3}'))
    assert b.expect(Failure) == Failure(call.stream, "app.cats", "no cats", 422, True, 2.0, b'{"n":3}')
    b.expect(Ran)
    (error,) = inner.caught
    assert isinstance(error, Error) and error.details == {"n": 3}


@CALLING
def test_the_clients_leaving_ends_the_waiting(inner: Inner, method: int) -> None:
    b, call, out = outer(inner, method)
    b.send(Cancel(call.stream))
    seen: list[Any] = []
    while not seen or not isinstance(seen[-1], Ran):
        seen.append(b.any())
    (error,) = inner.caught
    if method == SYNC:
        assert isinstance(error, Error) and error.code == "CANCELLED"
    else:
        assert isinstance(error, asyncio.CancelledError)
        assert not any(isinstance(message, Reply | Failure) for message in seen)
        assert Cancel(out.stream) in seen  # (of a sync caller's calls the engine knows by itself)
    session = inner.session()
    assert not session.answers and not session.stop_inner


@CALLING
def test_the_loss_of_the_link_ends_the_waiting(inner: Inner, method: int) -> None:
    b, _, _ = outer(inner, method)
    b.end.close()
    b.thread.join(WAIT_S)
    (error,) = inner.caught
    assert isinstance(error, Error | asyncio.CancelledError)
    assert not isinstance(error, Error) or error.code in ("UNAVAILABLE", "CANCELLED")


@CALLING
def test_without_time_nothing_is_sent(inner: Inner, method: int) -> None:
    b = inner.bench
    assert b is not None
    b.give(b.open({"x": 1}, method, remaining_s=-1.0))
    assert b.expect(Failure).code == "DEADLINE"
    b.expect(Ran)


@CALLING
def test_of_several_requests_the_first_failure_cancels_the_others(inner: Inner, method: int) -> None:
    inner.requests = [request(), request(), request()]
    b, _, first = outer(inner, method)
    second, third = b.expect(Open), b.expect(Open)
    b.send(Reply(second.stream, b"two"))
    b.send(Failure(first.stream, "METHOD_FAILED", "no", 500))
    seen = [b.any(), b.any(), b.any()]
    assert Cancel(third.stream) in seen
    assert sum(isinstance(message, Failure) for message in seen) == 1


@CALLING
def test_a_call_of_a_method_that_must_not_run_twice_is_said_to_be_so(inner: Inner, method: int) -> None:
    inner.requests = [request(idempotent=False)]
    b, _, out = outer(inner, method)
    assert not out.idempotent
    b.send(Reply(out.stream, b""))
    b.expect(Reply)
    b.expect(Ran)
    inner.requests = [request()]
    _, _, out = outer(inner, method, idempotent=False)  # nor one below a call that must not
    assert not out.idempotent
    b.send(Reply(out.stream, b""))


def test_joined_calls_share_their_own_call_and_are_not_bisected_after_it(inner: Inner) -> None:
    inner.requests = [request(idempotent=False)]
    b = inner.bench
    assert b is not None
    members = [b.open({"x": [1]}, JOINED, remaining_s=2.0), b.open({"x": [2]}, JOINED, remaining_s=9.0)]
    b.give(*members)
    out = b.expect(Open)
    assert "parent" not in out.meta
    assert out.meta["parents"] == ",".join(str(member.stream) for member in members)
    assert 2.0 < out.remaining_s <= 9.0
    b.send(Failure(out.stream, "METHOD_FAILED", "no", 500))
    assert b.expect(Failure).code == b.expect(Failure).code == "METHOD_FAILED"
    assert b.expect(Ran).split_s == 0


@ITERATING
def test_items_come_as_they_are_sent_and_each_widens_the_window(inner: Inner, method: int) -> None:
    b, call, out = outer(inner, method, {"x": 99})
    b.send(Data(out.stream, b"one"), Data(out.stream, b""))
    seen = [b.any(), b.any()]
    data = next(message for message in seen if isinstance(message, Data))
    assert (data.stream, data.data) == (call.stream, msgspec.json.encode((Media.MSGPACK, "one")) + b"\n")
    assert Window(out.stream, 3) in seen
    b.send(End(out.stream))
    b.expect(End)
    b.expect(Ran)
    assert not inner.session().answers


@ITERATING
def test_a_caller_that_stops_early_cancels_the_stream(inner: Inner, method: int) -> None:
    b, _, out = outer(inner, method, {"x": 1})
    b.send(Data(out.stream, b"one"))
    seen: list[Any] = []
    while not seen or not isinstance(seen[-1], Ran):
        seen.append(b.any())
    assert Cancel(out.stream) in seen
    assert not inner.session().answers


@ITERATING
def test_a_streams_failure_is_raised_in_its_middle(inner: Inner, method: int) -> None:
    b, _, out = outer(inner, method, {"x": 9})
    b.send(Data(out.stream, b"one"), Failure(out.stream, "app.x", "broken", 500))
    seen = [b.any() for _ in range(3)]
    assert [message.message for message in seen if isinstance(message, Failure)] == ["broken"]


def test_a_call_from_a_thread_of_the_users_own_has_no_parent(inner: Inner) -> None:
    b = inner.bench
    assert b is not None
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(calls.call(inner.session(), [request()])))
    thread.start()
    out = b.expect(Open)
    assert out.meta == {} and out.root == "" and out.remaining_s == 60.0
    b.send(Reply(out.stream, b"fine", Media.TEXT))
    thread.join(WAIT_S)
    assert results == [[(Media.TEXT, "fine")]]


def test_without_a_link_the_call_fails_at_once() -> None:
    with pytest.raises(Error, match="no link to the engine") as caught:
        calls.call(None, [request()])
    assert caught.value.code == "UNAVAILABLE" and caught.value.retryable
