"""Whether and when a call is sent again: the whole table, and what holds for every failure."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.client.retry import Failure, Reached, RetryPolicy, may_repeat, next_delay, retry_after
from tiffin.errors import FACTS, Code, Error

POLICY = RetryPolicy()
NOT_RUN = {"BODY_TIMEOUT", "TOO_MANY", "NOT_STARTED", "STARTING", "STOPPING", "OVERLOADED", "UNAVAILABLE"}


def answered(code: str, **more: object) -> Failure:
    return Failure(Error("no", code=code, **more), Reached.ANSWERED)  # type: ignore[arg-type]


@pytest.mark.parametrize("code", list(Code))
def test_a_call_is_repeated_where_the_server_says_so_and_one_that_must_not_run_twice_only_where_it_was_not_run(code):
    failure = answered(code)
    assert may_repeat(failure, idempotent=True) is FACTS[code].retryable
    assert may_repeat(failure, idempotent=False) is (code in NOT_RUN)


def test_the_servers_word_counts_not_the_table():
    assert may_repeat(answered("OVERLOADED", retryable=False), idempotent=True) is False
    assert may_repeat(answered("METHOD_FAILED", retryable=True), idempotent=True) is True


@pytest.mark.parametrize("idempotent", [True, False])
def test_a_services_own_error_is_repeated_where_the_service_says_so(idempotent):
    assert may_repeat(answered("app.later", retryable=True), idempotent=idempotent)
    assert not may_repeat(answered("app.never"), idempotent=idempotent)


@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE", "MAYBE_EXECUTED"])
def test_without_a_connection_everything_is_repeated_after_sending_only_what_may_run_twice(code):
    error = Error("no", code=code)
    assert may_repeat(Failure(error, Reached.NOTHING_SENT), idempotent=False)
    assert may_repeat(Failure(error, Reached.SENT), idempotent=True)
    assert not may_repeat(Failure(error, Reached.SENT), idempotent=False)


def delay(failure: Failure, attempt: int = 1, remaining_s: float | None = 60.0, chance: float = 0.0) -> float | None:
    return next_delay(POLICY, failure, attempt=attempt, idempotent=True, remaining_s=remaining_s, chance=chance)


def test_three_attempts_are_all_and_each_waits_longer():
    failure = answered("OVERLOADED")
    assert [delay(failure, attempt) for attempt in (1, 2, 3)] == [0.05, 0.1, None]
    assert delay(failure, 1, chance=0.999) == pytest.approx(0.1, rel=0.01)


def test_retry_after_is_the_least_and_chance_only_adds_to_it():
    failure = answered("OVERLOADED", retry_after_s=2.0)
    assert delay(failure) == 2.0
    assert 2.0 < (delay(failure, chance=0.9) or 0.0) < 2.1


def test_who_would_wait_past_the_calls_end_fails_now():
    failure = answered("OVERLOADED", retry_after_s=2.0)
    assert delay(failure, remaining_s=1.9) is None
    assert delay(failure, remaining_s=2.1) == 2.0
    assert delay(failure, remaining_s=None) == 2.0


@given(
    st.sampled_from(list(Code)),
    st.sampled_from(list(Reached)),
    st.integers(0, 8),
    st.integers(1, 12),
    st.booleans(),
    st.one_of(st.none(), st.floats(-1, 100)),
    st.floats(0, 1, exclude_max=True),
    st.one_of(st.none(), st.floats(0, 100)),
)
def test_a_wait_is_never_longer_than_the_call_and_attempts_end(
    code, reached, retries, attempt, idempotent, remaining_s, chance, after
):
    failure = Failure(Error("no", code=code, retry_after_s=after), reached)
    policy = RetryPolicy(retries=retries)
    found = next_delay(policy, failure, attempt=attempt, idempotent=idempotent, remaining_s=remaining_s, chance=chance)
    if found is None:
        return
    assert attempt <= retries
    assert found > 0
    assert found >= (after or 0.0)
    assert remaining_s is None or found < remaining_s
    assert found <= (after or 0.0) + policy.max_s


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3.0),
        (" 0 ", 0.0),
        ("Wed, 25 Nov 2026 10:00:30 GMT", 30.0),
        ("Wed, 25 Nov 2026 09:59:30 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("", None),
        ("٣", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header, seconds):
    assert retry_after(header, datetime(2026, 11, 25, 10, 0, 0, tzinfo=UTC)) == seconds
