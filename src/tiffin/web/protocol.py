"""HTTP/1.1 on one connection: bytes → Exchange, answer → bytes, limits, keep-alive, back-pressure.

Owns the transport and the parser of one client; never routes and never knows a method. Drives httptools (llhttp) directly: see
docs/decisions/001. Times are CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import httptools

from tiffin.errors import Code, Error
from tiffin.web.exchange import Exchange
from tiffin.web.heads import stream_head, whole_head

if TYPE_CHECKING:
    from tiffin.web.listener import Listener

_HIGH_WATER_BYTES = 131_072
_PIPELINE = 16
_LINGER_S = 1.0
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """One client's connection.

    Args:
        listener: its settings, its handler, its list of connections.

    Attributes:
        since: when it began to wait for what it waits for now.
        phase: what that is: new, idle, head, body, answer, or linger (refused; what still arrives is thrown away).
    """

    __slots__ = (
        "_advancing",
        "_current",
        "_head_bytes",
        "_listener",
        "_parser",
        "_queue",
        "_reading",
        "_transport",
        "_writing",
        "phase",
        "since",
    )

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._reading: Exchange | None = None  # being parsed
        self._current: Exchange | None = None  # being answered
        self._queue: deque[Exchange] = deque()  # read while another is being answered (pipelining)
        self._head_bytes = 0
        self._writing = True
        self._advancing = False
        self.phase = "new"
        self.since = listener.clock()

    # -- asyncio -----------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start (asyncio calls this)."""
        self._transport = transport  # type: ignore[assignment]
        transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)  # type: ignore[attr-defined]
        self._listener.opened(self)

    def data_received(self, data: bytes) -> None:
        """Parse (asyncio calls this)."""
        if self.phase == "linger":
            return
        if self._reading is not None:
            self.since = self._listener.clock()
            if self.phase == "head":
                self._head_bytes += len(data)
                if self._head_bytes > self._listener.http.max_header_bytes:
                    self._refuse(Code.HEADERS_TOO_LARGE, "the request head is too large")
                    return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request was handled as plain HTTP/1.1; what follows it belongs to a protocol that was not agreed on.
            if self._current is not None:
                self._current.keep_alive = False
        except httptools.HttpParserCallbackError as error:
            cause = error.__cause__ or error.__context__
            if not isinstance(cause, Error):
                raise
            self._refuse(Code(cause.code), cause.message)
        except httptools.HttpParserError as error:
            if self._transport is not None:
                self._refuse(Code.INVALID_INPUT, f"not a valid HTTP/1.1 request: {error}")

    def eof_received(self) -> bool:
        """The client sent all it will: close (asyncio calls this)."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """Give up what was under way (asyncio calls this)."""
        self._transport = None
        self._listener.closed(self)
        if self._reading is not None:
            self._reading.release()
            self._reading = None
        if self._current is not None:
            current, self._current = self._current, None
            self._gone(current)
        for waiting in self._queue:
            waiting.release()
        self._queue.clear()

    def pause_writing(self) -> None:
        """The client reads slowly: stop reading from it and stop its stream (asyncio calls this)."""
        self._writing = False
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on (asyncio calls this)."""
        self._writing = True
        self.since = self._listener.clock()
        if self._transport is not None and len(self._queue) < _PIPELINE:
            self._transport.resume_reading()
        if self._current is not None and self._current.unflushed:
            unflushed, self._current.unflushed = self._current.unflushed, 0
            self._listener.handler.flushed(self._current, unflushed)

    # -- httptools ---------------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request (httptools calls this)."""
        self._reading = Exchange(self)
        self._head_bytes = 0
        self.phase = "head"
        self.since = self._reading.started = self._listener.clock()

    def on_url(self, url: bytes) -> None:
        """Collect the request target (httptools calls this)."""
        exchange = self._reading
        if exchange is not None:
            exchange.target += url
            if len(exchange.target) > self._listener.http.max_url_bytes:
                raise Error("the request target is too long", code=Code.URI_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header (httptools calls this)."""
        exchange = self._reading
        if exchange is not None:
            exchange.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Look at the headers that matter to every request and prepare for the body (httptools calls this)."""
        exchange = self._reading
        if exchange is None:
            return
        listener = self._listener
        headers = exchange.headers
        if len(headers) > listener.http.max_headers:
            raise Error(f"more than {listener.http.max_headers} header lines", code=Code.HEADERS_TOO_LARGE)
        expects = False
        size = len(exchange.target)
        for name, value in headers:
            size += len(name) + len(value)
            key = name.lower()
            if key == b"host":
                if exchange.host is not None:
                    raise Error("two Host headers", code=Code.INVALID_INPUT)
                exchange.host = value
            elif key == b"content-length":
                exchange.content_length = int(value)
            elif key == b"content-type":
                exchange.content_type = value
            elif key == b"accept":
                exchange.accept = value
            elif key == b"x-request-id":
                exchange.request_id = value
            elif key == b"tiffin-timeout-ms":
                exchange.timeout_ms = value
            elif key == b"origin":
                exchange.origin = value
            elif key == b"expect":
                expects = value.lower() == b"100-continue"
        if size > listener.http.max_header_bytes:
            raise Error("the request head is too large", code=Code.HEADERS_TOO_LARGE)
        exchange.method = self._parser.get_method().decode("ascii", "replace")
        exchange.chunked = self._parser.get_http_version() == "1.1"
        exchange.keep_alive = exchange.chunked and self._parser.should_keep_alive()
        self.phase = "body"
        length = exchange.content_length
        if length > listener.http.max_body_bytes:
            raise Error(_too_large(listener.http.max_body_bytes), code=Code.TOO_LARGE)
        if length >= listener.arena_threshold and listener.arena is not None:
            slot = listener.arena.allocate(length)
            if slot is not None:
                exchange.arena = listener.arena
                exchange.body = slot
        if expects and self._transport is not None:
            self._transport.write(_CONTINUE)

    def on_body(self, data: bytes) -> None:
        """Collect a piece of the body: into the arena if a slot was had (httptools calls this)."""
        exchange = self._reading
        if exchange is None:
            return
        at = exchange.body_size
        exchange.body_size += len(data)
        if exchange.arena is not None:
            exchange.arena.write(exchange.body, at, data)  # type: ignore[arg-type]
        elif at == 0:
            exchange.body = data
        else:
            if exchange.body_size > self._listener.http.max_body_bytes:
                raise Error(_too_large(self._listener.http.max_body_bytes), code=Code.TOO_LARGE)
            if not exchange.parts and isinstance(exchange.body, bytes):
                exchange.parts.append(exchange.body)
            exchange.parts.append(data)

    def on_message_complete(self) -> None:
        """Answer the request, or let it wait for the one before it (httptools calls this)."""
        exchange = self._reading
        if exchange is None:
            return
        self._reading = None
        if exchange.parts:
            exchange.body = b"".join(exchange.parts)
            exchange.parts = []
        if self._current is None:
            self._begin(exchange)
        else:
            self._queue.append(exchange)
            if len(self._queue) >= _PIPELINE and self._transport is not None:
                self._transport.pause_reading()

    # -- answering ---------------------------------------------------------------------------------------------------------

    def _begin(self, exchange: Exchange) -> None:
        self._current = exchange
        self.phase = "answer"
        self._listener.handler.handle(exchange)

    def respond(self, exchange: Exchange, status: int, media: bytes, body: bytes) -> None:
        """Send a whole answer; one for a client that has left is dropped.

        Args:
            status: HTTP status. media: content type. body: all of it (not sent to a HEAD request).
        """
        transport = self._transport
        if exchange.done or transport is None:
            return
        size = len(body)
        exchange.status = status
        if exchange.method == "HEAD" or status == 204:
            body = b""
        listener = self._listener
        keep = exchange.keep_alive and not listener.stopping
        transport.write(whole_head(exchange, status, listener.date_line, media, size, keep=keep) + body)
        self._finish(exchange, keep)

    def start_stream(self, exchange: Exchange, status: int, media: bytes) -> None:
        """Send the head of an answer whose pieces follow."""
        transport = self._transport
        if exchange.done or transport is None:
            return
        exchange.streaming = True
        exchange.status = status
        keep = exchange.keep_alive and not self._listener.stopping
        transport.write(stream_head(exchange, status, self._listener.date_line, media, keep=keep))

    def write(self, exchange: Exchange, data: bytes) -> None:
        """Send a piece of a streamed answer; the handler hears `flushed` when the client has room for more."""
        transport = self._transport
        if exchange.done or transport is None:
            return
        if data:
            transport.write(b"%x\r\n%b\r\n" % (len(data), data) if exchange.chunked else data)
        if self._writing:
            self._listener.handler.flushed(exchange, len(data))
        else:
            exchange.unflushed += len(data)

    def end_stream(self, exchange: Exchange) -> None:
        """Complete a streamed answer."""
        if exchange.done or self._transport is None:
            return
        if exchange.chunked:
            self._transport.write(b"0\r\n\r\n")
        self._finish(exchange, exchange.keep_alive and not self._listener.stopping)

    def abort(self) -> None:
        """Cut the connection: the client must not take a broken answer for a whole one."""
        if self._transport is not None:
            self._transport.abort()

    def close_idle(self) -> None:
        """Close if no request is being read or answered."""
        if self._transport is not None and self._current is None and self._reading is None:
            self._transport.close()

    def overdue(self, now: float) -> None:
        """Act on a client that takes too long for what it should do next (the listener calls this each second)."""
        http = self._listener.http
        waited = now - self.since
        transport = self._transport
        if transport is None:
            return
        if self.phase == "answer":
            if not self._writing and waited > http.write_timeout_s:
                self.abort()
        elif self.phase == "head":
            started = now if self._reading is None else self._reading.started
            if now - started > http.header_timeout_s:
                self._refuse(Code.BODY_TIMEOUT, f"the request head did not arrive within {http.header_timeout_s:g} s")
        elif self.phase == "body":
            if waited > http.body_timeout_s:
                self._refuse(Code.BODY_TIMEOUT, f"the request body paused for over {http.body_timeout_s:g} s")
        elif waited > {"idle": http.keep_alive_s, "new": http.header_timeout_s, "linger": _LINGER_S}[self.phase]:
            transport.close()

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _finish(self, exchange: Exchange, keep: bool) -> None:
        exchange.done = True
        self._current = None
        self._listener.answered(exchange)
        transport = self._transport
        if transport is None:
            return
        if not keep:
            if self.phase != "linger":
                transport.close()
            return
        self.since = self._listener.clock()
        if self._queue:
            self._advance(transport)
        else:
            self.phase = "idle" if self._reading is None else self.phase

    def _advance(self, transport: asyncio.Transport) -> None:
        """Answer what waits; a loop, since thousands of pipelined requests may be answered at once."""
        if self._advancing:
            return
        self._advancing = True
        while self._queue and self._current is None:
            self._begin(self._queue.popleft())
        self._advancing = False
        if len(self._queue) < _PIPELINE and self._writing and not transport.is_closing():
            transport.resume_reading()

    def _gone(self, exchange: Exchange) -> None:
        if not exchange.done:
            exchange.done = True
            if exchange.on_gone is not None:
                exchange.on_gone(exchange)
            else:
                exchange.release()

    def _refuse(self, code: Code, message: str) -> None:
        """Answer what could not be read as a request, and close once the client had a moment to read that."""
        exchange = self._reading or Exchange(self)
        self._reading = None
        exchange.release()
        exchange.keep_alive = False
        if self._current is None and not self._queue:
            self._current = exchange
            self.phase = "linger"
            self._listener.handler.refuse(exchange, Error(message, code=code))
        else:
            # Requests before it are still being answered: the last of them ends the connection.
            (self._queue[-1] if self._queue else self._current).keep_alive = False  # type: ignore[union-attr]
            if self._transport is not None:
                self._transport.pause_reading()


def _too_large(limit: int) -> str:
    return f"the body is larger than {limit} bytes (http.max_body_bytes)"
