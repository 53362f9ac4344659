"""The compute lane: frames, joined batches, bisection, cancels, recalls."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from tests.unit.worker.bench import WAIT_S, Bench, spec_of
from tiffin.errors import Error, Failed
from tiffin.messages.link import Cancel, Failure, Ran, Recall, Recalled, Reply

Make = Callable[..., Bench]


T = TypeVar("T")


def noting(notes: list[Any], note: Any, value: T) -> T:
    """Note something on the way to a value."""
    notes.append(note)
    return value


def double(x: Any) -> Any:
    return x * 2


def each_double(x: list[int]) -> list[int]:
    if 13 in x:
        raise ValueError("unlucky")
    return [value * 2 for value in x]


JOINED = spec_of("joined", batchable=True, max_batch_size=8)


class Gate:
    """A method that waits until the test lets it go on."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.seen: list[Any] = []

    def __call__(self, x: Any) -> Any:
        self.seen.append(x)
        self.entered.set()
        assert self.open.wait(WAIT_S)
        return x


def test_calls_of_a_frame_run_one_after_the_other_and_end_with_ran(bench: Make) -> None:
    b = bench((spec_of("double"), double))
    first, second = b.open({"x": 2}), b.open({"x": "ab"})
    batch = b.give(first, second)
    assert b.expect(Reply) == Reply(first.stream, b"4")
    assert b.expect(Reply) == Reply(second.stream, b'"abab"')
    ran = b.expect(Ran)
    assert (ran.batch, ran.rows, ran.split_s) == (batch.batch, 2, 0.0) and ran.compute_s > 0


def test_a_frame_that_was_quick_leaves_as_one_frame(bench: Make) -> None:
    b = bench((spec_of("double"), lambda x: x))
    b.give(b.open({"x": 1}), b.open({"x": 2}))
    b.expect(Reply)
    assert len(b.got) == 2


def test_a_slow_call_of_a_frame_does_not_hold_back_the_answers_before_it(bench: Make) -> None:
    gate = Gate()
    b = bench((spec_of("gate"), lambda x: gate(x) if x == 2 else sum(range(200_000))))
    one = b.open({"x": 1})
    b.give(one, b.open({"x": 2}))
    assert b.expect(Reply).stream == one.stream
    assert gate.entered.wait(WAIT_S)
    gate.open.set()
    b.expect(Reply)
    b.expect(Ran)


def test_the_first_slot_is_the_thread_that_loaded(bench: Make) -> None:
    b = bench((spec_of("who"), lambda x: threading.get_ident()))
    b.give(b.open({"x": 1}))
    assert b.expect(Reply).body == b"%d" % (b.thread.ident or 0)


def test_more_threads_run_batches_at_once(bench: Make) -> None:
    together = threading.Barrier(2)
    b = bench((spec_of("meet"), lambda x: together.wait(WAIT_S) >= 0), threads=2)
    b.give(b.open({"x": 1}))
    b.give(b.open({"x": 2}))
    assert sorted(type(b.any()).__name__ for _ in range(4)) == ["Ran", "Ran", "Reply", "Reply"]


def test_bad_input_fails_alone(bench: Make) -> None:
    b = bench((spec_of("double"), double), (JOINED, each_double))
    for method, good, answer in ((0, {"x": 3}, b"6"), (1, {"x": [3]}, b"[6]")):
        bad, fine = b.open(b"nonsense", method), b.open(good, method)
        b.give(bad, fine)
        answers: dict[int, Any] = {message.stream: message for message in (b.any(), b.any())}
        assert answers[bad.stream].code == "INVALID_INPUT"
        assert answers[fine.stream] == Reply(fine.stream, answer)
        assert b.expect(Ran).rows == (2 if method == 0 else 1)


def test_members_are_joined_and_their_rows_told_apart(bench: Make) -> None:
    seen: list[Any] = []
    b = bench((JOINED, lambda x: noting(seen, x, [value + 1 for value in x])))
    members = [b.open({"x": [1, 2]}), b.open({"x": [3]}), b.open({"x": []}), b.open({"x": [4, 5]})]
    b.give(*members)
    assert [b.expect(Reply).body for _ in members] == [b"[2,3]", b"[4]", b"[]", b"[5,6]"]
    assert b.expect(Ran).rows == 5
    assert seen == [[1, 2, 3, 4, 5]]


def test_members_that_cannot_be_joined_run_after_the_others(bench: Make) -> None:
    seen: list[Any] = []
    b = bench((JOINED, lambda x: noting(seen, x, x)))
    members = [b.open({"x": [1]}), b.open({"x": ["a"]}), b.open({"x": [2]}), b.open({"x": ["b", "c"]})]
    b.give(*members)
    answers = {message.stream: message.body for message in (b.expect(Reply) for _ in members)}
    assert [answers[member.stream] for member in members] == [b"[1]", b'["a"]', b"[2]", b'["b","c"]']
    assert b.expect(Ran).rows == 5
    assert seen == [[1, 2], ["a", "b", "c"]]


def test_an_exception_is_bisected_until_the_culprit_is_alone(bench: Make, caplog: pytest.LogCaptureFixture) -> None:
    b = bench((JOINED, each_double))
    members = [b.open({"x": [value]}) for value in (10, 11, 12, 13, 14)]
    b.give(*members)
    answers: dict[int, Any] = {message.stream: message for message in (b.any() for _ in members)}
    culprit = answers.pop(members[3].stream)
    assert isinstance(culprit, Failure)
    assert (culprit.code, culprit.status) == ("METHOD_FAILED", 500)
    assert culprit.message == "method 'joined' failed: ValueError: unlucky"
    assert "Traceback" not in culprit.message and not culprit.details
    assert [answers[member.stream].body for member in members if member.stream in answers] == [
        b"[20]", b"[22]", b"[24]", b"[28]"
    ]  # fmt: skip
    ran = b.expect(Ran)
    assert ran.rows == 5 and 0 < ran.split_s <= ran.compute_s
    assert b.codec.rounds == [5, 2, 3, 1, 2, 1, 1]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and record.exc_info and "request r" in record.getMessage()


def test_input_that_was_mutated_before_the_exception_is_read_again(bench: Make) -> None:
    def mutate(x: list[int]) -> list[int]:
        for index, value in enumerate(x):
            x[index] = value * 100
        if 1300 in x:
            raise ValueError
        return x

    b = bench((JOINED, mutate))
    members = [b.open({"x": [value]}) for value in (12, 13)]
    b.give(*members)
    assert b.expect(Reply).body == b"[1200]"
    assert b.expect(Failure).stream == members[1].stream


def test_a_batch_that_is_not_idempotent_is_never_run_twice(bench: Make) -> None:
    b = bench((JOINED, each_double))
    b.give(*(b.open({"x": [value]}, idempotent=False) for value in (1, 13)))
    assert b.expect(Failure).code == b.expect(Failure).code == "METHOD_FAILED"
    assert b.expect(Ran).split_s == 0
    assert b.codec.rounds == [2]


def test_the_users_own_error_keeps_code_status_and_details(bench: Make, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(x: Any) -> Any:
        raise Error("no cats", code="app.cats", status=422, details={"x": x}, retry_after_s=2.0)

    b = bench((spec_of("refuse"), refuse), (JOINED, refuse))
    for method in (0, 1):
        call = b.open({"x": [1]}, method)
        b.give(call)
        assert b.expect(Failure) == Failure(call.stream, "app.cats", "no cats", 422, False, 2.0, b'{"x":[1]}')
        b.expect(Ran)
    assert not caplog.records  # an answer, not a fault


def test_a_failed_row_fails_its_call_and_nothing_runs_again(bench: Make) -> None:
    b = bench((JOINED, lambda x: [Failed("app.odd", "odd", status=409) if value % 2 else value for value in x]))
    first, second = b.open({"x": [1]}), b.open({"x": [2]})
    b.give(first, second)
    assert b.expect(Failure) == Failure(first.stream, "app.odd", "odd", 409)
    assert b.expect(Reply) == Reply(second.stream, b"[2]")
    assert b.codec.rounds == [2]


def test_a_failed_result_of_a_single_call_is_its_failure(bench: Make) -> None:
    async def fail(x: Any) -> Any:
        return Failed("app.odd", "odd", status=409)

    b = bench((spec_of("one"), lambda x: Failed("app.odd", "odd", status=409)), (spec_of("other", kind="async"), fail))
    for method in (0, 1):
        call = b.open({"x": 1}, method)
        b.give(call)
        assert b.expect(Failure) == Failure(call.stream, "app.odd", "odd", 409)
        b.expect(Ran)


def test_a_wrong_number_of_rows_is_bad_output_for_all(bench: Make) -> None:
    b = bench((JOINED, lambda x: x[1:]))
    b.give(b.open({"x": [1]}), b.open({"x": [2]}))
    assert b.expect(Failure).code == b.expect(Failure).code == "BAD_OUTPUT"
    b.expect(Ran)


def test_what_cannot_be_encoded_is_bad_output(bench: Make) -> None:
    b = bench((spec_of("odd"), lambda x: object() if x else 1))
    b.give(b.open({"x": 1}), b.open({"x": 0}))
    assert b.expect(Failure).code == "BAD_OUTPUT"
    assert b.expect(Reply).body == b"1"


def test_a_call_with_more_rows_than_may_run_at_once_runs_in_parts(bench: Make) -> None:
    sizes: list[int] = []
    b = bench((JOINED, lambda x: noting(sizes, len(x), [value + 1 for value in x])))
    b.give(b.open({"x": list(range(20))}, rows=20))
    assert b.expect(Reply).body == str(list(range(1, 21))).replace(" ", "").encode()
    assert b.expect(Ran).rows == 20
    assert sizes == [8, 8, 4]


def test_a_part_that_returns_too_few_rows_is_bad_output(bench: Make) -> None:
    b = bench((JOINED, lambda x: x[:5]))
    b.give(b.open({"x": list(range(20))}, rows=20))
    failed = b.expect(Failure)
    assert failed.code == "BAD_OUTPUT" and "8 rows" in failed.message


def test_leaving_the_interpreter_is_a_failure_of_the_call_only(bench: Make) -> None:
    def leave(x: Any) -> Any:
        raise SystemExit(3)

    b = bench((spec_of("leave"), leave), (spec_of("double"), double))
    b.give(b.open({"x": 1}))
    assert "SystemExit: 3" in b.expect(Failure).message
    b.expect(Ran)
    b.give(b.open({"x": 1}, 1))
    assert b.expect(Reply).body == b"2"


def test_a_call_whose_client_left_while_it_waited_is_not_run(bench: Make) -> None:
    gate = Gate()
    b = bench((spec_of("gate"), gate), (JOINED, each_double))
    b.give(b.open({"x": 0}))
    assert gate.entered.wait(WAIT_S)
    left, stays = b.open({"x": 1}), b.open({"x": 2})
    gone = b.open({"x": [1]}, 1)
    b.give(left, stays)
    b.give(gone)
    b.send(Cancel(left.stream), Cancel(gone.stream), Cancel(999))
    b.send(Recall(999))  # what is unknown is ignored, and both were taken before what follows
    late = b.batch(b.open({"x": 3}))
    b.send(late, Recall(late.batch))
    assert b.expect(Recalled).batch == late.batch
    gate.open.set()
    b.expect(Reply)
    b.expect(Ran)
    assert b.expect(Reply).stream == stays.stream
    assert b.expect(Ran).rows == 1
    assert b.expect(Ran).rows == 0
    assert gate.seen == [0, 2]
    session = b.worker.session()
    assert session is not None
    assert not (session.cancelled or session.running or session.waiting)


def test_a_batch_that_has_started_is_not_given_back(bench: Make) -> None:
    gate = Gate()
    b = bench((spec_of("gate"), gate))
    batch = b.give(b.open({"x": 0}))
    assert gate.entered.wait(WAIT_S)
    b.send(Recall(batch.batch))
    gate.open.set()
    b.expect(Reply)
    assert b.expect(Ran).batch == batch.batch


def test_a_method_sees_the_calls_that_it_runs_for_as_its_context(bench: Make) -> None:
    b = bench(
        (spec_of("one", context="ctx"), lambda x, ctx: [member.request_id for member in ctx]),
        (
            spec_of("joined", context="ctx", batchable=True),
            lambda x, ctx: [member.request_id for member in ctx],
        ),
    )
    b.give(b.open({"x": 1}, request_id="a"))
    assert b.expect(Reply).body == b'["a"]'
    b.expect(Ran)
    b.give(b.open({"x": [1]}, 1, request_id="b"), b.open({"x": [2]}, 1, request_id="c"))
    assert [b.expect(Reply).body, b.expect(Reply).body] == [b'["b"]', b'["c"]']
