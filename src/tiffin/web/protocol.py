"""HTTP/1.1 on one connection: bytes → Exchange, answer → bytes, limits, keep-alive, back-pressure.

Owns the transport and the parser of one client; never routes and never knows a method. Drives httptools (llhttp) directly: see
docs/decisions/001. Times are CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from typing import TYPE_CHECKING

import httptools

from tiffin.errors import Code, Error
from tiffin.web.exchange import Exchange
from tiffin.web.heads import stream_head, whole_head
from tiffin.web.request_head import read_head, too_large

if TYPE_CHECKING:
    from tiffin.web.listener import Listener

_HIGH_WATER_BYTES = 131_072
_LARGE_BYTES = 524_288
_PIPELINE = 16
_LINGER_S = 1.0
_FRESH_S = 0.5
_BODY_RATE = 1_024  # bytes per second that a body must arrive with, on average
_FRAMING = 16  # bytes that may arrive for each byte of a chunked body: more is nothing but framing
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
        "_advancing", "_current", "_head_bytes", "_listener", "_moved", "_parser", "_queue", "_reading", "_round",
        "_transport", "_unsent", "_writing", "phase", "since",
    )  # fmt: skip

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._reading: Exchange | None = None  # being parsed
        self._current: Exchange | None = None  # being answered
        self._queue: deque[Exchange] = deque()  # read while another is being answered
        self._head_bytes = 0
        self._round = 0  # bytes of a body since others had the loop
        self._writing = True
        self._advancing = False
        self._unsent = 0  # bytes that waited to be sent when the listener last looked
        self._moved = 0.0  # since when it was so many
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
        reading = self._reading
        if reading is not None:
            self.since = self._listener.clock()
            limit = self._listener.http.max_header_bytes
            if self.phase == "head":
                self._head_bytes += len(data)
                if self._head_bytes > limit:
                    self._refuse(Code.HEADERS_TOO_LARGE, "the request head is too large")
                    return
            elif reading.content_length < 0:
                # Neither chunk extensions nor trailers reach `on_body`, and their number has no end.
                if self._head_bytes > limit + _FRAMING * reading.body_size:
                    self._refuse(Code.INVALID_INPUT, "the chunked body is nearly all framing")
                    return
                self._head_bytes += len(data)
            self._round += len(data)
            if self._round >= _LARGE_BYTES and self._transport is not None:
                # Let the others have the loop: libuv would read on from a client as fast as this one for tens of milliseconds.
                self._transport.pause_reading()
                asyncio.get_running_loop().call_soon(self._go_on)
                self._round = 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # it is handled as plain HTTP/1.1 and the last of its connection: see `read_head`
        except httptools.HttpParserCallbackError as error:
            cause = error.__cause__ or error.__context__
            if not isinstance(cause, Error):
                raise
            self._refuse(Code(cause.code), cause.message)
        except httptools.HttpParserError as error:
            self._refuse(Code.INVALID_INPUT, f"not a valid HTTP/1.1 request: {error}")

    def _go_on(self) -> None:
        if self._transport is not None and self._writing and len(self._queue) < _PIPELINE:
            self._transport.resume_reading()

    def eof_received(self) -> bool:
        """The client left: close (asyncio calls this).

        A client that only ended its own side looks the same; its calls end too, else none of a client that left would.
        """
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
        if exchange is not None and self.phase == "head":  # a trailer is nobody's
            exchange.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Look at the headers that matter to every request and prepare for the body (httptools calls this)."""
        exchange = self._reading
        if exchange is None:
            return
        listener = self._listener
        parser = self._parser
        exchange.method = parser.get_method().decode("ascii", "replace")
        expects = read_head(exchange, listener.http, parser.get_http_version(), upgrade=parser.should_upgrade())
        exchange.keep_alive = exchange.keep_alive and parser.should_keep_alive()
        self.phase = "body"
        length = exchange.content_length
        if length > listener.http.max_body_bytes:
            raise too_large(listener.http.max_body_bytes)
        if length >= listener.arena_threshold and listener.arena is not None:
            slot = listener.arena.allocate(length)
            if slot is not None:
                exchange.arena = listener.arena
                exchange.body = slot
        # Not into the answer to an earlier request; without it the client sends its body a little later.
        if expects and self._transport is not None and self._current is None:
            self._transport.write(_CONTINUE)

    def on_body(self, data: bytes) -> None:
        """Collect a piece of the body: into the arena if a slot was had (httptools calls this)."""
        exchange = self._reading
        if exchange is None:
            return
        exchange.collect(data)
        limit = self._listener.http.max_body_bytes
        if exchange.arena is None and exchange.body_size > limit:
            raise too_large(limit)

    def on_message_complete(self) -> None:
        """Answer the request, or let it wait for the one before it (httptools calls this)."""
        exchange = self._reading
        if exchange is None:
            return
        self._reading = None
        transport = self._transport
        if transport is None or transport.is_closing():  # sent after a request that was to be the last
            exchange.release()
            return
        exchange.complete()
        if self._current is None:
            self._begin(exchange)
        else:
            self.phase = "answer"
            self._queue.append(exchange)
            if len(self._queue) >= _PIPELINE:
                transport.pause_reading()

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
        size, exchange.status = len(body), status
        if exchange.method == "HEAD" or status in {204, 304}:
            body = b""
        listener = self._listener
        keep = exchange.keep_alive and (not listener.stopping or self._more())
        head = whole_head(exchange, status, listener.date_line, media, size, keep=keep)
        # Joining them would copy the body: no matter for a small one, for a large one the loop stands still.
        transport.writelines((head, body)) if size > _LARGE_BYTES else transport.write(head + body)
        self._finish(exchange, keep)

    def start_stream(self, exchange: Exchange, status: int, media: bytes) -> None:
        """Send the head of an answer whose pieces follow."""
        transport = self._transport
        if exchange.done or transport is None:
            return
        exchange.streaming = True
        exchange.status = status
        if self._listener.stopping and not self._more():
            exchange.keep_alive = False
        keep = exchange.keep_alive
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
        self._finish(exchange, exchange.keep_alive)  # what the head said; a stop closes it when it is idle

    def abort(self) -> None:
        """Cut the connection: the client must not take a broken answer for a whole one."""
        if self._transport is not None:
            self._transport.abort()

    def close_idle(self) -> None:
        """Close if no request is being read or answered, waits in the kernel, or is sure to come: who connects has one to send."""
        transport = self._transport
        fresh = self.phase == "new" and self._listener.clock() - self.since < _FRESH_S
        if transport is None or self._current is not None or self._more() or fresh:
            return
        kernel = select.poll()
        kernel.register(transport.get_extra_info("socket"), select.POLLIN)
        if not kernel.poll(0):
            transport.close()

    def overdue(self, now: float) -> None:
        """Act on a client that takes too long for what it should do next (the listener calls this each second)."""
        http = self._listener.http
        transport = self._transport
        if transport is None:
            return
        unsent = transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent = unsent
            self._moved = now
        elif unsent and now - self._moved > http.write_timeout_s:
            self.abort()
            return
        reading = self._reading
        waited = now - self.since
        if reading is not None:
            if not transport.is_reading():  # it is us who keep it waiting
                self.since = reading.started = now
            elif self.phase == "head":
                if now - reading.started > http.header_timeout_s:
                    self._refuse(
                        Code.BODY_TIMEOUT, f"the request head did not arrive within {http.header_timeout_s:g} s"
                    )
            elif waited > http.body_timeout_s:
                self._refuse(Code.BODY_TIMEOUT, f"the request body paused for over {http.body_timeout_s:g} s")
            elif reading.body_size < (now - reading.started - http.body_timeout_s) * _BODY_RATE:
                self._refuse(Code.BODY_TIMEOUT, f"the request body arrived more slowly than {_BODY_RATE} bytes/s")
        elif (
            self.phase != "answer"
            and waited > ({"idle": http.keep_alive_s, "new": http.header_timeout_s, "linger": _LINGER_S}[self.phase])
        ):
            transport.close()

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _finish(self, exchange: Exchange, keep: bool) -> None:
        exchange.done = True
        self._current = None
        if exchange.arena is not None:
            exchange.release()  # a body that no call took over
        self._listener.answered(exchange)
        transport = self._transport
        if transport is None:
            return
        if not keep:
            if self.phase != "linger":
                transport.close()
            elif transport.can_write_eof():
                transport.write_eof()  # it need not wait for us to have heard it out
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

    def _more(self) -> bool:
        """Whether the client has sent, or begun to send, another request: it could not know yet that it should not."""
        return bool(self._queue) or self._reading is not None

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
        self.since = self._listener.clock()
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._current is None and not self._queue:
            self._current = exchange
            self.phase = "linger"
            self._listener.handler.refuse(exchange, Error(message, code=code))
        else:
            # Requests before it are still being answered: the last of them ends the connection.
            self.phase = "answer"
            (self._queue[-1] if self._queue else self._current).keep_alive = False  # type: ignore[union-attr]
            transport.pause_reading()
