"""What a member's call ends with when it went wrong, and the line in the worker's log.

Owns the words of those failures; never sends one. A client sees the exception's type and message, never a stack trace.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable, Iterable
from pathlib import Path

import msgspec

from tiffin.errors import FACTS, Code, Error
from tiffin.messages.link import Failure, Open
from tiffin.worker.device_errors import classify

_MESSAGE_LIMIT = 2_000
_KINDS = 1_000
_OWN_FOLDER = str(Path(__file__).parent)
_log = logging.getLogger("tiffin.worker")


class Again:
    """Tells the first of many equal things within a second."""

    def __init__(self) -> None:
        self._until: dict[Hashable, float] = {}

    def first(self, thing: Hashable, now: float) -> bool:
        """Say whether the thing was not seen in the last second."""
        if self._until.get(thing, 0.0) > now:
            return False
        if len(self._until) > _KINDS:
            self._until.clear()
        self._until[thing] = now + 1.0
        return True


_again = Again()


def failure(stream: int, error: Error) -> Failure:
    """Return the message that says `error`."""
    details = b""
    if error.details is not None:
        try:
            details = msgspec.json.encode(error.details, enc_hook=repr)
        except (TypeError, ValueError, RecursionError):  # the message still reaches the client
            details = msgspec.json.encode(repr(error.details)[:_MESSAGE_LIMIT])
    return Failure(
        stream,
        str(error.code),
        str(error.message)[:_MESSAGE_LIMIT],
        error.status,
        error.retryable,
        error.retry_after_s or 0.0,
        details,
    )


def system_failure(stream: int, code: Code, message: str) -> Failure:
    """Return the message for a failure that the worker itself reports."""
    facts = FACTS[code]
    return Failure(stream, code.value, message[:_MESSAGE_LIMIT], facts.status, facts.retryable)


def method_failure(stream: int, method: str, error: BaseException) -> Failure:
    """Return the message for an exception that a method raised.

    Args:
        stream: of the call. method: its name. error: a `tiffin.Error` is the user's own answer, anything else a failure of
            the method.
    """
    if isinstance(error, Error):
        return failure(stream, error)
    kind = classify(error)
    if kind == "out_of_memory":
        return system_failure(stream, Code.OUT_OF_MEMORY, f"method {method!r} ran out of memory: {describe(error)}")
    if kind == "dead_device":  # in a process that is not a worker's: there the worker has ended by now
        words = f"method {method!r} failed: {describe(error)}; this process can use the device no more, start it again"
        return system_failure(stream, Code.METHOD_FAILED, words)
    return system_failure(stream, Code.METHOD_FAILED, f"method {method!r} failed: {describe(error)}")


def describe(error: BaseException) -> str:
    """Return an exception's type and message; one whose own text cannot be made is named all the same."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # wall: the user's __str__ may raise anything
        text = ""
    return f"{name}: {text}" if text else name


def bad_output(stream: int, method: str, error: Exception) -> Failure:
    """Return the failure of a call whose result cannot be sent."""
    if isinstance(error, Error):
        return failure(stream, error)
    return system_failure(
        stream, Code.BAD_OUTPUT, f"method {method!r} returned what cannot be sent: {type(error).__name__}: {error}"
    )


def log_failure(method: str, members: Iterable[Open], error: BaseException) -> None:
    """Write the traceback of a method's exception, from the user's first line on, with the request ids.

    Where one place fails at every call, its traceback is written once a second and in between a line for each call.
    """
    ids = [member.request_id or str(member.stream) for member in members]
    shown = ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER):
        trace = trace.tb_next
    place = None if trace is None else (trace.tb_frame.f_code, trace.tb_lineno)
    if not _again.first((method, type(error), place), time.monotonic()):
        _log.error("method %r failed, request %s: %s, as above", method, shown, describe(error)[:_MESSAGE_LIMIT])
        return
    _log.error("method %r failed, request %s", method, shown, exc_info=(type(error), error, trace))
