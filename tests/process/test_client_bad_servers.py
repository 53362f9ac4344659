"""Both clients against servers that behave badly: busy, broken, slow, silent."""

from __future__ import annotations

import asyncio
import email
import time
from typing import Any

import pytest

import tiffin
from tests.process.stand_in import Handler, StandIn
from tiffin.errors import Error


def described(*methods: dict[str, Any]) -> dict[str, Any]:
    return {"format": 1, "service": "Bad", "methods": [{"route": f"/{one['name']}", **one} for one in methods]}


ADD = described(
    {"name": "add", "params": [{"name": "x", "schema": {"type": "integer"}}], "returns": {"type": "integer"}}
)
ONCE = described({"name": "add", "idempotent": False, "returns": {"type": "integer"}})


def busy(handler: Handler) -> None:
    said = {"code": "OVERLOADED", "message": "busy", "request_id": "r", "retryable": True}
    handler.say(503, {"error": said}, {"retry-after": "1"})


def good(handler: Handler) -> None:
    handler.say(200, 7)


def both_clients(url: str, name: str, timeout: float = 20.0, **arguments: Any) -> list[Any]:
    """Return what each client gets, or the error that it raises."""

    async def run() -> Any:
        async with tiffin.AsyncHTTPClient(url, timeout=timeout) as client:
            return await client.call(name, **arguments)

    found: list[Any] = []
    with tiffin.SyncHTTPClient(url, timeout=timeout) as client:
        for call in (lambda: client.call(name, **arguments), lambda: asyncio.run(run())):
            try:
                found.append(call())
            except Error as error:
                found.append(error)
    return found


def test_a_busy_server_is_asked_again_when_it_says():
    with StandIn(ADD, busy, good, busy, good) as server:
        began = time.monotonic()
        assert both_clients(server.url, "add", x=1) == [7, 7]
        assert time.monotonic() - began >= 2
        assert len(server.seen) == 4
        first, second = (int(headers["tiffin-timeout-ms"]) for _path, headers, _body in server.seen[:2])
        assert second <= first - 1000  # the second attempt has what the first one left


def test_a_busy_server_is_not_waited_for_longer_than_the_call_may_take():
    with StandIn(ADD, busy, busy) as server:
        found = both_clients(server.url, "add", timeout=0.9, x=1)
        assert [error.code for error in found] == ["OVERLOADED", "OVERLOADED"]
        assert len(server.seen) == 2


def test_a_reset_is_tried_again_unless_the_method_must_not_run_twice():
    with StandIn(ADD, Handler.reset, good, Handler.reset, good) as server:
        assert both_clients(server.url, "add", x=1) == [7, 7]
    with StandIn(ONCE, Handler.reset, Handler.reset) as server:
        assert [error.code for error in both_clients(server.url, "add")] == ["MAYBE_EXECUTED", "MAYBE_EXECUTED"]
        assert len(server.seen) == 2


def drip(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    try:
        for _ in range(100):
            handler.wfile.write(b"1")
            time.sleep(0.1)
    except OSError:
        return  # the client has left, as it should
    handler.close_connection = True


def test_a_drip_does_not_outlast_the_timeout():
    with StandIn(ADD, drip, drip) as server:
        began = time.monotonic()
        found = both_clients(server.url, "add", timeout=0.6, x=1)
        assert [error.code for error in found] == ["DEADLINE", "DEADLINE"]
        assert time.monotonic() - began < 6


def silent(handler: Handler) -> None:
    """Begin a stream, and then say nothing for as long as the client listens."""
    handler.send_response(200)
    handler.send_header("content-type", "text/event-stream")
    handler.end_headers()
    handler.wfile.write(b"data: 1\n\n")
    handler.connection.settimeout(30)
    handler.close_connection = True
    try:
        handler.connection.recv(1)  # returns when the client has left
    except OSError:
        return


def cut_off(handler: Handler) -> None:
    """Begin a stream in chunks, and end the connection before its end."""
    handler.send_response(200)
    handler.send_header("content-type", "text/event-stream")
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"9\r\ndata: 1\n\n\r\n")
    handler.reset()


COUNT = described({"name": "count", "streams": True, "gives": ["text/event-stream"], "returns": {"type": "integer"}})


@pytest.mark.parametrize(("answer", "code"), [(silent, "DEADLINE"), (cut_off, "INTERNAL")])
def test_a_stream_that_falls_silent_or_breaks_off_is_an_error_after_its_items(answer, code):
    async def run(url: str, found: list[Any]) -> None:
        async with tiffin.AsyncHTTPClient(url, timeout=0.8) as client:
            async for item in client.count():
                found.append(item)  # noqa: PERF401  what came before the error counts

    with StandIn(COUNT, answer, answer) as server:
        began = time.monotonic()
        for client_of in ("waiting", "awaited"):
            found: list[Any] = []
            with pytest.raises(Error) as caught:
                if client_of == "waiting":
                    with tiffin.SyncHTTPClient(server.url, timeout=0.8) as client:
                        found.extend(client.count())
                else:
                    asyncio.run(run(server.url, found))
            assert (caught.value.code, found) == (code, [1]), client_of
        assert time.monotonic() - began < 10
        assert len(server.seen) == 2


FILES = described(
    {
        "name": "look",
        "takes": ["application/json", "multipart/form-data"],
        "params": [
            {"name": "image", "schema": {"type": "string", "format": "binary", "x-tiffin-type": "image"}},
            {"name": "label", "schema": {"type": "string"}},
            {"name": "top", "schema": {"type": "integer"}},
        ],
        "returns": {"type": "array", "items": {}},
    }
)


def parts(handler: Handler) -> None:
    """Answer with name, file name, type and size of each part."""
    head = f"content-type: {handler.headers['content-type']}\r\n\r\n".encode()
    found: list[Any] = []
    for part in email.message_from_bytes(head + handler.body).get_payload():
        name = part.get_param("name", header="content-disposition")  # type: ignore[union-attr]
        content: Any = part.get_payload(decode=True)  # type: ignore[union-attr]
        found.append([name, part.get_filename(), part.get_content_type(), len(content), content[:4].hex()])  # type: ignore[union-attr]
    handler.say(200, found)


def test_files_go_as_a_form_read_from_disk_while_they_are_sent(tmp_path):
    path = tmp_path / "big.png"
    path.write_bytes(b"\x89PNG" + bytes(3_000_000))
    expected = [
        ["image", "big.png", "image/png", 3_000_004, "89504e47"],
        ["label", None, "text/plain", 3, b"cat".hex()],
        ["top", None, "application/json", 1, b"5".hex()],
    ]
    with StandIn(FILES, busy, parts, Handler.reset, parts) as server:
        assert both_clients(server.url, "look", image=path, label="cat", top=5) == [expected, expected]
        assert all(int(headers["content-length"]) > 3_000_000 for _path, headers, _body in server.seen)
