"""The engine's answers → HTTP: whole bodies, streams, server-sent events, the error table.

Owns the calls that wait for an answer; never refuses a request (the endpoint does).
"""

from __future__ import annotations

import math
import re

import msgspec

from tiffin.errors import Error
from tiffin.messages.link import Data, End, Failure, Media, Reply, Window
from tiffin.messages.port import EnginePort, ToEdge
from tiffin.web.exchange import Exchange

JSON = b"application/json"
_FILES = (Media.BYTES, Media.MULTIPART)
_NOSNIFF = (
    b"x-content-type-options: nosniff\r\n"  # a client's own file, given back, must not become a page of this site
)
_MEDIA = tuple(name.encode() for name in Media.NAMES)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*\Z")
_OWN_HEADERS = frozenset(("content-length", "content-type", "transfer-encoding", "connection", "date", "x-request-id"))


class Responder:
    """Answers what waits; the `EdgePort` of this edge.

    Attributes:
        waiting: exchanges by call id.
    """

    def __init__(self) -> None:
        self.waiting: dict[int, Exchange] = {}
        self._port: EnginePort | None = None

    def connect(self, port: EnginePort) -> None:
        """Name the engine that hears how much of a stream has left."""
        self._port = port

    def receive(self, message: ToEdge) -> None:
        """See `EdgePort.receive`."""
        if type(message) is Reply:
            exchange = self.waiting.pop(message.stream, None)
            if exchange is None:
                return
            if message.headers:
                exchange.extra += header_lines(message.headers)
            media = message.media_name.encode("latin-1", "replace") if message.media_name else _MEDIA[message.media]
            if message.media in _FILES:
                exchange.extra += _NOSNIFF
            exchange.connection.respond(exchange, message.status, media, message.body)
        elif type(message) is Failure:
            exchange = self.waiting.pop(message.stream, None)
            if exchange is not None:
                answer_failure(exchange, message)
        elif type(message) is Data:
            exchange = self.waiting.get(message.stream)
            if exchange is None:
                return
            if not exchange.streaming:
                media = message.media_name.encode("latin-1", "replace") if message.media_name else _MEDIA[message.media]
                exchange.sse = media.startswith(b"text/event-stream")
                exchange.connection.start_stream(exchange, 200, media)
            exchange.connection.write(exchange, message.data)
        elif type(message) is End:
            exchange = self.waiting.pop(message.stream, None)
            if exchange is not None:
                if not exchange.streaming:
                    exchange.connection.start_stream(exchange, 200, _MEDIA[Media.SSE])
                exchange.connection.end_stream(exchange)

    def flushed(self, exchange: Exchange, size: int) -> None:
        """So many bytes of a stream have left: the worker may send as many more."""
        if self._port is not None:
            self._port.send(Window(exchange.call, size))


def answer_error(exchange: Exchange, error: Error) -> None:
    """Answer with an error that was found on this side of the engine."""
    exchange.release()
    _answer(
        exchange,
        error.status,
        str(error.code),
        error.message,
        error.retryable,
        error.retry_after_s or 0.0,
        b"" if error.details is None else msgspec.json.encode(error.details),
    )


def answer_failure(exchange: Exchange, failure: Failure) -> None:
    """Answer with what the engine or a worker says went wrong."""
    _answer(
        exchange,
        failure.status,
        failure.code,
        failure.message,
        failure.retryable,
        failure.retry_after_s,
        failure.details,
    )


def _answer(
    exchange: Exchange, status: int, code: str, message: str, retryable: bool, retry_after_s: float, details: bytes
) -> None:
    content: dict[str, object] = {
        "code": code,
        "message": message,
        "request_id": exchange.id,
        "retryable": retryable,
    }
    if retry_after_s:
        content["retry_after_s"] = round(retry_after_s, 3)
    if details:
        content["details"] = msgspec.Raw(details)
    body = msgspec.json.encode({"error": content})
    connection = exchange.connection
    if exchange.streaming:
        # The status line has left: an event says it where the client reads events, else the broken-off body does.
        if exchange.sse:
            connection.write(exchange, b"event: error\ndata: " + body + b"\n\n")
            connection.end_stream(exchange)
        else:
            connection.abort()
        return
    if retry_after_s or status in (429, 503):
        exchange.extra += b"retry-after: %d\r\n" % max(1, math.ceil(retry_after_s))
    connection.respond(exchange, status, JSON, body)


def header_lines(headers: list[tuple[str, str]]) -> bytes:
    """Return a method's own response headers as lines; those that would break the response are left out.

    Names must be tokens, values must have no control characters, and the framing headers stay ours.
    """
    lines: list[str] = []
    for name, value in headers:
        if name.lower() not in _OWN_HEADERS and _HEADER_NAME.match(name) and _HEADER_VALUE.match(value):
            lines.append(f"{name.lower()}: {value}\r\n")
    return "".join(lines).encode("latin-1")
