from __future__ import annotations

import pytest

from tests.unit.batching.desk import Desk
from tiffin.batching.instructions import Dispatch, Recall
from tiffin.batching.policy import MethodPolicy, Slots
from tiffin.batching.queues import Lane

PLAIN = MethodPolicy(name="plain")
JOINED = MethodPolicy(name="joined", batchable=True, max_rows=8)
WRITES = MethodPolicy(name="writes", idempotent=False)
WAITS = MethodPolicy(name="waits", lane="async")
STREAMS = MethodPolicy(name="streams", lane="stream")


# ------------------------------------------------------------------------------------------------- one batch


def test_an_idle_service_adds_no_delay() -> None:
    desk = Desk(JOINED)
    desk.arrive(1)
    assert desk.schedule() == [Dispatch(1, 1, 0, [1])]
    assert desk.schedule() == []


def test_without_a_worker_calls_wait() -> None:
    desk = Desk(workers=0)
    desk.arrive(1)
    assert desk.schedule() == []
    desk.up(7)
    assert desk.schedule() == [Dispatch(7, 1, 0, [1])]


def test_a_batch_takes_rows_in_order_up_to_its_limit() -> None:
    desk = Desk(JOINED)
    desk.arrive(1, 2, rows=3)
    desk.arrive(3, rows=3)  # does not fit any more, and nobody overtakes it
    desk.arrive(4, rows=1)
    assert desk.schedule() == [Dispatch(1, 1, 0, [1, 2])]
    desk.ran(1, 1, 1, 2)
    assert desk.schedule() == [Dispatch(1, 2, 0, [3, 4])]


def test_a_call_with_more_rows_than_a_batch_goes_alone() -> None:
    desk = Desk(JOINED)
    desk.arrive(1, rows=20)
    desk.arrive(2)
    assert desk.schedule() == [Dispatch(1, 1, 0, [1])]


def test_unbatchable_calls_go_one_by_one_until_their_time_is_known() -> None:
    desk = Desk(PLAIN)
    desk.arrive(1, 2)
    assert desk.schedule() == [Dispatch(1, 1, 0, [1])]


def test_short_unbatchable_calls_share_a_frame_of_a_millisecond() -> None:
    desk = Desk(PLAIN)
    desk.learn(compute_s=0.0003)
    desk.arrive(*range(1, 9))
    assert desk.schedule() == [Dispatch(1, 2, 0, [1, 2, 3]), Dispatch(1, 3, 0, [4, 5, 6])]


def test_a_frame_has_64_calls_at_most() -> None:
    desk = Desk(PLAIN)
    desk.learn(compute_s=0.000001)
    desk.arrive(*range(1, 200))
    first, second = desk.schedule()
    assert first == Dispatch(1, 2, 0, list(range(1, 65)))
    assert second == Dispatch(1, 3, 0, list(range(65, 129)))


def test_calls_that_are_not_idempotent_go_one_by_one_with_nothing_behind() -> None:
    desk = Desk(PLAIN, WRITES)
    desk.learn(compute_s=0.00001)
    desk.learn(1, compute_s=0.00001, batch=2)
    desk.arrive(1, 2, method=1, idempotent=False)
    desk.arrive(3)
    assert desk.schedule() == [Dispatch(1, 3, 0, [3])]  # the other method is owed more, having run less
    desk.ran(1, 3, 3)
    assert desk.schedule() == [Dispatch(1, 4, 1, [1])]
    desk.arrive(4)
    assert desk.schedule() == []
    desk.ran(1, 4, 1)
    assert desk.schedule()[0] == Dispatch(1, 5, 0, [4])


def test_a_call_that_is_not_idempotent_ends_the_batch_before_it() -> None:
    desk = Desk(JOINED)
    desk.arrive(1, 2)
    desk.arrive(3, idempotent=False)
    desk.arrive(4)
    assert desk.schedule() == [Dispatch(1, 1, 0, [1, 2])]
    desk.ran(1, 1, 1, 2)
    assert desk.schedule() == [Dispatch(1, 2, 0, [3])]
    desk.ran(1, 2, 3)
    assert desk.schedule() == [Dispatch(1, 3, 0, [4])]


# ------------------------------------------------------------------------------------------------- which worker


def test_the_idle_worker_is_preferred() -> None:
    desk = Desk(JOINED, workers=2)
    desk.arrive(1)
    desk.arrive(2)
    assert desk.schedule() == [Dispatch(1, 1, 0, [1]), Dispatch(2, 2, 0, [2])]
    desk.ran(1, 1, 1)
    desk.arrive(3)
    assert desk.schedule() == [Dispatch(1, 3, 0, [3])]


def test_free_workers_share_the_queue_evenly() -> None:
    desk = Desk(JOINED, workers=3)
    desk.arrive(*range(1, 8))
    assert [len(order.calls) for order in desk.schedule() if isinstance(order, Dispatch)] == [3, 2, 2]


def test_a_worker_with_fewer_streams_is_preferred() -> None:
    desk = Desk(PLAIN, STREAMS, workers=2)
    desk.arrive(1, method=1)
    assert desk.schedule() == [Dispatch(1, 1, 1, [1])]
    desk.arrive(2)
    assert desk.schedule() == [Dispatch(2, 2, 0, [2])]


def test_a_paused_worker_gets_no_new_work() -> None:
    desk = Desk(JOINED, workers=2)
    desk.scheduler.worker_paused(1, paused=True)
    desk.arrive(1, 2)
    assert desk.schedule() == [Dispatch(2, 1, 0, [1, 2])]
    desk.arrive(3)
    assert desk.schedule() == []
    desk.scheduler.worker_paused(1, paused=False)
    assert desk.schedule() == [Dispatch(1, 2, 0, [3])]


def test_a_worker_with_two_threads_runs_two_batches() -> None:
    desk = Desk(JOINED, slots=Slots(threads=2))
    desk.arrive(1, 2)
    assert desk.schedule() == [Dispatch(1, 1, 0, [1]), Dispatch(1, 2, 0, [2])]
    desk.arrive(3)
    assert desk.schedule() == []


# ------------------------------------------------------------------------------------------------- lanes


def test_async_calls_and_streams_never_hold_a_compute_slot() -> None:
    desk = Desk(JOINED, WAITS, STREAMS, slots=Slots(concurrency=3, streams=2))
    desk.arrive(*range(1, 6), method=1)
    desk.arrive(*range(11, 15), method=2)
    orders = desk.schedule()
    assert [order.calls for order in orders if isinstance(order, Dispatch)] == [[1], [2], [3], [11], [12]]
    desk.arrive(21)
    assert desk.schedule() == [Dispatch(1, 6, 0, [21])]
    desk.ran(1, 2, 2)
    assert desk.schedule() == [Dispatch(1, 7, 1, [4])]


def test_async_calls_go_to_the_worker_that_runs_the_fewest() -> None:
    desk = Desk(WAITS, workers=2)
    desk.arrive(1, 2, 3)
    assert [order.worker for order in desk.schedule() if isinstance(order, Dispatch)] == [1, 2, 1]
    desk.ran(1, 1, 1)
    desk.ran(1, 3, 3)
    desk.arrive(4)
    assert desk.schedule() == [Dispatch(1, 4, 0, [4])]


# ------------------------------------------------------------------------------------------------- fairness


def test_sub_calls_go_before_calls_from_outside() -> None:
    desk = Desk(JOINED, JOINED)
    desk.arrive(1, 2)
    desk.arrive(3, method=1, inner=True)
    desk.arrive(4, method=1)
    assert desk.schedule() == [Dispatch(1, 1, 1, [3, 4])]
    desk.arrive(5, inner=True)
    desk.ran(1, 1, 3, 4)
    assert desk.schedule() == [Dispatch(1, 2, 0, [5, 1, 2])]


def test_a_lane_where_nothing_waits_has_no_next_method() -> None:
    with pytest.raises(LookupError):
        Lane(0).choose()


def test_methods_share_the_compute_time_evenly() -> None:
    heavy = MethodPolicy(name="heavy", batchable=True, max_rows=1)
    light = MethodPolicy(name="light", batchable=True, max_rows=1)
    desk = Desk(heavy, light)
    took = {0: 0.03, 1: 0.01}
    desk.learn(0, compute_s=took[0])
    desk.learn(1, compute_s=took[1], batch=2)
    desk.arrive(*range(1, 200), method=0)
    desk.arrive(*range(201, 400), method=1)
    share = {0: 0.0, 1: 0.0}
    orders = [order for order in desk.schedule() if isinstance(order, Dispatch)]
    for _ in range(100):
        order = orders.pop(0)
        desk.now += took[order.method]
        share[order.method] += took[order.method]
        desk.ran(1, order.batch, *order.calls, compute_s=took[order.method])
        orders += [order for order in desk.schedule() if isinstance(order, Dispatch)]
    assert abs(share[0] - share[1]) <= 0.03 + 0.01


def test_a_method_saves_up_no_credit_while_it_is_idle() -> None:
    desk = Desk(MethodPolicy(name="a", batchable=True, max_rows=1), MethodPolicy(name="b", batchable=True, max_rows=1))
    for batch in range(1, 50):
        desk.learn(0, compute_s=0.01, batch=batch)
    desk.arrive(*range(1, 10), method=0)
    desk.arrive(*range(11, 20), method=1)
    served = []
    orders = [order for order in desk.schedule() if isinstance(order, Dispatch)]
    for _ in range(8):
        order = orders.pop(0)
        served.append(order.method)
        desk.now += 0.01
        desk.ran(1, order.batch, *order.calls, compute_s=0.01)
        orders += [order for order in desk.schedule() if isinstance(order, Dispatch)]
    assert 0 in served[:5], "fifty idle turns do not make up for anything"


# ------------------------------------------------------------------------------------------------- staging


def test_a_full_batch_is_staged_and_a_half_full_one_is_not() -> None:
    desk = Desk(JOINED)
    desk.learn(compute_s=0.05, rows=8)
    desk.arrive(*range(1, 9))
    assert desk.schedule() == [Dispatch(1, 2, 0, list(range(1, 9)))]
    desk.arrive(*range(11, 18))
    assert desk.schedule() == []
    desk.arrive(18)
    assert desk.schedule() == [Dispatch(1, 3, 0, list(range(11, 19)))]
    desk.arrive(*range(21, 29))
    assert desk.schedule() == [], "one staged batch per slot"


def test_a_batch_is_staged_when_the_running_one_is_about_to_end() -> None:
    desk = Desk(JOINED)
    desk.learn(compute_s=0.05, rows=8)
    desk.arrive(*range(1, 9))
    desk.schedule()
    desk.arrive(11)
    desk.now += 0.0495
    assert desk.schedule() == []
    desk.now += 0.0003
    assert desk.schedule() == [Dispatch(1, 3, 0, [11])]


def test_nothing_is_staged_behind_a_batch_that_runs_much_longer_than_predicted() -> None:
    desk = Desk(JOINED)
    desk.learn(compute_s=0.01, rows=8)
    desk.arrive(*range(1, 9))
    desk.schedule()
    desk.now += 0.1
    desk.arrive(*range(11, 30))
    assert desk.schedule() == []


def test_a_long_unbatchable_call_is_not_sent_ahead() -> None:
    desk = Desk(PLAIN)
    desk.learn(compute_s=0.1)
    desk.arrive(1, 2)
    assert desk.schedule() == [Dispatch(1, 2, 0, [1])]
    desk.now += 0.095
    assert desk.schedule() == [Dispatch(1, 3, 0, [2])]


def test_nothing_is_staged_while_a_call_that_may_not_be_staged_comes_first() -> None:
    desk = Desk(JOINED)
    desk.learn(compute_s=0.0001, rows=8)
    desk.arrive(1)
    desk.schedule()
    desk.arrive(2, idempotent=False)
    desk.arrive(*range(3, 20))
    assert desk.schedule() == []
    desk.ran(1, 2, 1)
    assert desk.schedule() == [Dispatch(1, 3, 0, [2])]


def test_the_second_staged_batch_of_two_threads_waits_for_the_second_slot() -> None:
    desk = Desk(JOINED, slots=Slots(threads=2))
    desk.learn(compute_s=0.0001, rows=8)
    desk.arrive(*range(1, 33))
    assert [order.calls[0] for order in desk.schedule() if isinstance(order, Dispatch)] == [1, 9, 17, 25]
    desk.arrive(*range(41, 49))
    assert desk.schedule() == []
    desk.ran(1, 3, *range(9, 17))  # the first staged one starts
    assert desk.schedule() == [Dispatch(1, 6, 0, list(range(41, 49)))]


def test_of_two_threads_the_one_that_ends_first_counts() -> None:
    desk = Desk(JOINED, slots=Slots(threads=2))
    desk.learn(compute_s=0.05, rows=8)
    desk.arrive(1)
    desk.schedule()
    desk.now += 0.02
    desk.arrive(2)
    desk.schedule()
    desk.now += 0.0299
    desk.arrive(3)
    assert desk.schedule() == [Dispatch(1, 4, 0, [3])]
    desk.arrive(4)
    assert desk.schedule() == [], "the second one would start when the other thread ends"
    desk.now += 0.0199
    assert desk.schedule() == [Dispatch(1, 5, 0, [4])]


def test_two_threads_end_in_another_order_than_they_began() -> None:
    long = MethodPolicy(name="long", batchable=True, max_rows=8)
    desk = Desk(JOINED, long, slots=Slots(threads=2))
    desk.learn(0, compute_s=0.05, rows=8)
    desk.learn(1, compute_s=1.0, rows=8, batch=2)
    desk.arrive(1, method=1)
    desk.schedule()
    desk.arrive(2)
    desk.schedule()
    desk.now += 0.0499
    desk.arrive(3)
    assert desk.schedule() == [Dispatch(1, 5, 0, [3])]
    desk.arrive(4)
    assert desk.schedule() == [], "the long one is not about to end"


def test_short_frames_are_shared_among_busy_workers() -> None:
    desk = Desk(PLAIN, workers=2)
    desk.learn(compute_s=0.00001)
    desk.arrive(1, 2)
    desk.schedule()
    desk.arrive(*range(11, 19))
    assert [len(order.calls) for order in desk.schedule() if isinstance(order, Dispatch)] == [4, 4]


# ------------------------------------------------------------------------------------------------- recall


def stuck_desk() -> Desk:
    """Worker 1 runs batch 3 with batch 5 staged, worker 2 has just finished; all was predicted to take 10 ms."""
    desk = Desk(JOINED, workers=2)
    desk.learn(compute_s=0.01, rows=8)
    desk.arrive(*range(1, 9), rows=2)
    assert [order.calls for order in desk.schedule() if isinstance(order, Dispatch)] == [[1, 2, 3, 4], [5, 6, 7, 8]]
    desk.arrive(*range(11, 15), rows=2)
    assert desk.schedule() == [Dispatch(1, 4, 0, [11, 12, 13, 14])]
    desk.now += 0.01
    desk.ran(2, 3, 5, 6, 7, 8, compute_s=0.01, rows=8)
    return desk


def test_a_staged_batch_is_called_back_when_another_worker_is_idle() -> None:
    desk = stuck_desk()
    assert desk.schedule() == [], "the running one is about to end"
    desk.now += 0.02
    assert desk.scheduler.tick(desk.now) == [Recall(1, 4)]
    assert desk.tick() == [], "asked once"
    desk.scheduler.cancel(desk.now, 12)
    desk.scheduler.recalled(desk.now, 1, 4)
    assert desk.scheduler.queued_calls == 3
    assert desk.schedule() == [Dispatch(2, 5, 0, [11, 13, 14], attempt=1)]


def test_recalled_calls_go_before_those_that_came_later() -> None:
    desk = stuck_desk()
    desk.now += 0.02
    assert desk.schedule() == [Recall(1, 4)]
    desk.arrive(21, rows=1)
    desk.scheduler.worker_paused(2, paused=True)
    desk.scheduler.recalled(desk.now, 1, 4)
    desk.scheduler.worker_paused(2, paused=False)
    assert desk.schedule()[0] == Dispatch(2, 5, 0, [11, 12, 13, 14])


def test_a_recalled_batch_that_started_after_all_finishes_as_usual() -> None:
    desk = stuck_desk()
    desk.now += 0.02
    assert desk.schedule() == [Recall(1, 4)]
    desk.ran(1, 2, 1, 2, 3, 4, compute_s=0.03, rows=8)
    desk.ran(1, 4, 11, 12, 13, 14, compute_s=0.01, rows=8)
    assert desk.scheduler.open_calls == 0
    assert desk.scheduler.backlog_s(1) == 0


def test_a_batch_behind_a_stuck_one_is_called_back_for_any_worker_that_gets_on() -> None:
    desk = stuck_desk()
    desk.now += 0.02
    desk.arrive(21)
    assert desk.schedule() == [Dispatch(2, 5, 0, [21]), Recall(1, 4)]
    desk.scheduler.recalled(desk.now, 1, 4)
    assert desk.schedule() == [Dispatch(2, 6, 0, [11, 12, 13, 14])]


def test_nothing_is_called_back_while_all_are_stuck() -> None:
    desk = stuck_desk()
    desk.arrive(21)
    assert desk.schedule() == [Dispatch(2, 5, 0, [21])]
    assert desk.tick(0.2) == []


def test_nothing_is_called_back_while_all_are_busy() -> None:
    desk = stuck_desk()
    desk.arrive(21)
    assert desk.schedule() == [Dispatch(2, 5, 0, [21])]
    assert desk.tick(0.04) == []


# ------------------------------------------------------------------------------------------------- bisection


def test_costly_splitting_halves_the_row_limit_for_half_a_minute() -> None:
    desk = Desk(JOINED)
    desk.arrive(*range(1, 9))
    desk.schedule()
    desk.ran(1, 1, *range(1, 9), compute_s=0.1, split_s=0.05)
    desk.arrive(*range(11, 19))
    assert desk.schedule() == [Dispatch(1, 2, 0, [11, 12, 13, 14]), Dispatch(1, 3, 0, [15, 16, 17, 18])]
    desk.now += 30.0
    desk.ran(1, 2, *range(11, 15), compute_s=0.1)
    desk.arrive(*range(21, 29))
    assert desk.schedule() == [Dispatch(1, 4, 0, list(range(21, 29)))]


def test_the_time_of_splitting_is_not_the_method_s() -> None:
    desk = Desk(JOINED)
    desk.arrive(*range(1, 9))
    desk.schedule()
    desk.ran(1, 1, *range(1, 9), compute_s=0.1, split_s=0.06)
    desk.arrive(11)
    desk.schedule()
    assert abs(desk.scheduler.backlog_s(1) - 0.04) < 1e-9


def test_cheap_splitting_changes_nothing() -> None:
    desk = Desk(JOINED)
    desk.arrive(*range(1, 9))
    desk.schedule()
    desk.ran(1, 1, *range(1, 9), compute_s=0.1, split_s=0.01)
    desk.arrive(*range(11, 19))
    assert desk.schedule() == [Dispatch(1, 2, 0, list(range(11, 19)))]


# ------------------------------------------------------------------------------------------------- views


def test_the_views_tell_what_is_known() -> None:
    desk = Desk(JOINED, workers=2)
    assert desk.scheduler.predicted_wait_s == 0
    desk.learn(compute_s=0.08, rows=8)
    desk.arrive(*range(1, 9))
    assert (desk.scheduler.queued_calls, desk.scheduler.queued_bytes, desk.scheduler.open_calls) == (8, 80, 8)
    desk.schedule()
    assert (desk.scheduler.queued_calls, desk.scheduler.queued_bytes, desk.scheduler.running) == (0, 0, 8)
    assert desk.scheduler.backlog_s(1) == desk.scheduler.backlog_s(2) == 0.08
    assert desk.scheduler.predicted_wait_s == 0.08
    assert desk.scheduler.backlog_s(3) == 0
