"""The awaited client, on a made-up server: what differs from the waiting one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

import tiffin
from tests.unit.client.shop import METHODS, SHOP, failed, ok
from tiffin.errors import Error

Run = Callable[[tiffin.AsyncHTTPClient], Awaitable[Any]]


class Hangs(httpx.AsyncByteStream):
    """Sends its pieces, and then nothing for ever."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces, self.closed = pieces, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        self.closed = True


def with_client(
    run: Run, *answers: httpx.Response, known: Any = SHOP, **options: Any
) -> tuple[Any, list[httpx.Request]]:
    """Run with a client whose server gives these answers; return the result and what was sent."""
    left = list(answers)
    requests: list[httpx.Request] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        await request.aread()
        requests.append(request)
        await asyncio.sleep(0)
        return left.pop(0)

    async def main() -> Any:
        transport = httpx.MockTransport(answer)
        async with tiffin.AsyncHTTPClient("http://shop", schema=known, transport=transport, **options) as client:
            client._sleep = lambda _seconds: asyncio.sleep(0)
            return await run(client)

    return asyncio.run(main()), requests


def test_an_answer_that_never_comes_whole_ends_with_the_timeout():
    hangs = Hangs(b"[")

    async def run(client: tiffin.AsyncHTTPClient) -> None:
        with pytest.raises(Error) as caught:
            await client.pay(x=1)
        assert caught.value.code == "DEADLINE"

    with_client(run, httpx.Response(200, stream=hangs), timeout=0.05)
    assert hangs.closed


def test_a_stream_that_falls_silent_ends_with_the_timeout_after_its_items():
    hangs = Hangs(b"data: a\n\n", b"data: b\n\n")

    async def run(client: tiffin.AsyncHTTPClient) -> list[str]:
        found: list[str] = []
        with pytest.raises(Error) as caught:
            async for item in client.tokens(n=1):
                found.append(item)  # noqa: PERF401  what came before the error counts
        assert caught.value.code == "DEADLINE"
        return found

    answer = httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=hangs)
    assert with_client(run, answer, timeout=0.05)[0] == ["a", "b"]
    assert hangs.closed


def test_calls_that_begin_together_fetch_the_schema_once():
    text = msgspec.json.encode({"format": 1, "service": "Shop", "methods": list(METHODS)})

    async def run(client: tiffin.AsyncHTTPClient) -> list[int]:
        return await asyncio.gather(*(client.pay(x=number) for number in range(3)))

    found, requests = with_client(run, httpx.Response(200, content=text), ok(0), ok(1), ok(2), known=None)
    assert found == [0, 1, 2]
    assert [request.url.path for request in requests] == ["/schema.json", "/pay", "/pay", "/pay"]


def test_a_large_body_is_sent_again_from_the_start():
    images = np.ones((100_000, 2), "float32")

    async def run(client: tiffin.AsyncHTTPClient) -> Any:
        return await client.predict(images)

    _found, (first, second) = with_client(run, failed(503, "OVERLOADED", retryable=True), ok([]))
    assert first.content == second.content
    assert int(first.headers["content-length"]) == len(first.content) > images.nbytes


def test_the_last_error_says_how_often_it_was_sent():
    async def run(client: tiffin.AsyncHTTPClient) -> Error:
        with pytest.raises(Error) as caught:
            await client.pay(x=1)
        return caught.value

    error, requests = with_client(run, *(failed(503, "OVERLOADED", retryable=True) for _ in range(3)))
    assert (error.__notes__, len(requests)) == (["sent 3 times"], 3)


def test_a_wrong_name_is_said_at_once_where_the_schema_is_known_else_when_awaited():
    async def known(client: tiffin.AsyncHTTPClient) -> None:
        with pytest.raises(AttributeError, match="did you mean 'pay'"):
            client.pai(x=1)

    async def unknown(client: tiffin.AsyncHTTPClient) -> None:
        call = client.pai(x=1)
        with pytest.raises(AttributeError, match="did you mean 'pay'"):
            await call

    with_client(known)
    text = msgspec.json.encode({"format": 1, "service": "Shop", "methods": list(METHODS)})
    with_client(unknown, httpx.Response(200, content=text), known=None)


def test_a_cancelled_call_is_cancelled():
    hangs = Hangs()

    async def run(client: tiffin.AsyncHTTPClient) -> None:
        task = asyncio.ensure_future(client._call("pay", (), {"x": 1}))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with_client(run, httpx.Response(200, stream=hangs))
    assert hangs.closed
