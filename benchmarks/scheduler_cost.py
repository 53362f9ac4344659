"""Print what the scheduler costs per call: 64 callers in a closed loop on one worker, a method of 10 µs, no I/O.

    python benchmarks/scheduler_cost.py [calls]

Each round does what the engine does in one turn of its loop: take the arrivals, schedule, take the answers of one batch.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time

from tiffin.batching.instructions import Dispatch
from tiffin.batching.policy import Limits, MethodPolicy, Slots, Ticket
from tiffin.batching.scheduler import Scheduler

CALLERS = 64
COMPUTE_S = 10e-6


def run(calls: int, policy: MethodPolicy, arrive_in: int) -> tuple[float, float]:
    """Drive `calls` calls through a scheduler, `arrive_in` of them per turn at most.

    Returns:
        Microseconds per call, and the mean number of calls per batch.
    """
    scheduler = Scheduler([policy], Limits())
    scheduler.worker_up(0.0, 1, Slots())
    out: list[Dispatch] = []
    sent = done = batches = 0
    waiting = CALLERS
    now = 100.0
    began = time.perf_counter()
    while done < calls:
        for _ in range(min(waiting, arrive_in)):
            sent += 1
            waiting -= 1
            scheduler.arrive(now, Ticket(sent, 0, 1, 20, now, now + 60.0))
        out += scheduler.schedule(now)
        batch = out.pop(0)
        members = batch.calls
        now += COMPUTE_S * len(members)
        for call in members:
            scheduler.answered(call)
        scheduler.finished(now, 1, batch.batch, COMPUTE_S * len(members), len(members), 0.0)
        done += len(members)
        waiting += len(members)
        batches += 1
    return (time.perf_counter() - began) / done * 1e6, done / batches


def main() -> None:
    """Print medians of interleaved rounds."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    cases = {
        "unbatchable, all callers at once": (MethodPolicy(name="noop"), 64),
        "unbatchable, 8 arrivals a turn": (MethodPolicy(name="noop"), 8),
        "batchable, all callers at once": (MethodPolicy(name="mlp", batchable=True), 64),
        "async, one dispatch a call": (MethodPolicy(name="wait", lane="async"), 64),
    }
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for _ in range(5):
        for name, (policy, arrive_in) in cases.items():
            gc.collect()
            figures[name].append(run(calls, policy, arrive_in))
    for name, rounds in figures.items():
        cost = statistics.median(cost for cost, _ in rounds)
        worst = max(cost for cost, _ in rounds)
        print(f"{name:36} {cost:5.2f} µs per call (worst {worst:5.2f}), {rounds[-1][1]:5.1f} calls per batch")


if __name__ == "__main__":
    main()
