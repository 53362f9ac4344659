"""Whether and when a failed call is sent again.

Owns the rules, as one pure function; never waits and never sends. Times in seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

import msgspec

from tiffin.errors import Code, Error


class Reached(Enum):
    """How far a call came before it failed."""

    NOTHING_SENT = "nothing sent"  # no connection, so the server cannot have seen it
    SENT = "sent"  # the server may have run it, and did not say
    ANSWERED = "answered"  # the server said what went wrong


class Failure(msgspec.Struct, frozen=True):
    """An attempt that failed: why, and how far it came."""

    error: Error
    reached: Reached


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How persistent a client is.

    Attributes:
        retries: further attempts after the first. base_s: first back-off, doubled with each attempt. max_s: longest back-off.
    """

    retries: int = 2
    base_s: float = 0.1
    max_s: float = 5.0


# What the server says when it has not run anything, so that a call which must not run twice may be sent again.
_NOT_RUN = frozenset(
    (
        Code.BODY_TIMEOUT,
        Code.TOO_MANY,
        Code.NOT_STARTED,
        Code.STARTING,
        Code.STOPPING,
        Code.OVERLOADED,
        Code.UNAVAILABLE,
    )
)


def may_repeat(failure: Failure, *, idempotent: bool) -> bool:
    """Say whether a call that failed so may be sent again at all.

    Args:
        failure: what happened. idempotent: whether the method may run twice.
    """
    if failure.reached is Reached.NOTHING_SENT:
        return True
    if failure.reached is Reached.SENT:
        return idempotent
    error = failure.error
    # A service that calls its own error retryable has decided; the system's errors may come from half a run.
    return error.retryable and (idempotent or error.code.startswith("app.") or error.code in _NOT_RUN)


def next_delay(
    policy: RetryPolicy, failure: Failure, *, attempt: int, idempotent: bool, remaining_s: float | None, chance: float
) -> float | None:
    """Return how long to wait before the next attempt, None where the failure is final.

    Args:
        policy: how persistent. failure: of the last attempt. attempt: its number, from 1.
        idempotent: whether the method may run twice. remaining_s: of the call's time, None for no limit.
        chance: from 0 up to 1, spreads clients that failed together.
    """
    if attempt > policy.retries or not may_repeat(failure, idempotent=idempotent):
        return None
    backoff = min(policy.base_s * 2 ** (attempt - 1), policy.max_s)
    asked = failure.error.retry_after_s
    # Never sooner than the server asks; a quarter of the back-off on top keeps clients apart that were told the same.
    delay = backoff * (0.5 + 0.5 * chance) if not asked else asked + backoff * 0.25 * chance
    return None if remaining_s is not None and delay >= remaining_s else delay


def retry_after(header: str, now: datetime | None = None) -> float | None:
    """Return the seconds that a Retry-After header asks for, None where it says nothing that can be read.

    Args:
        header: seconds or an HTTP date. now: the present, for a date.
    """
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - (now or datetime.now(UTC))).total_seconds())
