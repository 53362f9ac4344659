from __future__ import annotations

import pytest

from tests.unit.batching.desk import Desk
from tiffin.batching.instructions import Dispatch, Instruction, Kill, Reject
from tiffin.batching.policy import MethodPolicy, Slots
from tiffin.errors import Code

PLAIN = MethodPolicy(name="plain")
JOINED = MethodPolicy(name="joined", batchable=True, max_rows=4, run_limit_s=1.0)
WAITS = MethodPolicy(name="waits", lane="async")


def codes(instructions: list[Instruction]) -> list[tuple[int, Code]]:
    assert all(isinstance(instruction, Reject) for instruction in instructions)
    return [(reject.call, reject.code) for reject in instructions if isinstance(reject, Reject)]


def test_members_of_a_dead_batch_run_again_each_alone_and_first() -> None:
    desk = Desk(JOINED, workers=2)
    desk.arrive(1, 2, 3, 4)
    assert [order.calls for order in desk.schedule() if isinstance(order, Dispatch)] == [[1, 2], [3, 4]]
    desk.arrive(5)
    assert desk.down(1) == []
    assert desk.schedule() == []
    desk.ran(2, 2, 3, 4)
    assert desk.schedule() == [Dispatch(2, 3, 0, [1], attempt=2)]
    assert desk.schedule() == [], "nothing is staged behind it"
    desk.ran(2, 3, 1)
    assert desk.schedule() == [Dispatch(2, 4, 0, [2], attempt=2)]
    desk.ran(2, 4, 2)
    assert desk.schedule() == [Dispatch(2, 5, 0, [5])]


def test_answered_and_cancelled_members_are_not_run_again() -> None:
    desk = Desk(JOINED)
    desk.arrive(1, 2, 3)
    desk.schedule()
    desk.scheduler.answered(1)
    desk.scheduler.cancel(desk.now, 2)
    assert desk.down(1) == []
    assert desk.scheduler.open_calls == 1
    desk.up(2)
    assert desk.schedule() == [Dispatch(2, 2, 0, [3], attempt=2)]


def test_a_call_that_dies_twice_the_second_time_alone_is_poison() -> None:
    desk = Desk(JOINED)
    desk.arrive(1, 2)
    desk.schedule()
    desk.down(1)
    desk.up(2)
    assert desk.schedule() == [Dispatch(2, 2, 0, [1], attempt=2)]
    (reject,) = desk.down(2)
    assert isinstance(reject, Reject)
    assert (reject.call, reject.code) == (1, Code.POISON)
    assert "'joined'" in reject.message
    desk.up(3)
    assert desk.schedule() == [Dispatch(3, 3, 0, [2], attempt=2)]


def test_a_call_may_be_cancelled_while_it_waits_to_be_run_again() -> None:
    desk = Desk(JOINED)
    desk.arrive(1, 2)
    desk.schedule()
    desk.down(1)
    desk.scheduler.cancel(desk.now, 1)
    desk.scheduler.answered(2)  # its answer was under way
    assert desk.scheduler.open_calls == desk.scheduler.queued_calls == 0
    desk.up(1)
    assert desk.schedule() == []


@pytest.mark.parametrize("cause", ["killed", "oom_killer", "link", "run_limit"])
def test_other_ends_of_a_worker_are_no_blame_but_an_attempt(cause: str) -> None:
    desk = Desk(PLAIN)
    desk.arrive(1)
    for attempt in range(1, 4):
        assert desk.schedule() == [Dispatch(1, attempt, 0, [1], attempt=attempt)]
        assert desk.down(1, cause) == []
        desk.up(1)
    desk.schedule()
    (reject,) = desk.down(1, cause)
    assert isinstance(reject, Reject)
    assert (reject.code, reject.retry_after_s > 0) == (Code.WORKER_LOST, True)


def test_batches_that_never_started_carry_no_blame_and_count_no_attempt() -> None:
    desk = Desk(JOINED)
    desk.learn(compute_s=0.0001, rows=4)
    desk.arrive(1, 2, 3, 4)
    desk.arrive(11, 12, 13, 14)
    assert len(desk.schedule()) == 2
    assert desk.down(1) == []
    for call in (1, 2, 3, 4):
        desk.scheduler.cancel(desk.now, call)
    desk.up(1)
    desk.arrive(21, 22)
    assert desk.schedule() == [Dispatch(1, 4, 0, [11, 12, 13, 14], attempt=1), Dispatch(1, 5, 0, [21, 22])]


def test_batches_that_never_started_go_back_in_their_order() -> None:
    desk = Desk(JOINED, slots=Slots(threads=2))
    desk.learn(compute_s=0.0001, rows=4)
    desk.arrive(*range(1, 17))
    assert len(desk.schedule()) == 4
    desk.arrive(21)
    desk.down(1)
    for call in range(1, 9):
        desk.scheduler.cancel(desk.now, call)
    desk.up(1)
    assert [order.calls for order in desk.schedule() if isinstance(order, Dispatch)] == [
        [9, 10, 11, 12],
        [13, 14, 15, 16],
        [21],
    ]


def test_nothing_is_staged_while_calls_wait_to_be_run_alone() -> None:
    desk = Desk(JOINED, workers=2)
    desk.learn(compute_s=0.0001, rows=4)
    desk.arrive(1)
    desk.schedule()
    desk.arrive(2)
    desk.schedule()
    desk.down(1)
    desk.arrive(*range(3, 20))
    assert desk.schedule() == []
    desk.ran(2, 3, 2)
    assert desk.schedule() == [Dispatch(2, 4, 0, [1], attempt=2)]


def test_calls_that_wait_for_a_worker_of_their_own_delay_no_others() -> None:
    desk = Desk(JOINED, slots=Slots(threads=2))
    desk.learn(compute_s=0.4)
    desk.arrive(1, 2)
    desk.schedule()
    desk.down(1)
    desk.up(1)
    desk.schedule()
    assert desk.scheduler.predicted_wait_s > 0
    desk.down(1)
    assert desk.scheduler.queued_calls == 2
    assert desk.scheduler.predicted_wait_s == 0
    desk.up(1)
    desk.schedule()
    desk.scheduler.cancel(desk.now, 2)
    desk.ran(1, 6, 1)
    assert desk.scheduler.predicted_wait_s == 0


def test_a_call_that_is_not_idempotent_is_never_run_twice() -> None:
    desk = Desk(PLAIN)
    desk.arrive(1, idempotent=False)
    desk.schedule()
    (reject,) = desk.down(1, "killed")
    assert isinstance(reject, Reject)
    assert (reject.code, reject.retry_after_s) == (Code.MAYBE_EXECUTED, 0.0)


def test_a_call_that_made_an_outside_call_is_not_idempotent_from_then_on() -> None:
    desk = Desk(PLAIN)
    desk.learn(compute_s=0.0003)
    desk.arrive(1)
    desk.schedule()
    desk.scheduler.made_outside_call(1)
    desk.arrive(2)
    assert desk.schedule() == [], "nothing behind it"
    assert codes(desk.down(1)) == [(1, Code.MAYBE_EXECUTED)]


def test_nothing_is_retried_after_the_first_streamed_byte() -> None:
    desk = Desk(MethodPolicy(name="streams", lane="stream"))
    desk.arrive(1, 2)
    desk.schedule()
    desk.scheduler.streaming(1)
    assert codes(desk.down(1)) == [(1, Code.WORKER_LOST)]
    desk.up(1)
    assert desk.schedule() == [Dispatch(1, 3, 0, [2], attempt=2)]


def test_a_batch_that_broke_the_run_limit_runs_again_one_by_one_and_the_culprit_is_told() -> None:
    desk = Desk(JOINED, workers=1)
    desk.arrive(1, 2)
    desk.schedule()
    assert isinstance(desk.tick(1.1)[0], Kill)
    assert desk.down(1, "run_limit") == []
    desk.up(2)
    assert desk.schedule() == [Dispatch(2, 2, 0, [1], attempt=2)]
    assert isinstance(desk.tick(1.1)[0], Kill)
    assert codes(desk.down(2, "run_limit")) == [(1, Code.RUN_LIMIT)]
    desk.up(3)
    assert desk.schedule() == [Dispatch(3, 3, 0, [2], attempt=2)]


def test_who_runs_beside_a_batch_that_broke_the_run_limit_is_not_told() -> None:
    desk = Desk(JOINED, slots=Slots(threads=2))
    desk.arrive(1)
    desk.schedule()
    desk.now += 0.5
    desk.arrive(2)
    desk.schedule()
    assert isinstance(desk.tick(0.6)[0], Kill)
    assert codes(desk.down(1, "run_limit")) == [(1, Code.RUN_LIMIT)]
    desk.up(2)
    assert desk.schedule() == [Dispatch(2, 3, 0, [2], attempt=2)]


def test_a_culprit_in_company_is_found_with_a_worker_of_its_own() -> None:
    desk = Desk(PLAIN, WAITS, workers=1)
    desk.arrive(1, 2, 3, method=1)
    desk.schedule()
    assert desk.down(1) == []
    desk.up(2)
    assert [order.calls for order in desk.schedule() if isinstance(order, Dispatch)] == [[1], [2], [3]]
    assert desk.down(2) == [], "each was present twice, but never alone"
    desk.up(3)
    desk.arrive(4)
    assert desk.schedule() == [Dispatch(3, 7, 1, [1], attempt=3)], "nothing beside it"
    desk.ran(3, 7, 1)
    assert desk.schedule() == [Dispatch(3, 8, 1, [2], attempt=3)]
    assert codes(desk.down(3)) == [(2, Code.POISON)]
    desk.up(4)
    assert desk.schedule() == [Dispatch(4, 9, 1, [3], attempt=3)]
    desk.ran(4, 9, 3)
    assert desk.schedule() == [Dispatch(4, 10, 0, [4])]


def test_the_worker_kept_free_for_suspects_is_the_least_busy_one() -> None:
    desk = Desk(PLAIN, WAITS, workers=1)
    desk.arrive(1, 2, method=1)
    desk.schedule()
    desk.down(1)
    desk.up(2)
    desk.schedule()
    desk.down(2)
    assert desk.schedule() == [], "no worker, no plan"
    desk.up(3)
    desk.up(4)
    desk.scheduler.worker_paused(4, paused=True)
    desk.scheduler.worker_paused(3, paused=True)
    desk.arrive(10, method=1)
    desk.scheduler.worker_paused(3, paused=False)
    desk.scheduler.cancel(desk.now, 1)
    assert desk.schedule() == [Dispatch(3, 5, 1, [2], attempt=3)]
    desk.scheduler.worker_paused(4, paused=False)
    assert desk.schedule() == [Dispatch(4, 6, 1, [10])]


def test_a_suspect_waits_until_its_worker_is_empty_and_others_do_not() -> None:
    desk = Desk(PLAIN, WAITS, workers=1)
    desk.arrive(1, 2, method=1)
    desk.schedule()
    desk.down(1)
    desk.up(2)
    desk.schedule()
    desk.up(3)
    desk.up(4)
    desk.arrive(11, 12, 13, method=1)
    desk.schedule()
    desk.down(2)
    desk.arrive(14, 15, method=1)
    busy = desk.schedule()
    assert all(isinstance(order, Dispatch) and order.attempt < 3 for order in busy)
    kept = {3, 4} - {order.worker for order in busy if isinstance(order, Dispatch)}
    assert len(kept) == 1
    desk.scheduler.worker_paused(kept.pop(), paused=True)  # then the other one is kept free
    assert desk.schedule() == []


def test_a_suspect_whose_deadline_passed_is_not_run() -> None:
    desk = Desk(PLAIN)
    desk.arrive(1, timeout=0.01)
    desk.schedule()
    desk.down(1)
    desk.now += 0.02
    desk.up(1)
    assert [type(instruction).__name__ for instruction in desk.schedule()] == ["Expire"]


def test_a_worker_is_up_once() -> None:
    desk = Desk(PLAIN)
    with pytest.raises(ValueError, match="worker 1 is already up"):
        desk.up(1)


def test_an_unknown_worker_can_not_die() -> None:
    assert Desk(PLAIN).down(5) == []
