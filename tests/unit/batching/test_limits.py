"""Rows that fit into memory: learned, kept, and tried again after a while."""

from __future__ import annotations

import pytest

from tests.unit.batching.desk import Desk
from tiffin.batching.instructions import Dispatch
from tiffin.batching.limits import PROBE_MOST_S, PROBE_S, RowLimits
from tiffin.batching.policy import MethodPolicy

JOINED = MethodPolicy(name="joined", batchable=True, max_rows=64)


def test_nothing_is_known_and_nothing_is_said() -> None:
    limits = RowLimits(64)
    assert not limits
    assert (limits.least, limits.of(0.0, 10)) == (64, 64)


def test_what_was_learned_holds_for_rows_as_large_and_larger() -> None:
    limits = RowLimits(64)
    limits.learn(0.0, 10, 8)
    assert limits
    assert [limits.of(1.0, bucket) for bucket in (0, 9, 10, 11, 30)] == [64, 64, 8, 8, 8]
    limits.learn(1.0, 12, 2)
    limits.learn(1.0, 12, 4)  # learned by a batch that was under way: the lower one stands
    assert [limits.of(2.0, bucket) for bucket in (9, 10, 11, 12)] == [64, 8, 8, 2]
    assert limits.least == 2


def test_after_a_while_twice_as_many_are_tried_and_then_less_often() -> None:
    limits = RowLimits(64)
    limits.learn(0.0, 10, 8)
    now, pause = 0.0, PROBE_S
    for _ in range(8):
        assert limits.of(now + pause - 1, 10) == 8
        assert limits.of(now + pause, 10) == 16
        now += pause
        limits.learn(now, 10, 8)
        pause = min(pause * 2, PROBE_MOST_S)
    assert pause == PROBE_MOST_S


def test_what_was_tried_and_held_is_the_new_limit_until_there_is_none() -> None:
    limits = RowLimits(64)
    limits.learn(0.0, 10, 8)
    limits.held(1.0, 10, 16)  # a batch that was under way when the limit was learned: too early to believe
    assert limits.of(1.0, 10) == 8
    limits.held(PROBE_S, 10, 5)  # not full: says nothing
    assert limits.of(PROBE_S, 10) == 16
    limits.held(PROBE_S, 10, 16)
    assert limits.of(PROBE_S + 1, 10) == 16
    limits.held(3 * PROBE_S, 10, 32)
    limits.held(5 * PROBE_S, 11, 64)  # larger rows: smaller ones fit all the more
    assert not limits
    assert limits.of(5 * PROBE_S, 10) == 64


def batches(desk: Desk) -> list[tuple[int, int]]:
    """Return calls and row limit of every batch that is given out."""
    return [(len(one.calls), one.limit) for one in desk.schedule() if isinstance(one, Dispatch)]


def test_batches_keep_to_what_was_learned_and_so_do_new_workers() -> None:
    desk = Desk(JOINED)
    desk.arrive(*range(1, 65), size=1000)
    assert batches(desk) == [(64, 0)]
    for call in range(1, 65):
        desk.scheduler.answered(call)
    desk.scheduler.finished(desk.now, 1, 1, 0.1, 64, 0.05, 8)
    assert desk.scheduler.row_limits() == {"joined": 8}
    desk.arrive(*range(101, 121), size=1000)
    assert batches(desk)[0] == (8, 8)
    desk.down(1, "out_of_memory")
    desk.up(2)
    assert batches(desk)[0] == (1, 8)  # those that ran are run again, each alone
    desk.arrive(*range(201, 300), size=10)  # small rows are as free as before


def test_a_larger_row_ends_the_batch_that_it_would_be_too_much_for() -> None:
    desk = Desk(JOINED, workers=2)
    desk.arrive(1, size=1000, rows=4)
    desk.schedule()
    desk.scheduler.answered(1)
    desk.scheduler.finished(desk.now, 1, 1, 0.1, 4, 0.05, 2)
    desk.down(2)
    desk.arrive(*range(10, 20), size=10)
    desk.arrive(20, 21, 22, size=1000)
    first, ahead = desk.schedule()[:2]
    assert isinstance(first, Dispatch)
    assert isinstance(ahead, Dispatch)
    assert (first.calls, first.limit) == (list(range(10, 20)), 64)
    assert (ahead.calls, ahead.limit) == ([20, 21], 2)


def test_a_large_call_is_given_out_with_its_limit() -> None:
    desk = Desk(JOINED)
    desk.arrive(1, size=64_000, rows=64)
    desk.schedule()
    desk.ran(1, 1, 1, rows=64)
    assert desk.scheduler.row_limits() == {}
    desk.arrive(2, size=64_000, rows=64)
    desk.schedule()
    desk.scheduler.answered(2)
    desk.scheduler.finished(desk.now, 1, 2, 0.1, 64, 0.05, 8)
    desk.arrive(3, size=64_000, rows=64)
    assert batches(desk) == [(1, 8)]


@pytest.mark.parametrize("rows", [1, 8])
def test_full_batches_are_sent_ahead_by_the_learned_measure(rows: int) -> None:
    desk = Desk(JOINED)
    desk.arrive(1, size=100)
    desk.schedule()
    desk.scheduler.answered(1)
    desk.scheduler.finished(desk.now, 1, 1, 0.1, 9, 0.05, 8)
    desk.learn(compute_s=0.5, rows=8, batch=2)
    desk.arrive(*range(10, 18), size=100)
    assert batches(desk) == [(8, 8)]
    desk.arrive(*range(20, 20 + rows), size=100)
    assert batches(desk) == ([(8, 8)] if rows == 8 else [])
