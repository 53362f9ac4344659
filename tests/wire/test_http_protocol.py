"""HTTP/1.1 on one connection, without a socket: what is read, answered, refused, cut off."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.wire.support import Wire, post
from tiffin.config.parts import HttpConfig, LinkConfig
from tiffin.errors import Error
from tiffin.link.arena import Arena
from tiffin.messages.link import Slot
from tiffin.web.exchange import Exchange
from tiffin.web.listener import Listener
from tiffin.web.protocol import Connection


class Notebook:
    """A handler that notes requests and answers when told, or at once."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.at_once = at_once
        self.seen: list[Exchange] = []
        self.refused: list[Error] = []
        self.gone: list[Exchange] = []
        self.flushes: list[int] = []

    def handle(self, exchange: Exchange) -> None:
        self.seen.append(exchange)
        exchange.on_gone = self.gone.append
        if self.at_once:
            exchange.connection.respond(exchange, 200, b"text/plain", bytes(exchange.view()))

    def refuse(self, exchange: Exchange, error: Error) -> None:
        self.refused.append(error)
        exchange.connection.respond(exchange, error.status, b"text/plain", error.message.encode())

    def flushed(self, exchange: Exchange, size: int) -> None:
        self.flushes.append(size)


class Bench:
    """A connection with everything around it, and a clock that stands still."""

    def __init__(self, handler: Notebook | None = None, arena: Arena | None = None, **http: Any) -> None:
        self.now = 100.0
        self.handler = handler or Notebook()
        self.listener = Listener(
            HttpConfig(**http), LinkConfig(arena_threshold_bytes=8), self.handler, arena, lambda: self.now
        )
        self.connection = Connection(self.listener)
        self.wire = Wire()
        self.connection.connection_made(self.wire)

    def feed(self, data: bytes) -> bytes:
        self.connection.data_received(data)
        sent, self.wire.sent = self.wire.sent, b""
        return sent


def test_a_request_in_one_piece_and_byte_by_byte_are_the_same() -> None:
    request = post(body=b'{"x": 1}', extra="X-Request-Id: abc\r\nAccept: */*\r\n")
    whole, pieces = Bench(), Bench()
    whole.feed(request)
    for byte in request:
        pieces.feed(bytes([byte]))
    for bench in (whole, pieces):
        (exchange,) = bench.handler.seen
        assert (exchange.method, exchange.target, exchange.body) == ("POST", b"/predict", b'{"x": 1}')
        assert (exchange.request_id, exchange.accept, exchange.host) == (b"abc", b"*/*", b"localhost")


def test_an_answer_has_its_length_and_the_connection_stays() -> None:
    bench = Bench()
    first = bench.feed(post(body=b"one"))
    assert first.startswith(b"HTTP/1.1 200 OK\r\n") and b"content-length: 3\r\n" in first and first.endswith(b"one")
    assert bench.feed(post(body=b"two")).endswith(b"two")
    assert not bench.wire.closed


def test_connection_close_and_http_1_0_end_the_connection() -> None:
    for request in (post(extra="Connection: close\r\n"), b"GET / HTTP/1.0\r\n\r\n"):
        bench = Bench()
        assert b"connection: close\r\n" in bench.feed(request)
        assert bench.wire.closed


def test_pipelined_requests_are_answered_in_order_and_reading_pauses() -> None:
    bench = Bench(Notebook(at_once=False))
    bench.feed(b"".join(post(body=b"%d" % number) for number in range(20)))
    handler = bench.handler
    assert len(handler.seen) == 1
    assert bench.wire.reading_paused
    for number in range(20):
        exchange = handler.seen[number]
        assert exchange.body == b"%d" % number
        exchange.connection.respond(exchange, 200, b"text/plain", b"%d" % number)
    assert bench.wire.sent.count(b"HTTP/1.1 200") == 20
    assert not bench.wire.reading_paused


def test_thousands_of_pipelined_requests_need_no_deep_stack() -> None:
    bench = Bench(Notebook(at_once=False))
    bench.feed(post(body=b"") * 5000)
    bench.handler.at_once = True
    first = bench.handler.seen[0]
    first.connection.respond(first, 200, b"text/plain", b"")
    assert bench.wire.sent.count(b"HTTP/1.1 200") == 5000


def test_a_large_body_is_written_into_the_arena_once() -> None:
    arena = Arena(1 << 20)
    bench = Bench(Notebook(at_once=False), arena)
    request = post(body=b"x" * 100_000)
    for at in range(0, len(request), 7000):
        bench.feed(request[at : at + 7000])
    (exchange,) = bench.handler.seen
    assert isinstance(exchange.body, Slot)
    assert bytes(exchange.view()) == b"x" * 100_000
    assert (arena.writes, arena.written_bytes) == (1, 100_000)
    exchange.release()
    assert arena.used_bytes == 0


def test_a_full_arena_and_a_chunked_body_use_plain_memory() -> None:
    bench = Bench(Notebook(at_once=False), Arena(4096))
    bench.feed(post(body=b"y" * 9000))
    assert bench.handler.seen[0].body == b"y" * 9000
    chunked = Bench()
    chunked.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert chunked.handler.seen[0].body == b"abcde"


def test_a_client_that_leaves_in_its_upload_gives_the_slot_back() -> None:
    arena = Arena(1 << 20)
    bench = Bench(arena=arena)
    bench.feed(post(body=b"x" * 100_000)[:50_000])
    assert arena.used_bytes
    bench.connection.connection_lost(None)
    assert arena.used_bytes == 0


def test_a_client_that_leaves_while_it_waits_is_reported_once() -> None:
    bench = Bench(Notebook(at_once=False))
    bench.feed(post())
    bench.connection.connection_lost(None)
    assert bench.handler.gone == bench.handler.seen
    bench.connection.respond(bench.handler.seen[0], 200, b"text/plain", b"late")
    assert bench.wire.sent == b""


@pytest.mark.parametrize(
    ("request_bytes", "http", "status"),
    [
        (b"GARBAGE\r\n\r\n", {}, 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", {}, 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {}, 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", {}, 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", {}, 400),
        (b"POST / HTTP/1.1\r\nHost : a\r\n\r\n", {}, 400),
        (b"GET /" + b"a" * 200 + b" HTTP/1.1\r\nHost: a\r\n\r\n", {"max_url_bytes": 100}, 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 20 + b"\r\n", {"max_headers": 10}, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"b" * 2000 + b"\r\n\r\n", {"max_header_bytes": 1000}, 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", {"max_body_bytes": 10}, 413),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nabcdefgh\r\n8\r\nabcdefgh\r\n",
            {"max_body_bytes": 10},
            413,
        ),
    ],
)
def test_what_is_not_a_request_is_refused_and_the_rest_thrown_away(
    request_bytes: bytes, http: dict[str, Any], status: int
) -> None:
    bench = Bench(**http)
    answer = bench.feed(request_bytes)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close\r\n" in answer
    assert bench.wire.ended
    assert bench.feed(post()) == b""
    assert bench.handler.seen == []
    bench.now += 2
    bench.connection.overdue(bench.now)
    assert bench.wire.closed


def test_a_head_that_never_ends_is_refused_by_size() -> None:
    bench = Bench(max_header_bytes=4096)
    bench.feed(b"GET / HTTP/1.1\r\nHost: a\r\n")
    answer = b""
    for _ in range(100):
        answer = answer or bench.feed(b"A: " + b"b" * 100 + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    ("sent", "after_s", "status"),
    [
        (b"GET / HTTP/1.1\r\nHo", 11.0, 408),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", 11.0, 408),
    ],
)
def test_a_slow_client_is_told_and_cut_off(sent: bytes, after_s: float, status: int) -> None:
    bench = Bench()
    bench.feed(sent)
    bench.now += after_s
    bench.connection.overdue(bench.now)
    assert bench.wire.sent.startswith(b"HTTP/1.1 %d " % status)
    bench.now += 2
    bench.connection.overdue(bench.now)
    assert bench.wire.closed


def test_idle_connections_close_and_fresh_ones_sooner() -> None:
    fresh, used = Bench(), Bench()
    used.feed(post())
    for bench in (fresh, used):
        bench.now += 11
        bench.connection.overdue(bench.now)
    assert (fresh.wire.closed, used.wire.closed) == (True, False)
    used.now += 70
    used.connection.overdue(used.now)
    assert used.wire.closed


def test_a_stream_waits_for_a_slow_reader_and_goes_on() -> None:
    bench = Bench(Notebook(at_once=False))
    bench.feed(post())
    exchange = bench.handler.seen[0]
    bench.connection.start_stream(exchange, 200, b"text/event-stream")
    bench.connection.write(exchange, b"abc")
    assert bench.handler.flushes == [3]
    bench.connection.pause_writing()
    bench.connection.write(exchange, b"defg")
    assert bench.handler.flushes == [3]
    bench.connection.resume_writing()
    assert bench.handler.flushes == [3, 4]
    bench.connection.end_stream(exchange)
    assert bench.wire.sent.endswith(b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
    assert b"transfer-encoding: chunked" in bench.wire.sent


def test_a_reader_that_never_reads_is_cut_off() -> None:
    bench = Bench(Notebook(at_once=False), write_timeout_s=5.0)
    bench.feed(post())
    bench.wire.unsent = 200_000
    for _second in range(6):
        bench.now += 1
        bench.connection.overdue(bench.now)
    assert not bench.wire.aborted
    bench.now += 1
    bench.connection.overdue(bench.now)
    assert bench.wire.aborted


def test_expect_continue_is_answered_before_the_body() -> None:
    bench = Bench()
    assert bench.feed(post(body=b"abc", extra="Expect: 100-continue\r\n")[:-3]) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert bench.feed(b"abc").endswith(b"abc")


def test_an_upgrade_is_answered_as_plain_http() -> None:
    bench = Bench()
    answer = bench.feed(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert len(bench.handler.seen) == 1


def test_head_gets_no_body() -> None:
    bench = Bench()
    answer = bench.feed(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.endswith(b"content-length: 0\r\n\r\n")


def test_beyond_the_limit_of_connections_new_ones_are_turned_away() -> None:
    bench = Bench(max_connections=1)
    other, wire = Connection(bench.listener), Wire()
    other.connection_made(wire)
    assert wire.aborted
    assert not bench.wire.aborted


def test_a_long_answer_to_a_slow_reader_is_not_cut_off_while_it_moves() -> None:
    bench = Bench(Notebook(at_once=False), write_timeout_s=5.0)
    bench.feed(post())
    bench.now += 100  # the call itself may take its time
    bench.connection.pause_writing()
    for unsent in range(1_000_000, 0, -10_000):
        bench.wire.unsent = unsent
        bench.now += 1
        bench.connection.overdue(bench.now)
    assert not bench.wire.aborted


def test_a_reader_that_never_reads_is_cut_off_although_it_asks_for_more() -> None:
    bench = Bench(Notebook(at_once=False), write_timeout_s=5.0)
    bench.feed(post() + post()[:20])
    bench.wire.unsent = 1000
    for _second in range(20):
        bench.now += 1
        bench.connection.overdue(bench.now)
    assert bench.wire.aborted


def test_a_closed_connection_whose_client_never_reads_is_cut_off() -> None:
    bench = Bench(write_timeout_s=5.0)
    bench.feed(post(extra="Connection: close\r\n"))
    bench.wire.unsent = 10
    for _second in range(7):
        bench.now += 1
        bench.connection.overdue(bench.now)
    assert bench.wire.aborted


def test_a_request_that_waits_for_the_one_before_it_is_not_overdue() -> None:
    bench = Bench(Notebook(at_once=False))
    bench.feed(post(body=b"one") + post(body=b"two"))
    bench.now += 30
    bench.connection.overdue(bench.now)
    for exchange in bench.handler.seen:  # grows
        bench.connection.respond(exchange, 200, b"text/plain", b"")
    assert len(bench.handler.seen) == 2
    assert not bench.wire.closed


def test_a_body_whose_reading_was_paused_is_not_overdue() -> None:
    bench = Bench(Notebook(at_once=False))
    bench.feed(post(body=b"one") + post(body=b"two")[:-1])
    bench.connection.pause_writing()
    bench.now += 30
    bench.connection.overdue(bench.now)
    bench.connection.resume_writing()
    bench.connection.overdue(bench.now)
    bench.feed(b"o")
    bench.connection.respond(bench.handler.seen[0], 200, b"text/plain", b"")
    assert len(bench.handler.seen) == 2


def test_a_body_that_drips_is_refused() -> None:
    bench = Bench()
    request = post(body=b"x" * 100_000)
    bench.feed(request[:200])
    for at in range(200, 220):
        bench.now += 1
        bench.feed(request[at : at + 1])
        bench.connection.overdue(bench.now)
        if bench.handler.refused:
            break
    assert bench.handler.refused[0].code == "BODY_TIMEOUT"


@pytest.mark.parametrize(
    "request_bytes", [post(body=b"x" * 100_000), post(body=b"x" * 100_000, extra="Connection: close\r\n")]
)
def test_a_body_in_the_arena_that_no_call_takes_over_is_given_back(request_bytes: bytes) -> None:
    arena = Arena(1 << 20)
    bench = Bench(arena=arena)
    assert b" 200 " in bench.feed(request_bytes)
    assert arena.used_bytes == 0


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET / HTTP/0.9\r\nHost: a\r\n\r\n",
        post(body=b"abc", extra="Connection: Upgrade\r\nUpgrade: h2c\r\n"),
    ],
)
def test_framing_that_others_may_read_in_another_way_is_refused(request_bytes: bytes) -> None:
    bench = Bench()
    answer = bench.feed(request_bytes)
    assert answer.startswith(b"HTTP/1.1 400 ") and b"connection: close\r\n" in answer
    assert bench.handler.seen == []


def test_a_chunk_larger_than_the_limit_is_refused() -> None:
    bench = Bench(max_body_bytes=10)
    assert bench.feed(CHUNKED + b"14\r\n" + b"x" * 20 + b"\r\n0\r\n\r\n").startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("framing", [b"a: b\r\n", b"a" * 50])
def test_trailers_and_chunk_extensions_without_end_are_refused(framing: bytes) -> None:
    for begin in (b"0\r\n", b"1;"):
        bench = Bench(max_header_bytes=4096)
        bench.feed(CHUNKED + begin)
        for _ in range(1000):
            bench.feed(framing)
            if bench.handler.refused:
                break
        assert bench.handler.refused


def test_trailers_are_no_headers() -> None:
    bench = Bench()
    bench.feed(CHUNKED + b"0\r\ntraceparent: x\r\n\r\n")
    assert bench.handler.seen[0].header(b"traceparent") == b""


def test_a_body_of_tiny_chunks_is_read_whole() -> None:
    bench = Bench()
    for piece in (CHUNKED, *[b"1\r\nx\r\n"] * 50_000, b"0\r\n\r\n"):
        bench.connection.data_received(piece)
    assert bench.handler.seen[0].body == b"x" * 50_000


def test_an_upgrade_that_is_not_followed_ends_the_connection() -> None:
    bench = Bench()
    answer = bench.feed(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    assert b"connection: close\r\n" in answer and bench.wire.closed


def test_continue_is_not_written_into_another_answer() -> None:
    bench = Bench(Notebook(at_once=False))
    bench.feed(post())
    bench.connection.start_stream(bench.handler.seen[0], 200, b"text/event-stream")
    assert b"100 Continue" not in bench.feed(post(body=b"abc", extra="Expect: 100-continue\r\n"))


def test_what_follows_the_last_request_is_not_run() -> None:
    bench = Bench()
    bench.feed(post(extra="Connection: close\r\n") + post())
    assert len(bench.handler.seen) == 1


def test_a_stop_answers_requests_that_were_sent_before_it_was_told() -> None:
    bench = Bench(Notebook(at_once=False))
    bench.feed(post(body=b"one") + post(body=b"two") + post(body=b"three")[:-2])
    bench.listener.stopping = True
    for number, exchange in enumerate(bench.handler.seen):  # grows
        if number == 1:
            bench.connection.data_received(b"ee")
        bench.connection.respond(exchange, 200, b"text/plain", b"")
    assert bench.wire.sent.count(b" 200 ") == 3
    assert bench.wire.sent.count(b"connection: close") == 1
    assert bench.wire.closed


def test_an_idle_connection_whose_request_has_arrived_is_not_closed() -> None:
    bench = Bench()
    bench.feed(post())
    os.write(bench.wire.client, b"P")
    bench.connection.close_idle()
    assert not bench.wire.closed
    os.read(bench.wire.socket, 1)
    bench.connection.close_idle()
    assert bench.wire.closed


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_gets_none(status: int) -> None:
    bench = Bench(Notebook(at_once=False))
    bench.feed(post())
    bench.connection.respond(bench.handler.seen[0], status, b"text/plain", b"body")
    assert bench.wire.sent.endswith(b"\r\n\r\n")


def test_a_stop_leaves_a_new_connection_time_to_send_its_request() -> None:
    bench = Bench()
    bench.connection.close_idle()
    assert not bench.wire.closed
    bench.now += 1
    bench.connection.close_idle()
    assert bench.wire.closed
