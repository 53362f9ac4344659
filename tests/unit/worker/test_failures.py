"""The words of failures, and the log."""

from __future__ import annotations

import logging

import pytest

from tiffin.errors import Error
from tiffin.messages.link import Open
from tiffin.worker.failures import Again, describe, failure, log_failure


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def member(request_id: str) -> Open:
    return Open(2, 0, 1, 0, -1, b"", 1.0, request_id)


def test_details_that_are_no_json_do_not_lose_the_message() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert failure(2, Error("m", details={"x": object})).details == b'{"x":"<class \'object\'>"}'
    said = failure(2, Error("m", details=loop))
    assert said.message == "m" and said.details == b'"[[...]]"'


def test_an_exception_that_cannot_be_written_is_named() -> None:
    assert describe(Speechless()) == "Speechless"
    assert describe(ValueError("v")) == "ValueError: v"


def test_a_very_long_message_is_cut() -> None:
    assert len(failure(2, Error("m" * 100_000)).message) == 2_000


def test_the_first_of_equal_things_is_told_once_a_second() -> None:
    again = Again()
    assert [again.first("a", now) for now in (0.0, 0.5, 0.9, 1.0, 1.5)] == [True, False, False, True, False]
    assert again.first("b", 0.5)
    for number in range(2_000):  # kinds without end do not fill the memory
        again.first(number, 0.0)
    assert len(again._until) <= 1_001


def test_a_place_that_fails_at_every_call_is_shown_once(caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        try:
            raise ValueError(f"v{number}")
        except ValueError as error:
            log_failure("m", [member(f"r{number}")], error)
    first, second, third = caplog.records
    assert first.exc_info and not second.exc_info and not third.exc_info
    assert second.getMessage() == "method 'm' failed, request r1: ValueError: v1, as above"
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_a_batch_names_its_first_requests(caplog: pytest.LogCaptureFixture) -> None:
    log_failure("many", [member(f"r{number}") for number in range(8)], KeyError())
    assert "request r0, r1, r2, r3, r4 and 3 more" in caplog.records[0].getMessage()
