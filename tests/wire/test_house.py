"""The whole house in one process: HTTP bytes → edge → port → engine → in-process link → worker, and back.

Every test runs twice: with the port in process, and over a socketpair.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Annotated, Any, Self, cast

import numpy as np
import pydantic
import pytest

import tiffin
from tests.wire.support import post
from tiffin.config.parts import Config, HttpConfig
from tiffin.engine.engine import Engine
from tiffin.link.inline import connect_inline
from tiffin.link.port_ends import EdgeEnd, EngineEnd
from tiffin.messages.link import PROTOCOL, Hello
from tiffin.messages.port import EnginePort
from tiffin.observe.metrics import Registry
from tiffin.service.application import application_of
from tiffin.web.app import App
from tiffin.web.listener import Listener
from tiffin.web.protocol import Connection
from tiffin.web.respond import Responder
from tiffin.web.system import SystemPages
from tiffin.worker.load import host
from tiffin.worker.loop import Worker

Rows = Annotated[np.ndarray, tiffin.Shape(None, 2), tiffin.DType("float32")]


class Person(pydantic.BaseModel):
    name: str = pydantic.Field(min_length=1)
    age: int = pydantic.Field(ge=0)


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


KEPT: list[Any] = []  # inputs that a method kept


@tiffin.service
class House:
    def __init__(self) -> None:
        self.kept = KEPT

    @tiffin.api
    def double(self, x: float) -> float:
        return x * 2

    @tiffin.api
    def greet(self, person: Person) -> str:
        return f"{person.name} is {person.age}"

    @tiffin.api
    def move(self, point: Point, by: Point | None = None) -> Point:
        step = by or Point(1.0)
        return Point(point.x + step.x, point.y + step.y)

    @tiffin.api(batchable=True, max_batch_size=8)
    def total(self, x: Rows) -> np.ndarray:
        assert len(x) <= 8
        sums: np.ndarray = x.sum(axis=1)
        return sums

    @tiffin.api(batchable=True, one_row=True)
    def shout(self, words: list[str]) -> list[str]:
        return [tiffin.Failed("app.rude", f"{word} is rude") if word == "damn" else word.upper() for word in words]  # type: ignore[misc]

    @tiffin.api(batchable=True)
    def picky(self, x: Rows) -> np.ndarray:
        self.kept.append(x)
        x += 1  # what a method does to its input harms no later run
        if (x < 0).any():
            raise ValueError("negative")
        return x[:, 0]

    @tiffin.api(batchable=True)
    def short(self, x: Rows) -> np.ndarray:
        return x[1:]

    @tiffin.api
    def words(self, n: int) -> Iterator[str]:
        for number in range(n):
            yield f"word {number}"

    @tiffin.api
    async def numbers(self, n: int) -> AsyncIterator[int]:
        for number in range(n):
            await asyncio.sleep(0)
            yield number

    @tiffin.api
    def broken_stream(self) -> Iterator[int]:
        yield 1
        raise tiffin.Error("no more", code="app.empty", status=418)

    @tiffin.api
    def raw(self, body: bytes, /) -> bytes:
        return body[::-1]

    @tiffin.api
    def fail(self) -> None:
        raise tiffin.Error("teapot", code="app.teapot", status=418, details={"pot": "tea"})

    @tiffin.api
    def crash(self) -> None:
        raise KeyError("secret")

    @tiffin.api
    def who(self, ctx: tiffin.Context) -> str:
        return ctx.request_id

    @tiffin.api
    async def sleep(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds


async def until(true: Callable[[], bool]) -> None:
    """Wait until something is true; it must be within five seconds."""
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.005)
    raise TimeoutError


class Client(asyncio.Protocol):
    """One connection to the edge over a socketpair; understands whole and chunked answers."""

    def __init__(self) -> None:
        self.got = b""
        self.closed = False
        self._news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.got += data
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._news.set()

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        self.transport.write(request)
        while True:
            answer = self._answer()
            if answer is not None:
                return answer
            assert not self.closed, self.got
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), 10)

    def _answer(self) -> tuple[int, dict[str, str], bytes] | None:
        head, found, rest = self.got.partition(b"\r\n\r\n")
        if not found:
            return None
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        if "content-length" in headers:
            size = int(headers["content-length"])
            if len(rest) < size:
                return None
            body, self.got = rest[:size], rest[size:]
        else:
            body = b""
            while True:
                size_text, found, rest = rest.partition(b"\r\n")
                if not found or len(rest) < (size := int(size_text, 16)) + 2:
                    return None
                body += rest[:size]
                rest = rest[size + 2 :]
                if not size:
                    break
            self.got = rest
        return int(first.split()[1]), headers, body


class Bench:
    """Edge, port, engine, link and worker of `House`, on the running loop."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.registry = Registry()
        self.ends: list[EdgeEnd | EngineEnd] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        config = Config(http=HttpConfig())
        self.engine = Engine(loop, time.monotonic, config, None, self.registry, lambda _message: None)
        responder = Responder()
        port: EnginePort = self.engine
        if self.kind == "in process":
            self.engine.connect(responder)
        else:
            left, right = socket.socketpair()
            edge_end, engine_end = EdgeEnd(responder), EngineEnd(self.engine)
            await loop.create_connection(lambda: edge_end, sock=left)
            await loop.create_connection(lambda: engine_end, sock=right)
            self.engine.connect(engine_end)
            port = edge_end
            self.ends = [edge_end, engine_end]
        responder.connect(port)
        application = application_of(House)
        self.engine.fleet.activate(1, application)
        pages = SystemPages(lambda: {"ready": True}, lambda _accept: (b"", ""), docs=False, prefix="", version="1")
        app = App(config, port, responder, pages, time.monotonic, lambda _method, _code: None)
        app.publish(application)
        self.listener = Listener(config.http, config.link, app, None, time.monotonic)
        spec = application.entry
        hello = Hello(PROTOCOL, 0, 1, 0, spec.name, 1, spec.digest(), "cpu")

        async def connect() -> Any:
            return connect_inline(loop, self.engine.fleet.greet, hello)

        self.worker = Worker(lambda: asyncio.run_coroutine_threadsafe(connect(), loop).result(), reconnect=False)
        self.thread = threading.Thread(target=lambda: self.worker.run(lambda: host(House, self.worker.session)))
        self.thread.start()
        await until(lambda: not self.engine.fleet.why_not_ready())
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.worker.stop()
        await until(lambda: not self.thread.is_alive())
        for handle in list(self.engine.fleet.handles.values()):
            handle.link.close("over")
        for connection in list(self.listener.connections):
            connection.abort()
        for end in self.ends:
            end.close()
        await asyncio.sleep(0.01)

    async def client(self) -> Client:
        left, right = socket.socketpair()
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: Connection(self.listener), sock=left)
        _transport, client = await loop.create_connection(Client, sock=right)
        return client

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        client = await self.client()
        answer = await client.ask(request)
        client.transport.close()
        return answer

    async def json(self, path: str, content: Any, extra: str = "") -> tuple[int, Any]:
        status, _headers, body = await self.ask(post(path, json.dumps(content).encode(), extra))
        return status, json.loads(body)

    async def together(self, calls: list[tuple[str, Any]]) -> list[tuple[int, Any]]:
        """Send calls so that they meet in the queue: behind one that holds the worker."""
        return list(await asyncio.gather(*(self.json(path, content) for path, content in calls)))


@pytest.fixture(params=["in process", "socketpair"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[Bench], Coroutine[Any, Any, None]]], None]:
    def run(test: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            KEPT.clear()
            async with Bench(request.param) as bench:
                await test(bench)

        asyncio.run(main())

    return run


Run = Callable[[Callable[[Bench], Coroutine[Any, Any, None]]], None]


def test_scalars_models_and_dataclasses(run: Run) -> None:
    async def check(bench: Bench) -> None:
        assert await bench.json("/double", {"x": 2}) == (200, 4.0)
        assert (await bench.ask(post("/greet", b'{"person": {"name": "Ada", "age": "36"}}')))[2] == b"Ada is 36"
        assert await bench.json("/move", {"point": {"x": 1}}) == (200, {"x": 2.0, "y": 0.0})
        assert await bench.json("/move", {"point": {"x": 1}, "by": {"x": 0, "y": 5}}) == (200, {"x": 1.0, "y": 5.0})

    run(check)


@pytest.mark.parametrize(
    ("path", "content", "where"),
    [
        ("/double", {"x": "two"}, "x"),
        ("/double", {}, ""),
        ("/greet", {"person": {"name": "", "age": 1}}, "person.name"),
        ("/greet", {"person": {"name": "Ada", "age": -1}}, "person.age"),
        ("/move", {"point": {"x": 1}, "by": {"x": "a"}}, "by.x"),
        ("/total", {"x": [[1, 2, 3]]}, "x"),
        ("/total", {"x": [[1, "a"]]}, "x[0][1]"),
    ],
)
def test_bad_input_is_400_with_the_path(run: Run, path: str, content: Any, where: str) -> None:
    async def check(bench: Bench) -> None:
        status, answer = await bench.json(path, content)
        assert (status, answer["error"]["code"]) == (400, "INVALID_INPUT")
        assert any(detail["path"].startswith(where) for detail in answer["error"]["details"]), answer

    run(check)


def test_rows_are_joined_split_and_cut(run: Run) -> None:
    async def check(bench: Bench) -> None:
        calls = [("/total", {"x": [[number, 1]] * (number % 3 + 1)}) for number in range(12)]
        for number, answer in enumerate(await bench.together(calls)):
            assert answer == (200, [number + 1.0] * (number % 3 + 1))
        many = [[number, 0] for number in range(30)]
        assert await bench.json("/total", {"x": many}) == (200, [float(number) for number in range(30)])

    run(check)


def test_one_row_failed_rows_and_their_mates(run: Run) -> None:
    async def check(bench: Bench) -> None:
        answers = await bench.together([("/shout", {"words": word}) for word in ("a", "damn", "b")])
        assert answers[0] == (200, "A") and answers[2] == (200, "B")
        assert answers[1][1]["error"]["code"] == "app.rude"

    run(check)


def test_an_exception_is_the_culprits_alone_even_when_inputs_were_changed(run: Run) -> None:
    async def check(bench: Bench) -> None:
        hold = asyncio.ensure_future(bench.json("/total", {"x": [[0, 0]] * 64}))
        calls = [("/picky", {"x": [[-9 if number == 3 else number, 0]]}) for number in range(8)]
        for number, (status, answer) in enumerate(await bench.together(calls)):
            if number == 3:
                assert status == 500 and answer["error"]["code"] == "METHOD_FAILED"
            else:
                assert (status, answer) == (200, [number + 1.0])
        await hold
        assert all(array.flags.owndata and array.flags.writeable for array in KEPT)

    run(check)


def test_a_result_of_the_wrong_length_is_nobodys_answer(run: Run) -> None:
    async def check(bench: Bench) -> None:
        status, answer = await bench.json("/short", {"x": [[1, 2], [3, 4]]})
        assert (status, answer["error"]["code"]) == (500, "BAD_OUTPUT")

    run(check)


def test_npy_in_and_out(run: Run) -> None:
    import io

    def npy(array: np.ndarray) -> bytes:
        file = io.BytesIO()
        np.save(file, array, allow_pickle=False)
        return file.getvalue()

    async def check(bench: Bench) -> None:
        array = np.arange(10, dtype=np.float32).reshape(5, 2)
        headers = "Content-Type: application/x-npy\r\nAccept: application/x-npy\r\n"
        status, found, body = await bench.ask(post("/total", npy(array), headers))
        assert (status, found["content-type"]) == (200, "application/x-npy")
        assert np.load(io.BytesIO(body), allow_pickle=False).tolist() == array.sum(axis=1).tolist()
        status, _found, body = await bench.ask(post("/total", npy(array.astype("float64")), headers))
        assert status == 400 and b"float32" in body

    run(check)


def test_streams_as_chunks_events_and_lines(run: Run) -> None:
    async def check(bench: Bench) -> None:
        status, headers, body = await bench.ask(post("/words", b'{"n": 3}'))
        assert (status, body) == (200, b"word 0word 1word 2")
        assert headers["content-type"].startswith("text/plain")
        _status, headers, body = await bench.ask(post("/words", b'{"n": 2}', "Accept: text/event-stream\r\n"))
        assert headers["content-type"] == "text/event-stream"
        assert body == b"data: word 0\n\ndata: word 1\n\n"
        _status, _headers, body = await bench.ask(post("/numbers", b'{"n": 2}', "Accept: application/x-ndjson\r\n"))
        assert body == b"0\n1\n"
        _status, _headers, body = await bench.ask(post("/broken_stream", b"{}"))
        assert body.startswith(b"data: 1\n\nevent: error\ndata: ") and b"app.empty" in body

    run(check)


def test_bytes_context_and_errors(run: Run) -> None:
    async def check(bench: Bench) -> None:
        octets = "Content-Type: application/octet-stream\r\n"
        assert (await bench.ask(post("/raw", b"abc", octets)))[2] == b"cba"
        assert (await bench.ask(post("/who", b"{}", "X-Request-Id: me-7\r\n")))[2] == b"me-7"
        status, answer = await bench.json("/fail", {})
        assert (status, answer["error"]["code"], answer["error"]["details"]) == (418, "app.teapot", {"pot": "tea"})
        status, answer = await bench.json("/crash", {})
        assert (status, answer["error"]["code"]) == (500, "METHOD_FAILED")
        assert "Traceback" not in str(answer)

    run(check)


def test_a_deadline_and_a_client_that_leaves(run: Run) -> None:
    async def check(bench: Bench) -> None:
        status, answer = await bench.json("/sleep", {"seconds": 5}, "Tiffin-Timeout-Ms: 50\r\n")
        assert (status, answer["error"]["code"]) == (504, "DEADLINE")
        client = await bench.client()
        client.transport.write(post("/sleep", b'{"seconds": 5}'))
        await asyncio.sleep(0.05)
        assert len(bench.engine.calls) == 1
        client.transport.abort()
        await until(lambda: not bench.engine.calls)

    run(check)


def test_many_connections_get_their_own_answers(run: Run) -> None:
    async def check(bench: Bench) -> None:
        async def one(number: int) -> None:
            client = await bench.client()
            for turn in range(20):
                status, _headers, body = await client.ask(
                    post("/double", json.dumps({"x": number * 100 + turn}).encode())
                )
                assert (status, json.loads(body)) == (200, 2.0 * (number * 100 + turn))
            client.transport.close()

        await asyncio.gather(*(one(number) for number in range(16)))
        numbers = bench.registry.services["House"].by_method["double"]
        assert numbers.calls[0] == 320

    run(check)
