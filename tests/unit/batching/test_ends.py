"""How calls end other than by an answer: refusals, deadlines, cancels, run limits."""

from __future__ import annotations

import pytest

from tests.unit.batching.desk import Desk
from tiffin.batching.instructions import Abort, Dispatch, Expire, Kill, Reject
from tiffin.batching.policy import Limits, MethodPolicy, Slots
from tiffin.errors import Code

PLAIN = MethodPolicy(name="plain", run_limit_s=1.0)
JOINED = MethodPolicy(name="joined", batchable=True, max_rows=4, run_limit_s=1.0)
WAITS = MethodPolicy(name="waits", lane="async", run_limit_s=1.0)
URGENT = MethodPolicy(name="urgent", batchable=True, max_rows=1, max_latency_s=0.1)


# ------------------------------------------------------------------------------------------------- refusals


def test_the_queue_has_a_bound_in_calls() -> None:
    desk = Desk(limits=Limits(queue_calls=2), workers=0)
    assert desk.arrive(1, 2) == [None, None]
    (refused,) = desk.arrive(3)
    assert refused is not None
    assert (refused.call, refused.code) == (3, Code.TOO_MANY)
    assert refused.retry_after_s > 0
    assert "traffic.queue_calls" in refused.message
    assert desk.scheduler.open_calls == 2
    assert desk.arrive(4, inner=True) == [None], "sub-calls of admitted calls are admitted"


def test_the_queue_has_a_bound_in_bytes() -> None:
    desk = Desk(limits=Limits(queue_bytes=100), workers=0)
    assert desk.arrive(1, size=500) == [None], "a large body alone is no queue"
    (refused,) = desk.arrive(2, size=1)
    assert refused is not None
    assert refused.code is Code.TOO_MANY
    assert "traffic.queue_bytes" in refused.message


def test_a_call_that_would_wait_beyond_max_latency_is_refused_early() -> None:
    desk = Desk(URGENT)
    desk.learn(compute_s=0.03)
    assert desk.arrive(1) == [None]
    assert desk.schedule() == [Dispatch(1, 2, 0, [1])]
    assert desk.arrive(2, 3) == [None, None]  # 30 ms run, 30 ms wait and get a margin, 30 ms to run
    (refused,) = desk.arrive(4)
    assert refused is not None
    assert refused.code is Code.OVERLOADED
    assert 0.01 < refused.retry_after_s < 0.2
    assert "overloaded" in refused.message


def test_a_call_that_would_miss_its_own_deadline_is_refused_early() -> None:
    desk = Desk(JOINED)
    desk.learn(compute_s=0.5, rows=4)
    desk.arrive(*range(1, 5))
    desk.schedule()
    (refused,) = desk.arrive(5, timeout=0.6)
    assert refused is not None
    assert refused.code is Code.OVERLOADED
    desk.now += 0.45
    assert desk.arrive(6, timeout=0.6) == [None], "only what is left of the running batch counts"


def test_a_free_worker_tries_a_call_whatever_the_prediction_says() -> None:
    desk = Desk(URGENT)
    desk.learn(compute_s=10.0)  # a first run is slow for reasons of its own
    for call in range(1, 9):
        assert desk.arrive(call) == [None]
        assert len(desk.schedule()) == 1
        desk.now += 0.005
        desk.ran(1, call + 1, call, compute_s=0.005)
    desk.arrive(20)
    desk.schedule()
    assert desk.arrive(21) == [None], "the estimate has recovered"


def test_a_call_with_most_of_its_time_left_is_tried_whatever_the_prediction_says() -> None:
    desk = Desk(JOINED)
    desk.learn(compute_s=10.0)
    desk.arrive(1, timeout=5.0)
    desk.now += 2.0
    assert desk.schedule() == [Dispatch(1, 2, 0, [1])]


def test_staged_batches_count_as_waiting() -> None:
    desk = Desk(JOINED)
    desk.learn(compute_s=0.5, rows=4)
    desk.arrive(*range(1, 9))
    assert len(desk.schedule()) == 2
    (refused,) = desk.arrive(9, timeout=1.2)
    assert refused is not None
    assert refused.code is Code.OVERLOADED
    assert desk.arrive(10, timeout=1.7) == [None]


def test_async_calls_are_refused_when_their_lane_is_full_for_too_long() -> None:
    waits = MethodPolicy(name="waits", lane="async", max_latency_s=0.22)
    desk = Desk(waits, slots=Slots(concurrency=2))
    desk.learn(compute_s=0.1)
    assert desk.arrive(1, 2) == [None, None]
    desk.schedule()
    assert desk.arrive(3, 4) == [None, None]
    (refused,) = desk.arrive(5)
    assert refused is not None
    assert refused.code is Code.OVERLOADED


def test_without_workers_only_the_bounds_of_the_queue_refuse() -> None:
    desk = Desk(URGENT)
    desk.learn(compute_s=10.0)
    desk.down(1)
    assert desk.arrive(1, 2, 3) == [None] * 3


def test_a_waiting_call_is_refused_when_its_max_latency_is_over() -> None:
    desk = Desk(URGENT, workers=0)
    desk.arrive(1)
    assert desk.tick(0.09) == []
    (refused,) = desk.tick(0.02)
    assert isinstance(refused, Reject)
    assert (refused.call, refused.code) == (1, Code.OVERLOADED)
    assert desk.scheduler.open_calls == desk.scheduler.queued_calls == 0


def test_a_running_call_may_take_longer_than_max_latency() -> None:
    desk = Desk(URGENT)
    desk.arrive(1, timeout=1.0)
    desk.schedule()
    assert desk.tick(0.2) == []
    assert desk.tick(0.7) == []
    assert desk.tick(0.1) == [Expire(1)]


def test_a_call_that_can_not_be_in_time_any_more_is_not_run() -> None:
    desk = Desk(JOINED)
    desk.learn(compute_s=0.4, rows=4)
    desk.arrive(*range(1, 5))
    desk.schedule()
    assert desk.arrive(5, timeout=0.9) == [None]
    desk.now += 0.6
    desk.ran(1, 2, *range(1, 5), compute_s=0.6, rows=4)
    (refused,) = desk.schedule()
    assert isinstance(refused, Reject)
    assert (refused.call, refused.code) == (5, Code.OVERLOADED)


# ------------------------------------------------------------------------------------------------- deadlines


def test_a_waiting_call_expires_at_its_deadline_and_not_before() -> None:
    desk = Desk(workers=0)
    desk.arrive(1, timeout=1.0)
    desk.arrive(2, timeout=2.0)
    assert desk.tick(0.999) == []
    assert desk.tick(0.001) == [Expire(1)]
    desk.up(1)
    assert desk.schedule() == [Dispatch(1, 1, 0, [2])]


def test_a_running_call_expires_and_keeps_its_slot() -> None:
    desk = Desk(JOINED)
    desk.arrive(1, timeout=0.5)
    desk.schedule()
    assert desk.tick(0.5) == [Expire(1)]
    assert desk.scheduler.open_calls == desk.scheduler.running == 0
    desk.arrive(2)
    assert desk.schedule() == []
    desk.scheduler.answered(1)  # the late reply
    desk.ran(1, 1, rows=1)
    assert desk.schedule() == [Dispatch(1, 2, 0, [2])]


def test_a_staged_call_that_expires_is_not_run() -> None:
    desk = Desk(JOINED)
    desk.learn(compute_s=0.3, rows=4)
    desk.arrive(*range(1, 5))
    desk.arrive(*range(5, 9), timeout=0.7)
    assert len(desk.schedule()) == 2
    assert desk.tick(0.7)[:2] == [Expire(5), Abort(1, 5)]


def test_a_call_whose_deadline_passed_between_two_ticks_is_not_sent() -> None:
    desk = Desk(workers=0)
    desk.arrive(1, timeout=0.01)
    desk.now += 0.02
    desk.up(1)
    assert desk.schedule() == [Expire(1)]


def test_an_answer_ends_the_deadline() -> None:
    desk = Desk()
    desk.arrive(1, timeout=0.5)
    desk.schedule()
    desk.scheduler.answered(1)
    assert desk.tick(0.6) == []


def test_all_deadlines_are_kept_after_a_long_pause() -> None:
    desk = Desk(workers=0)
    for call in range(1, 20):
        desk.arrive(call, timeout=call * 1.7)
    assert desk.tick(3600.0) == [Expire(call) for call in range(1, 20)]


# ------------------------------------------------------------------------------------------------- cancel


def test_a_waiting_call_that_is_cancelled_is_never_run() -> None:
    desk = Desk(workers=0)
    desk.arrive(1, 2, 3)
    assert desk.scheduler.cancel(desk.now, 2) == []
    assert desk.scheduler.queued_calls == 2
    desk.up(1)
    desk.arrive(4)
    assert desk.schedule() == [Dispatch(1, 1, 0, [1])]
    desk.ran(1, 1, 1)
    assert desk.schedule() == [Dispatch(1, 2, 0, [3]), Dispatch(1, 3, 0, [4])]


def test_a_running_call_that_is_cancelled_keeps_its_slot() -> None:
    desk = Desk(JOINED)
    desk.arrive(1)
    desk.schedule()
    assert desk.scheduler.cancel(desk.now, 1) == [Abort(1, 1)]
    assert desk.scheduler.cancel(desk.now, 1) == []
    desk.arrive(2)
    assert desk.schedule() == []
    desk.ran(1, 1, rows=1)
    assert desk.schedule() == [Dispatch(1, 2, 0, [2])]


def test_many_cancelled_calls_take_no_room() -> None:
    desk = Desk(workers=0)
    desk.arrive(1)
    for call in range(2, 5000):
        desk.arrive(call)
        desk.scheduler.cancel(desk.now, call)
    assert len(desk.scheduler._methods[0].outer.entries) < 200
    desk.up(1)
    assert desk.schedule() == [Dispatch(1, 1, 0, [1])]


# ------------------------------------------------------------------------------------------------- run limits


def test_a_compute_batch_over_its_run_limit_costs_its_worker() -> None:
    desk = Desk(JOINED, workers=2)
    desk.arrive(1, 2)
    desk.schedule()
    assert desk.tick(0.99) == []
    (kill, other) = desk.tick(0.02)
    assert kill == Kill(1, "method 'joined' has run for 1.0 s, its run limit is 1 s")
    assert isinstance(other, Kill)
    assert desk.tick(1.0) == [], "killed once"
    desk.arrive(3)
    assert desk.schedule() == [], "no work for a worker that is about to be killed"


def test_the_run_limit_of_a_staged_batch_counts_from_its_start() -> None:
    desk = Desk(JOINED)
    desk.learn(compute_s=0.0001, rows=4)
    desk.arrive(*range(1, 9))
    assert len(desk.schedule()) == 2
    desk.now += 0.9
    desk.ran(1, 2, *range(1, 5), compute_s=0.9)
    assert desk.tick(0.9) == []
    assert len(desk.tick(0.2)) == 1


def test_a_call_in_parts_has_the_limit_of_each_part() -> None:
    desk = Desk(JOINED)
    desk.arrive(1, rows=9)
    desk.schedule()
    assert desk.tick(2.9) == []
    assert len(desk.tick(0.2)) == 1


def test_the_clock_of_a_frame_starts_anew_with_each_answer() -> None:
    desk = Desk(PLAIN)
    desk.learn(compute_s=0.0003)
    desk.arrive(1, 2, 3)
    assert desk.schedule() == [Dispatch(1, 2, 0, [1, 2, 3])]
    assert desk.tick(0.9) == []
    desk.scheduler.answered(1)
    assert desk.tick(0.05) == []
    assert desk.tick(0.9) == []
    assert isinstance(desk.tick(0.2)[0], Kill)


@pytest.mark.parametrize("lane", ["async", "stream"])
def test_an_async_call_or_stream_is_asked_to_stop_before_its_worker_is_killed(lane: str) -> None:
    desk = Desk(MethodPolicy(name="waits", lane=lane, run_limit_s=1.0))  # type: ignore[arg-type]
    desk.arrive(1)
    desk.schedule()
    assert desk.tick(0.9) == []
    abort, reject = desk.tick(0.2)
    assert abort == Abort(1, 1)
    assert isinstance(reject, Reject)
    assert (reject.call, reject.code) == (1, Code.RUN_LIMIT)
    assert desk.tick(0.9) == []
    (kill,) = desk.tick(0.2)
    assert isinstance(kill, Kill)
    assert desk.down(1, "run_limit") == []


def test_an_async_call_that_stops_when_asked_costs_nothing() -> None:
    desk = Desk(WAITS, slots=Slots(concurrency=1))
    desk.arrive(1)
    desk.schedule()
    assert len(desk.tick(1.0)) == 2
    desk.ran(1, 1, compute_s=1.0, rows=1)
    assert desk.tick(2.0) == []
    desk.arrive(2)
    assert len(desk.schedule()) == 1
    assert desk.arrive(3, timeout=0.5) == [None], "a run that was cut short tells nothing"


def test_an_expired_async_call_is_stopped_at_its_run_limit_without_a_second_end() -> None:
    desk = Desk(WAITS)
    desk.arrive(1, timeout=0.5)
    desk.schedule()
    assert desk.tick(0.5) == [Expire(1)]
    assert (desk.scheduler.open_calls, desk.scheduler.open_batches) == (0, 1)
    assert desk.tick(0.6) == [Abort(1, 1)]


# ------------------------------------------------------------------------------------------------- others


def test_a_member_that_a_finished_batch_left_unanswered_is_told_so() -> None:
    desk = Desk(JOINED)
    desk.arrive(1, 2)
    desk.schedule()
    desk.ran(1, 1, 1)
    (reject,) = desk.schedule()
    assert isinstance(reject, Reject)
    assert (reject.call, reject.code) == (2, Code.INTERNAL)
    assert desk.scheduler.open_calls == 0


def test_drop_all_ends_every_call_and_frees_no_slot() -> None:
    desk = Desk(JOINED)
    desk.arrive(1)
    desk.schedule()
    desk.arrive(2, 3)
    rejects = desk.scheduler.drop_all(Code.STOPPING)
    assert [(reject.call, reject.code) for reject in rejects] == [
        (1, Code.STOPPING),
        (2, Code.STOPPING),
        (3, Code.STOPPING),
    ]
    assert desk.scheduler.open_calls == desk.scheduler.queued_calls == desk.scheduler.running == 0
    desk.arrive(4)
    assert desk.schedule() == []
    desk.ran(1, 1, rows=1)
    assert desk.schedule() == [Dispatch(1, 2, 0, [4])]


def test_unknown_ids_change_nothing() -> None:
    desk = Desk()
    desk.arrive(1)
    desk.schedule()
    desk.scheduler.finished(desk.now, 2, 1, 1.0, 1, 0.0)  # another worker's word about this batch
    desk.scheduler.recalled(desk.now, 2, 1)
    desk.arrive(2)
    assert desk.schedule() == []
