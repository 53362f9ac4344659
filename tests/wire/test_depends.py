"""Services that call each other through the engine, in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import httpx
import numpy as np
import pytest

import tiffin
from tiffin.server.inline import serve

Rows = Annotated[np.ndarray, tiffin.Shape(None, 2), tiffin.DType("float32")]


@tiffin.service
class Below:
    @tiffin.api(batchable=True)
    def double(self, rows: Rows) -> Rows:
        return rows * 2

    @tiffin.api(batchable=True, one_row=True)
    def each(self, rows: Rows) -> Rows:
        return rows * 2

    @tiffin.api
    def count(self, n: int) -> Iterator[int]:
        yield from range(n)

    @tiffin.api
    def refuse(self) -> int:
        raise tiffin.Error("not today", code="app.no", status=418, details={"day": "today"})

    @tiffin.api
    def who(self, context: tiffin.Context) -> str:
        return context.request_id

    @tiffin.api
    async def forever(self) -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("below")


@tiffin.service
class Above:
    below = tiffin.depends(Below)

    @tiffin.api
    def sync(self, rows: list[list[float]]) -> Any:
        return self.below.double(np.array(rows, np.float32))

    @tiffin.api
    async def gather(self, rows: list[list[float]]) -> list[Any]:
        below: Any = self.below
        parts = [below.to_async.each(np.array([row], np.float32)) for row in rows]
        return [part[0].tolist() for part in await asyncio.gather(*parts)]

    @tiffin.api
    def stream(self, n: int) -> Iterator[int]:
        for number in self.below.count(n):
            yield number * 10

    @tiffin.api
    async def async_stream(self, n: int) -> AsyncIterator[int]:
        below: Any = self.below
        async for number in below.to_async.count(n):
            yield number * 10

    @tiffin.api
    def refuse(self) -> int:
        return self.below.refuse()

    @tiffin.api
    def who(self) -> str:
        who: Any = self.below.who
        return str(who())

    @tiffin.api
    async def forever(self) -> None:
        try:
            await self.below.forever()
        finally:
            ended.append("above")


class _Flag:
    """Set by the service; unlike an event it belongs to no loop."""

    def __init__(self) -> None:
        self.up = False

    def set(self) -> None:
        self.up = True


waiting = _Flag()
ended: list[str] = []


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serve(Above) as server, httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


@pytest.mark.parametrize("method", ["sync", "gather"])
def test_values_go_down_and_come_back(client: httpx.Client, method: str) -> None:
    answer = client.post(f"/{method}", json={"rows": [[1, 2], [3, 4]]})
    assert answer.json() == [[2.0, 4.0], [6.0, 8.0]]


@pytest.mark.parametrize("method", ["stream", "async_stream"])
def test_streams_are_handed_on(client: httpx.Client, method: str) -> None:
    assert client.post(f"/{method}", json={"n": 3}).text == "data: 0\n\ndata: 10\n\ndata: 20\n\n"


def test_a_failure_below_that_nobody_catches_is_the_answer_above(client: httpx.Client) -> None:
    answer = client.post("/refuse", json={})
    assert answer.status_code == 418
    error = answer.json()["error"]
    assert (error["code"], error["message"], error["details"]) == ("app.no", "not today", {"day": "today"})


def test_the_request_id_reaches_every_descendant(client: httpx.Client) -> None:
    assert "my-own-id" in client.post("/who", json={}, headers={"x-request-id": "my-own-id"}).text


def test_the_deadline_reaches_every_descendant(client: httpx.Client) -> None:
    ended.clear()
    answer = client.post("/forever", json={}, headers={"tiffin-timeout-ms": "150"})
    assert answer.status_code == 504 and waiting.up
    client.post("/sync", json={"rows": [[1, 2]]})  # the loops have gone round
    while len(ended) < 2:
        client.get("/livez")
    assert sorted(ended) == ["above", "below"]
