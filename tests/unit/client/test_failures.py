"""Error bodies, answers of strangers and broken connections as tiffin.Error."""

from __future__ import annotations

import httpx
import msgspec
import pytest

from tiffin.client.failures import broken_stream, from_answer, from_event, from_transport
from tiffin.client.retry import Reached
from tiffin.errors import FACTS, Code, Error

CALL = "POST http://shop/predict"


def said(**content: object) -> bytes:
    return msgspec.json.encode({"error": {"message": "no", "request_id": "r-1", "retryable": False, **content}})


def test_everything_that_the_server_says_is_kept():
    body = said(code="app.refused", details={"why": [1]}, retryable=True, retry_after_s=0.25)
    failure = from_answer(422, {"retry-after": "1"}, body, CALL)
    error = failure.error
    assert failure.reached is Reached.ANSWERED
    assert (error.code, error.status, error.details, error.retryable) == ("app.refused", 422, {"why": [1]}, True)
    assert (error.retry_after_s, error.request_id) == (0.25, "r-1")
    assert str(error) == error.message == "POST http://shop/predict: no"


@pytest.mark.parametrize("code", list(Code))
def test_every_code_of_the_table_comes_back_as_it_was(code):
    error = from_answer(FACTS[code].status, {}, said(code=code), CALL).error
    assert (error.code, error.status) == (code, FACTS[code].status)


def test_the_header_counts_where_the_body_names_no_wait():
    assert from_answer(503, {"retry-after": "7"}, said(code="OVERLOADED"), CALL).error.retry_after_s == 7


def test_a_code_of_a_later_tiffin_becomes_the_nearest_and_is_named():
    error = from_answer(429, {}, said(code="TOO_COLD", retryable=True), CALL).error
    assert (error.code, error.status, error.retryable) == ("TOO_MANY", 429, True)
    assert "(TOO_COLD)" in str(error)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (301, "INTERNAL"),
        (401, "INVALID_INPUT"),
        (404, "NOT_FOUND"),
        (413, "TOO_LARGE"),
        (500, "INTERNAL"),
        (502, "UNAVAILABLE"),
    ],
)
def test_an_answer_that_is_not_tiffins_is_quoted_and_never_repeated(status, code):
    headers = {"location": "/login"} if status == 301 else {}
    error = from_answer(status, headers, b"<h1>proxy\n says no</h1>" + b"x" * 9999, CALL).error
    assert (error.code, error.status, error.retryable) == (code, status, False)
    assert "not by a Tiffin server: <h1>proxy says no</h1>" in str(error)
    assert len(str(error)) < 500
    assert ("to /login" in str(error)) is (status == 301)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"error": 1}', b'{"error": {}}', b"\xff", b"[" * 100_000])
def test_no_body_makes_reading_an_error_fail(body):
    assert from_answer(500, {}, body, CALL).error.code == "INTERNAL"


def transport(error: httpx.HTTPError, *, idempotent: bool = True, late: bool = False) -> tuple[str, Reached]:
    failure = from_transport(error, CALL, origin="http://shop", idempotent=idempotent, late=late)
    assert str(failure.error).startswith(CALL)
    return failure.error.code, failure.reached


def test_a_refused_connection_says_where_and_what_to_do():
    failure = from_transport(
        httpx.ConnectError("[Errno 111] Connection refused"), CALL, origin="http://shop", idempotent=True, late=False
    )
    assert failure.reached is Reached.NOTHING_SENT
    assert "nothing answers at http://shop ([Errno 111] Connection refused): start the server" in str(failure.error)


def test_how_far_a_call_came_follows_from_what_broke():
    assert transport(httpx.ConnectTimeout("t")) == ("UNAVAILABLE", Reached.NOTHING_SENT)
    assert transport(httpx.ConnectTimeout("t"), late=True) == ("DEADLINE", Reached.NOTHING_SENT)
    assert transport(httpx.ReadTimeout("t")) == ("DEADLINE", Reached.SENT)
    assert transport(httpx.ReadError("reset")) == ("UNAVAILABLE", Reached.SENT)
    assert transport(httpx.RemoteProtocolError("closed")) == ("UNAVAILABLE", Reached.SENT)
    assert transport(httpx.ReadError("reset"), idempotent=False) == ("MAYBE_EXECUTED", Reached.SENT)
    assert transport(httpx.LocalProtocolError("bad header")) == ("INVALID_INPUT", Reached.ANSWERED)
    assert transport(httpx.ReadError("reset"), late=True) == ("DEADLINE", Reached.SENT)


def test_a_stream_that_breaks_off_is_not_taken_for_whole():
    error = broken_stream(httpx.RemoteProtocolError("cut"), CALL, late=False, request_id="r-2")
    assert (error.code, error.retryable, error.request_id) == ("INTERNAL", False, "r-2")
    assert "is not all" in str(error)
    assert broken_stream(httpx.ReadTimeout("t"), CALL, late=False, request_id="").code == "DEADLINE"


def test_error_events():
    error = from_event(said(code="app.no", request_id=""), CALL, "r-3")
    assert (error.code, error.request_id) == ("app.no", "r-3")
    assert isinstance(from_event(b"?", CALL, ""), Error)
