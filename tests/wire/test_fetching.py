"""Requests with URLs for files, over a wire without a socket: fetched before there is a call, and nobody waits for them."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.unit.codecs.forms import form, part
from tests.wire.support import Wire, post
from tiffin.codecs.fetch import Fetched
from tiffin.codecs.multipart import read_parts
from tiffin.codecs.reasons import invalid
from tiffin.config.parts import Config, FilesConfig, HttpConfig, LinkConfig, TrafficConfig
from tiffin.link.arena import Arena
from tiffin.messages.link import Cancel, Media, Reply, Slot
from tiffin.messages.port import Call, ToEngine
from tiffin.spec.service import Application, MethodSpec, Param, ServiceSpec
from tiffin.spec.types import FileType, ListType, StrType
from tiffin.web.app import App
from tiffin.web.fetching import THREADS, Fetching
from tiffin.web.listener import Listener
from tiffin.web.protocol import Connection
from tiffin.web.respond import Responder
from tiffin.web.system import SystemPages

METHODS = (
    MethodSpec(name="one", route="/one", params=(Param(name="doc", type=FileType(form="path")),), returns=StrType()),
    MethodSpec(
        name="rows",
        route="/rows",
        params=(Param(name="docs", type=ListType(item=FileType(form="path")), batched=True),),
        returns=StrType(),
        batchable=True,
    ),
    MethodSpec(
        name="image",
        route="/image",
        params=(Param(name="doc", type=FileType(form="path", media="image/png")),),
        returns=StrType(),
    ),
    MethodSpec(name="say", route="/say", params=(Param(name="doc", type=StrType()),), returns=StrType()),
)
APPLICATION = Application(services=(ServiceSpec(name="Docs", target="m:Docs", methods=METHODS),))
URL = "http://a.example/x"


class Bench:
    """An edge whose files come from `files`; a URL with "slow" in it waits for `gate`."""

    def __init__(self, arena: Arena | None = None, **parts: Any) -> None:
        self.sent: list[ToEngine] = []
        self.now = 50.0
        self.refusals: list[tuple[int, str]] = []
        self.fetched: list[tuple[str, str, float]] = []
        self.gate = threading.Event()
        self.files: dict[str, Fetched] = {}
        self.arena = arena
        config = Config(link=LinkConfig(arena_threshold_bytes=64), **parts)
        self.responder = Responder()
        self.responder.connect(self)
        pages = SystemPages(dict, lambda _accept: (b"", ""), docs=False, prefix="", version="1")
        self.fetching = Fetching(config, self.fetch, arena, lambda: self.now, self.refused)
        self.app = App(config, self, self.responder, pages, lambda: self.now, self.refused, fetching=self.fetching)
        self.app.publish(APPLICATION)
        self.listener = Listener(config.http, config.link, self.app, arena, lambda: self.now)

    def refused(self, method: int, code: str) -> None:
        self.refusals.append((method, code))

    def send(self, message: ToEngine) -> None:
        self.sent.append(message)

    def fetch(self, url: str, path: str, deadline: float) -> Fetched:
        self.fetched.append((url, path, deadline))
        if "slow" in url:
            assert self.gate.wait(30)
        if "bug" in url:
            raise RuntimeError("a bug")
        if "bad" in url:
            raise invalid(path, "bad URL")
        return self.files.get(url, Fetched(b"file of " + url.encode(), "text/plain", "x"))

    def ask(self, path: str, body: Any, content_type: str = "application/json") -> tuple[Wire, Connection]:
        """Send a request on a connection of its own."""
        connection, wire = Connection(self.listener), Wire()
        connection.connection_made(wire)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.data_received(post(path, raw, f"content-type: {content_type}\r\n"))
        return wire, connection

    def calls(self) -> list[Call]:
        return [message for message in self.sent if isinstance(message, Call)]


def run(test: Callable[[Bench], Awaitable[None]], bench: Callable[[], Bench] = Bench) -> None:
    async def main() -> None:
        made = bench()
        try:
            await asyncio.wait_for(test(made), 50)
        finally:
            made.gate.set()

    asyncio.run(main())


async def until(done: Callable[[], object]) -> None:
    while not done():  # noqa: ASYNC110  nobody is told of what is waited for
        await asyncio.sleep(0.001)


def said(wire: Wire) -> tuple[int, str, str]:
    head, _, body = wire.sent.partition(b"\r\n\r\n")
    error = json.loads(body)["error"]
    return int(head.split()[1]), error["code"], error["message"]


def test_a_file_is_fetched_and_the_call_has_it_in_base64() -> None:
    async def test(bench: Bench) -> None:
        wire, _ = bench.ask("/one", {"doc": URL})
        await until(bench.calls)
        (call,) = bench.calls()
        assert isinstance(call.body, bytes)
        assert base64.b64decode(json.loads(call.body)["doc"]) == b"file of http://a.example/x"
        assert (call.media, call.size, call.deadline) == (Media.JSON, len(call.body), 110.0)
        assert bench.fetched == [(URL, "doc", 110.0)]
        bench.responder.receive(Reply(call.id, b'"ok"'))
        assert wire.sent.endswith(b'\r\n\r\n"ok"')

    run(test)


def test_a_form_is_sent_on_as_a_form() -> None:
    async def test(bench: Bench) -> None:
        content_type, body = form(part("docs", b"abc", "a.txt"), part("docs", URL.encode()))
        bench.ask("/rows", body, content_type)
        await until(bench.calls)
        (call,) = bench.calls()
        assert isinstance(call.body, bytes)
        parts = read_parts(call.meta["content-type"], call.body, FilesConfig())
        assert [bytes(one.data) for one in parts] == [b"abc", b"file of http://a.example/x"]
        assert call.rows == 2

    run(test)


def test_the_body_with_the_files_lies_in_the_arena_and_its_place_is_given_back() -> None:
    async def test(bench: Bench) -> None:
        arena = bench.arena
        assert arena is not None
        bench.ask("/one", {"doc": URL + "?" + "y" * 100})
        await until(bench.calls)
        (call,) = bench.calls()
        assert isinstance(call.body, Slot)
        assert call.body.size == call.size
        assert base64.b64decode(json.loads(bytes(arena.view(call.body)))["doc"]).startswith(b"file of")
        arena.free(call.body)  # as the engine does when the call ends
        assert arena.used_bytes == 0  # the body that the client sent was given back

    run(test, lambda: Bench(Arena(1 << 20)))


def test_slow_fetches_delay_no_other_call() -> None:
    async def test(bench: Bench) -> None:
        for _ in range(THREADS + 8):
            bench.ask("/rows", {"docs": [f"{URL}/slow"]})
        await until(lambda: len(bench.fetched) == THREADS)
        assert bench.calls() == []  # the engine knows nothing of them
        bench.ask("/rows", {"docs": ["YWFh"]})
        bench.ask("/say", {"doc": URL})  # a text is no file
        content_type, body = form(part("doc", b"see http://a.example", "a.txt"))
        bench.ask("/one", body, content_type)  # looked through for URLs, although all threads that fetch are busy
        await until(lambda: len(bench.calls()) == 3)
        bench.gate.set()
        await until(lambda: len(bench.calls()) == THREADS + 11)

    run(test)


def test_a_refused_url_is_answered_and_never_becomes_a_call() -> None:
    async def test(bench: Bench) -> None:
        wire, _ = bench.ask("/rows", {"docs": ["YWFh", f"{URL}/bad"]})
        await until(lambda: wire.sent)
        assert said(wire) == (400, "INVALID_INPUT", "invalid input: docs[1]: bad URL")
        assert bench.refusals == [(1, "INVALID_INPUT")]
        assert bench.sent == []

    run(test)


def test_a_file_that_is_not_what_is_taken_is_refused() -> None:
    async def test(bench: Bench) -> None:
        wire, _ = bench.ask("/image", {"doc": URL})
        await until(lambda: wire.sent)
        assert said(wire)[2] == "invalid input: doc: expected image/png, got bytes that are no such file"

    run(test)


def test_one_bad_url_ends_the_call_while_others_are_slow() -> None:
    async def test(bench: Bench) -> None:
        wire, _ = bench.ask("/rows", {"docs": [f"{URL}/slow", f"{URL}/bad"]})
        await until(lambda: wire.sent)
        assert said(wire)[0] == 400

    run(test)


def test_what_went_wrong_in_the_fetcher_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    async def test(bench: Bench) -> None:
        wire, _ = bench.ask("/one", {"doc": f"{URL}/bug"})
        await until(lambda: wire.sent)
        assert said(wire)[:2] == (500, "INTERNAL")

    run(test)
    assert "a bug" in caplog.text


def test_a_call_whose_client_left_is_dropped() -> None:
    async def test(bench: Bench) -> None:
        arena = bench.arena
        assert arena is not None
        _, connection = bench.ask("/one", {"doc": f"{URL}/slow?" + "y" * 100})
        await until(lambda: bench.fetched)
        connection.connection_lost(None)
        bench.gate.set()
        bench.ask("/one", {"doc": f"{URL}/later"})
        await until(bench.calls)
        assert len(bench.calls()) == 1
        assert not any(isinstance(message, Cancel) for message in bench.sent)
        await until(lambda: not bench.fetching._tasks)
        for call in bench.calls():
            if isinstance(call.body, Slot):
                arena.free(call.body)
        assert arena.used_bytes == 0

    run(test, lambda: Bench(Arena(1 << 20)))


def test_the_deadline_ends_the_waiting() -> None:
    async def test(bench: Bench) -> None:
        wire, _ = bench.ask("/one", {"doc": f"{URL}/slow"})
        await until(lambda: wire.sent)
        assert said(wire)[:2] == (504, "DEADLINE")

    run(test, lambda: Bench(traffic=TrafficConfig(timeout_s=0.05)))


def test_a_refusal_at_the_deadline_is_the_deadlines() -> None:
    async def test(bench: Bench) -> None:
        wire, _ = bench.ask("/one", {"doc": f"{URL}/slow/bad"})
        await until(lambda: bench.fetched)
        bench.now += 60
        bench.gate.set()
        await until(lambda: wire.sent)
        assert said(wire)[:2] == (504, "DEADLINE")

    run(test)


def test_the_files_of_one_call_are_bounded_together() -> None:
    async def test(bench: Bench) -> None:
        bench.files[URL] = Fetched(b"x" * 400, "", "")
        wire, _ = bench.ask("/rows", {"docs": [URL] * 3})
        await until(lambda: wire.sent)
        assert said(wire)[:2] == (413, "TOO_LARGE")
        bench.ask("/rows", {"docs": [URL] * 2})
        await until(bench.calls)

    run(test, lambda: Bench(http=HttpConfig(max_body_bytes=1_000)))


def test_files_that_wait_for_others_are_bounded_and_counted_off() -> None:
    async def test(bench: Bench) -> None:
        bench.files[URL] = Fetched(b"x" * 400, "", "")
        for _ in range(2):
            bench.ask("/rows", {"docs": [URL, f"{URL}/slow"]})
        await until(lambda: bench.fetching._held == 800)
        wire, _ = bench.ask("/one", {"doc": URL})
        await until(lambda: wire.sent)
        assert said(wire)[:2] == (429, "TOO_MANY")
        bench.gate.set()
        await until(lambda: len(bench.calls()) == 2)
        assert bench.fetching._held == 0

    run(test, lambda: Bench(traffic=TrafficConfig(queue_bytes=1_000)))


def test_calls_that_wait_for_files_are_bounded() -> None:
    async def test(bench: Bench) -> None:
        bench.ask("/one", {"doc": f"{URL}/slow"})
        await until(lambda: bench.fetched)
        wire, _ = bench.ask("/one", {"doc": URL})
        await until(lambda: wire.sent)
        assert said(wire)[:2] == (429, "TOO_MANY")

    run(test, lambda: Bench(traffic=TrafficConfig(queue_calls=1)))


def test_no_url_is_looked_for_in_a_large_body() -> None:
    async def test(bench: Bench) -> None:
        bench.ask("/rows", {"docs": [URL, "A" * 1_100_000]})
        assert len(bench.calls()) == 1  # at once, as it came: the worker refuses it
        assert bench.fetched == []

    run(test)


def test_a_service_that_is_loaded_anew_meanwhile_is_not_called_by_old_numbers() -> None:
    async def test(bench: Bench) -> None:
        wire, _ = bench.ask("/one", {"doc": f"{URL}/slow"})
        await until(lambda: bench.fetched)
        bench.app.publish(APPLICATION)
        bench.gate.set()
        await until(lambda: wire.sent)
        assert said(wire)[:2] == (503, "UNAVAILABLE")
        assert bench.sent == []

    run(test)
