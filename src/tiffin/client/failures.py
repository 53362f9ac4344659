"""What goes wrong with a call, as `tiffin.Error`: error bodies, answers of strangers, broken connections, time that ran out.

Owns the messages; never retries and never does I/O. httpx's exceptions are told apart by their class names' meaning here only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from tiffin.client.retry import Failure, Reached, retry_after
from tiffin.errors import FACTS, Code, Error

_SHOWN = 300  # characters of a stranger's answer that an error quotes


class _Body(msgspec.Struct):
    code: str
    message: str = ""
    request_id: str = ""
    retryable: bool = False
    retry_after_s: float | None = None
    details: Any = None


class _Envelope(msgspec.Struct):
    error: _Body


_decode = msgspec.json.Decoder(_Envelope).decode


def from_answer(status: int, headers: Mapping[str, str], body: bytes | bytearray, call: str) -> Failure:
    """Return what an answer with an error status says.

    Args:
        status: HTTP status. headers: lower-case names. body: all of it. call: what was asked for ("POST http://…/predict").
    """
    after = retry_after(headers["retry-after"]) if "retry-after" in headers else None
    try:
        said = _decode(body).error
    except (msgspec.MsgspecError, RecursionError):
        return Failure(_stranger(status, headers, bytes(body), call, after), Reached.ANSWERED)
    return Failure(_error(said, status, headers, call, after), Reached.ANSWERED)


def from_event(data: bytes, call: str, request_id: str) -> Error:
    """Return the error that an `error` event of a stream says."""
    try:
        said = _decode(data).error
    except (msgspec.MsgspecError, RecursionError):
        return Error(
            f"{call}: the stream ended with an error that cannot be read: {data[:_SHOWN]!r}", code=Code.INTERNAL
        )
    return _error(said, 500, {"x-request-id": request_id}, call, None)


def _error(said: _Body, status: int, headers: Mapping[str, str], call: str, after: float | None) -> Error:
    code, known = said.code, said.code in Code.__members__ or said.code.startswith("app.")
    if not known:
        code = _code_of(status)  # it is a later Tiffin's
    error = Error(
        f"{call}: {said.message or said.code}" + ("" if known else f" ({said.code})"),
        code=code,
        status=status if 400 <= status <= 599 else 500,
        details=said.details,
        retryable=said.retryable,
        retry_after_s=after if said.retry_after_s is None else said.retry_after_s,
        request_id=said.request_id or headers.get("x-request-id", ""),
    )
    if not known:
        error.status = status
    return error


def _stranger(status: int, headers: Mapping[str, str], body: bytes, call: str, after: float | None) -> Error:
    """Return the error for an answer that is not Tiffin's: a proxy's, or another server's."""
    text = " ".join(body[: 4 * _SHOWN].decode("utf-8", "replace").split())[:_SHOWN]
    where = f" to {headers['location']}" if "location" in headers else ""
    error = Error(
        f"{call}: answered {status}{where}, not by a Tiffin server{': ' + text if text else ''}",
        code=_code_of(status),
        retryable=False,
        retry_after_s=after,
        request_id=headers.get("x-request-id", ""),
    )
    error.status = status
    return error


def _code_of(status: int) -> str:
    """Return the code that means about what a status means."""
    for code, facts in FACTS.items():
        if facts.status == status and status not in (500, 503):
            return code
    if status in (502, 503):
        return Code.UNAVAILABLE
    return Code.INVALID_INPUT if 400 <= status < 500 else Code.INTERNAL


def from_transport(error: httpx.HTTPError, call: str, *, origin: str, idempotent: bool, late: bool) -> Failure:
    """Return what an exception of the HTTP library means.

    Args:
        error: the exception. call: what was asked for. origin: the server's address.
        idempotent: whether the method may run twice. late: the call's time is over.
    """
    failure = _failure(error, call, origin, idempotent=idempotent, late=late)
    failure.error.__cause__ = error
    return failure


def _failure(error: httpx.HTTPError, call: str, origin: str, *, idempotent: bool, late: bool) -> Failure:
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol):
        return Failure(Error(f"{call}: it cannot be sent: {reason}", code=Code.INVALID_INPUT), Reached.ANSWERED)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.ProxyError):
        if late:
            return Failure(deadline(call, "no connection could be made"), Reached.NOTHING_SENT)
        told = Error(
            f"{call}: nothing answers at {origin} ({reason}): start the server there (tiffin serve), or mend the address",
            code=Code.UNAVAILABLE,
        )
        return Failure(told, Reached.NOTHING_SENT)
    if late or isinstance(error, httpx.TimeoutException):
        return Failure(deadline(call, "the answer was not complete"), Reached.SENT)
    if idempotent:
        return Failure(Error(f"{call}: the connection broke off ({reason})", code=Code.UNAVAILABLE), Reached.SENT)
    message = f"{call}: the connection broke off ({reason}); the method may have run, and it must not run twice"
    return Failure(Error(message, code=Code.MAYBE_EXECUTED), Reached.SENT)


def broken_stream(error: httpx.HTTPError, call: str, *, late: bool, request_id: str) -> Error:
    """Return the error for a stream that ended before its end: what came of it may not be all."""
    if late or isinstance(error, httpx.TimeoutException):
        return deadline(call, "the stream was not at its end")
    told = Error(
        f"{call}: the stream broke off ({str(error) or type(error).__name__}); what was received is not all, "
        f"and the server's log tells more under request {request_id or '(unknown)'}",
        code=Code.INTERNAL,
        request_id=request_id,
    )
    told.retryable = False
    return told


def not_ready(url: str, timeout_s: float, reason: str) -> Error:
    """Return the error for a server that was waited for in vain."""
    return Error(
        f"{url} was not ready within {timeout_s:g} s (server_ready_timeout): {reason}",
        code=Code.UNAVAILABLE,
    )


def deadline(call: str, what: str) -> Error:
    """Return the error for a call whose time is over on this side."""
    return Error(f"{call}: {what} within the client's timeout: give it more time (timeout=…)", code=Code.DEADLINE)
