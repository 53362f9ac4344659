"""The waiting client, on a made-up server: what it sends, when it sends it again, what comes of it."""

from __future__ import annotations

import copy
import time
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

import tiffin
from tests.unit.client.shop import METHODS, SHOP, Server, failed, method, ok, schema
from tiffin.errors import Error, UsageError

BUSY: dict[str, Any] = {"retryable": True, "retry_after_s": 2.0}


def test_a_call_is_one_post_with_the_time_that_it_has():
    server = Server(ok([[2, 4]]))
    found = server.client(timeout=5, token="t", headers={"X-Who": "me"}).predict(images=[[1, 2]])
    assert found.tolist() == [[2, 4]]
    (request,) = server.requests
    assert (request.method, str(request.url), request.content) == ("POST", "http://shop/predict", b'{"images":[[1,2]]}')
    assert request.headers["content-length"] == "18"
    assert 4000 < int(request.headers["tiffin-timeout-ms"]) <= 5000
    assert (request.headers["authorization"], request.headers["x-who"]) == ("Bearer t", "me")
    assert request.headers["user-agent"].startswith("tiffin/")


def test_the_time_of_a_call_is_the_users_word_or_the_methods_own_deadline_or_a_minute():
    known = schema(method("slow", timeout_s=600), method("plain"))
    for options, name, least, most in (
        ({}, "slow", 590_000, 600_000),
        ({}, "plain", 59_000, 60_000),
        ({"timeout": 5}, "slow", 4_000, 5_000),
    ):
        server = Server(ok(1))
        server.client(known=known, **options).call(name)
        assert least < int(server.requests[0].headers["tiffin-timeout-ms"]) <= most


def test_without_a_timeout_the_servers_counts():
    server = Server(ok(1))
    server.client(timeout=None).once(x=1)
    assert "tiffin-timeout-ms" not in server.requests[0].headers


def test_a_method_may_answer_with_another_good_status():
    created = httpx.Response(201, headers={"content-type": "application/json"}, content=b"9")
    assert Server(created).client().pay(x=1) == 9
    assert Server(httpx.Response(204)).client().pay(x=1) is None


def test_a_large_body_is_sent_in_pieces_with_its_length_and_again_from_the_start():
    images = np.ones((100_000, 2), "float32")
    server = Server(failed(503, "OVERLOADED", retryable=True), ok([]))
    server.client().predict(images)
    first, second = server.requests
    assert first.content == second.content
    assert int(first.headers["content-length"]) == len(first.content) > images.nbytes
    assert "transfer-encoding" not in first.headers


def test_a_busy_server_is_asked_again_after_the_time_that_it_names():
    server = Server(
        failed(503, "OVERLOADED", **BUSY), failed(429, "TOO_MANY", retryable=True, headers={"retry-after": "3"}), ok(7)
    )
    assert server.client().pay(x=1) == 7
    assert [round(one) for one in server.slept] == [2, 3]
    assert all(slept >= asked for slept, asked in zip(server.slept, (2, 3), strict=True))


def test_three_attempts_and_the_last_error_says_so():
    server = Server(*(failed(503, "OVERLOADED", retryable=True) for _ in range(3)))
    with pytest.raises(Error, match="POST http://shop/pay: no") as caught:
        server.client().pay(x=1)
    assert (caught.value.code, caught.value.request_id) == ("OVERLOADED", "r-1")
    assert caught.value.__notes__ == ["sent 3 times"]
    assert len(server.requests) == 3


def test_retries_can_be_switched_off():
    server = Server(failed(503, "OVERLOADED", retryable=True))
    with pytest.raises(Error):
        server.client(retries=0).pay(x=1)
    assert server.slept == []


def test_what_is_not_worth_another_try_fails_at_once():
    server = Server(failed(400, "INVALID_INPUT", details=[{"path": "x", "reason": "no"}]))
    with pytest.raises(Error) as caught:
        server.client().pay(x="a")
    assert caught.value.details == [{"path": "x", "reason": "no"}]
    assert len(server.requests) == 1


def test_a_wait_past_the_timeout_is_not_begun():
    server = Server(failed(503, "OVERLOADED", **BUSY))
    with pytest.raises(Error, match="no"):
        server.client(timeout=1.5).pay(x=1)
    assert server.slept == []


def test_a_broken_connection_is_tried_again_unless_the_method_must_not_run_twice():
    server = Server(httpx.ReadError("reset"), ok(1))
    assert server.client().pay(x=1) == 1
    server = Server(httpx.ReadError("reset"))
    with pytest.raises(Error, match="may have run") as caught:
        server.client().once(x=1)
    assert caught.value.code == "MAYBE_EXECUTED"
    server = Server(httpx.ConnectError("refused"), failed(503, "STARTING", retryable=True), ok(1))
    assert server.client().once(x=1) == 1


def test_an_answer_that_breaks_off_is_tried_again():
    class Cut(httpx.SyncByteStream):
        def __iter__(self):
            yield b"["
            raise httpx.RemoteProtocolError("cut")

    server = Server(httpx.Response(200, stream=Cut()), ok(3))
    assert server.client().pay(x=1) == 3


def test_an_answer_that_drips_past_the_timeout_is_given_up(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    class Drip(httpx.SyncByteStream):
        def __iter__(self):
            while True:
                now[0] += 0.4
                yield b"1"

    server = Server(httpx.Response(200, stream=Drip()))
    with pytest.raises(Error, match="within the client's timeout") as caught:
        server.client(timeout=1).pay(x=1)
    assert caught.value.code == "DEADLINE"
    assert now[0] == pytest.approx(1.2)


def test_an_answer_that_cannot_be_read_is_an_error_with_the_request():
    server = Server(
        httpx.Response(200, headers={"content-type": "application/json", "x-request-id": "r-9"}, content=b"<")
    )
    with pytest.raises(Error, match="the answer cannot be read") as caught:
        server.client().pay(x=1)
    assert (caught.value.code, caught.value.request_id) == ("BAD_OUTPUT", "r-9")


# -- streams ---------------------------------------------------------------------------------------------------------------


class Pieces(httpx.SyncByteStream):
    def __init__(self, *pieces: bytes) -> None:
        self.pieces, self.sent, self.closed = pieces, 0, False

    def __iter__(self):
        for piece in self.pieces:
            self.sent += 1
            yield piece

    def close(self) -> None:
        self.closed = True


def events(pieces: Pieces) -> httpx.Response:
    return httpx.Response(200, headers={"content-type": "text/event-stream", "x-request-id": "r-5"}, stream=pieces)


def test_items_come_one_by_one_and_the_stream_is_closed_at_its_end():
    pieces = Pieces(b"data: a\n\n", b"data: b\n\n")
    stream = Server(events(pieces)).client().tokens(n=2)
    assert (next(stream), pieces.sent) == ("a", 1)
    assert list(stream) == ["b"]
    assert pieces.closed
    assert stream.request_id == "r-5"


@pytest.mark.parametrize("how", ["close", "with", "drop"])
def test_an_abandoned_stream_is_closed(how):
    pieces = Pieces(b"data: a\n\n", b"data: b\n\n")
    stream = Server(events(pieces)).client().tokens(n=2)
    assert next(stream) == "a"
    if how == "close":
        stream.close()
    elif how == "with":
        with stream:
            pass
    del stream
    assert (pieces.closed, pieces.sent) == (True, 1)


def test_a_stream_is_tried_again_before_it_begins_and_never_after():
    server = Server(
        failed(503, "OVERLOADED", retryable=True), events(Pieces(b"data: a\n\nevent: error\ndata: " + error_event()))
    )
    stream = server.client().tokens(n=2)
    assert next(stream) == "a"
    with pytest.raises(Error, match="no") as caught:
        next(stream)
    assert caught.value.code == "OVERLOADED"
    assert len(server.requests) == 2


def error_event() -> bytes:
    return msgspec.json.encode({"error": {"code": "OVERLOADED", "message": "no", "retryable": True}}) + b"\n\n"


# -- the client itself -----------------------------------------------------------------------------------------------------


def test_the_schema_is_fetched_once_when_it_is_needed():
    text = msgspec.json.encode({"format": 1, "service": "Shop", "methods": list(METHODS)})
    server = Server(httpx.Response(200, content=text), ok(1), ok(2))
    client = server.client(known=None)
    assert server.requests == []
    assert (client.pay(x=1), client.call("pay", 2)) == (1, 2)
    assert [request.url.path for request in server.requests] == ["/schema.json", "/pay", "/pay"]


def test_what_is_no_tiffin_server_is_said():
    with pytest.raises(Error, match=r"has no /schema\.json, so what listens there is no Tiffin server"):
        Server(httpx.Response(404, content=b"nginx")).client(known=None).pay(x=1)
    with pytest.raises(UsageError, match="no description of a Tiffin service"):
        Server(httpx.Response(200, content=b"<html>")).client(known=None).pay(x=1)


def test_a_method_whose_name_the_client_has_is_called_by_name():
    server = Server(ok(5))
    client = server.client()
    assert client.call("close", [1, 2]) == 5
    client.close()
    assert len(server.requests) == 1


def test_names_that_python_asks_for_are_not_looked_up_at_the_server():
    client = Server().client(known=None)
    assert not hasattr(client, "__deepcopy__")
    assert copy.copy(client).url == "http://shop"
    with pytest.raises(AttributeError):
        _ = client._predict


def test_a_method_looks_like_a_function():
    client = Server().client()
    assert (client.predict.__name__, client.predict.__doc__) == ("predict", "Double the images.\n\nEach row.")
    assert "predict" in dir(client)


def test_options_of_a_few_calls():
    server = Server(ok(1), ok(2))
    client = server.client(token="t", timeout=50)
    assert client.with_options(timeout=3, headers={"x-a": "1"}).pay(x=1) == 1
    client.pay(x=1)
    first, second = server.requests
    assert int(first.headers["tiffin-timeout-ms"]) <= 3000 < int(second.headers["tiffin-timeout-ms"])
    assert (first.headers["x-a"], first.headers["authorization"]) == ("1", "Bearer t")
    assert "x-a" not in second.headers
    with pytest.raises(TypeError, match="not timeouts"):
        client.with_options(timeouts=3)


def test_readiness():
    ready, starting = (
        httpx.Response(200, json={"ready": True}),
        httpx.Response(503, json={"ready": False, "reason": "starting"}),
    )
    assert Server(ready).client().is_ready() is True
    assert Server(starting).client().is_ready() is False
    assert Server(httpx.ConnectError("refused")).client().is_ready() is False


def test_the_first_call_waits_for_the_server():
    text = msgspec.json.encode({"format": 1, "service": "Shop", "methods": list(METHODS)})
    refused, busy = httpx.ConnectError("refused"), httpx.Response(503, json={"ready": False})
    server = Server(refused, busy, ok({}), httpx.Response(200, content=text), ok(1))
    assert server.client(known=None, server_ready_timeout=5).pay(x=1) == 1
    assert len(server.slept) == 2


def test_a_server_that_is_not_ready_in_time_is_said_with_its_reason(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    server = Server(*[httpx.ConnectError("refused")] * 99)
    client = server.client(known=None, server_ready_timeout=1)
    client._sleep = lambda seconds: now.__setitem__(0, now[0] + seconds)
    with pytest.raises(Error, match=r"not ready within 1 s \(server_ready_timeout\).*refused"):
        client.pay(x=1)


@pytest.mark.parametrize("url", ["127.0.0.1:3000", "localhost", "ftp://host", "http://", "http://host/?a=1"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(UsageError) as caught:
        tiffin.SyncHTTPClient(url)
    assert caught.value.hint


@pytest.mark.parametrize(
    "wrong",
    [{"headers": {"a": "b\r\nc"}}, {"token": "ключ"}, {"timeout": 0}, {"timeout": float("nan")}, {"retries": -1}],
)
def test_options_that_cannot_be_meant_are_refused(wrong):
    with pytest.raises(UsageError):
        tiffin.SyncHTTPClient("http://shop", schema=SHOP, **wrong)


def test_a_path_prefix_is_kept():
    server = Server(ok(1))
    client = tiffin.SyncHTTPClient("http://shop/api/", schema=SHOP, transport=httpx.MockTransport(server))
    client.pay(x=1)
    assert server.requests[0].url.path == "/api/pay"
