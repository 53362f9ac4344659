"""What the scheduler's rules add up to, with simulated callers, transfers and workers. All figures are exact: no real time."""

from __future__ import annotations

import pytest

from tests.unit.batching.simulation import Simulation
from tiffin.batching.policy import MethodPolicy

MODEL = MethodPolicy(name="model", batchable=True, max_rows=32)
MODEL_PEAK = 32 / 0.036  # rows per second in full batches


def model(method: int, rows: int, worker: int, now: float) -> float:
    return 0.020 + 0.0005 * rows


@pytest.mark.parametrize("timeout", [0.1, 0.2, 1.0])
@pytest.mark.parametrize("times", [2, 10, 50])
def test_goodput_under_overload(times: int, timeout: float) -> None:
    seconds = 10 if times < 50 else 3
    simulation = Simulation([MODEL], model)
    simulation.open_loop(MODEL_PEAK * times, timeout=timeout)
    simulation.run(seconds)
    assert simulation.ends["answered"] >= 0.95 * MODEL_PEAK * seconds
    assert simulation.ends["expired"] <= 0.02 * simulation.ends["answered"], "next to nothing is run for nobody"
    assert max(simulation.waits) <= timeout + 0.025
    assert simulation.ends["refused OVERLOADED"] > 0


def test_no_call_is_refused_below_the_peak() -> None:
    simulation = Simulation([MODEL], model)
    simulation.open_loop(MODEL_PEAK * 0.8, timeout=0.3)
    simulation.run(10)
    assert set(simulation.ends) == {"answered"}
    assert sorted(simulation.waits)[len(simulation.waits) // 2] < 0.060


def test_many_callers_keep_a_worker_of_ten_microseconds_busy() -> None:
    simulation = Simulation([MethodPolicy(name="noop")], lambda method, rows, worker, now: 12e-6 * rows)
    simulation.closed_loop(64)
    simulation.run(0.5)
    assert simulation.busy_s[1] / 0.5 > 0.9
    assert simulation.ends["answered"] / simulation.batches[1] > 20


def test_calls_of_milliseconds_leave_no_gaps() -> None:
    simulation = Simulation([MethodPolicy(name="trees")], lambda method, rows, worker, now: 0.002 * rows, workers=2)
    simulation.closed_loop(8)
    simulation.run(2.0)
    assert min(simulation.busy_s.values()) / 2.0 > 0.97


def test_full_batches_leave_no_gaps() -> None:
    simulation = Simulation([MODEL], model)
    simulation.closed_loop(96)
    simulation.run(2.0)
    assert simulation.busy_s[1] / 2.0 > 0.98
    assert simulation.ends["answered"] / simulation.batches[1] > 31


def test_batches_grow_with_the_load() -> None:
    sizes = []
    for callers in (1, 4, 16):
        simulation = Simulation([MODEL], model)
        simulation.closed_loop(callers)
        simulation.run(1.0)
        sizes.append(simulation.ends["answered"] / simulation.batches[1])
    assert sizes == pytest.approx([1, 4, 16], rel=0.3)


def test_a_slow_worker_gets_less() -> None:
    simulation = Simulation(
        [MODEL], lambda method, rows, worker, now: model(method, rows, worker, now) * worker, workers=2
    )
    simulation.closed_loop(64)
    simulation.run(3.0)
    assert simulation.batches[1] > 1.5 * simulation.batches[2]
    assert min(simulation.busy_s.values()) / 3.0 > 0.9


def test_calls_behind_a_stuck_batch_are_run_elsewhere() -> None:
    def sometimes_stuck(method: int, rows: int, worker: int, now: float) -> float:
        return 2.0 if worker == 1 and 1.5 < now < 1.56 else 0.010

    simulation = Simulation([MethodPolicy(name="model", batchable=True, max_rows=2)], sometimes_stuck, workers=2)
    simulation.closed_loop(8)
    simulation.run(1.5)
    late = [wait for wait in simulation.waits if wait > 0.5]
    assert len(late) <= 2, "only the members of the stuck batch wait for it"
    assert set(simulation.ends) == {"answered"}


def test_a_flood_of_one_method_does_not_starve_another() -> None:
    methods = [MODEL, MethodPolicy(name="other", batchable=True, max_rows=32)]
    simulation = Simulation(methods, model)
    simulation.closed_loop(500, method=0)
    simulation.closed_loop(1, method=1)
    simulation.run(5.0)
    assert simulation.by_method[1] > 5.0 / 0.150
