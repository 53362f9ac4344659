"""Watches the event loop of Tiffin's front from inside: how long it was away, and how much of that it computed.

Put first on PYTHONPATH with BENCH_LOOP_REPORT naming a file; Python imports it at start. It does nothing in other processes. A tick each
millisecond: what the loop's thread computed between two ticks (CPU time) bounds the longest callback; how late a tick came (wall time) is
that and whatever else the machine ran on the core.
"""

import json
import os
import sys
import time

_TICK_S = 0.001


def _watch() -> None:
    import uvloop

    run_forever = uvloop.Loop.run_forever

    def watched(loop) -> None:
        late: list[float] = []
        busy: list[float] = []
        last = [time.perf_counter(), time.thread_time()]

        def tick() -> None:
            now, cpu = time.perf_counter(), time.thread_time()
            late.append(now - last[0] - _TICK_S)
            busy.append(cpu - last[1])
            last[:] = now, cpu
            loop.call_later(_TICK_S, tick)

        def save() -> None:
            if late:
                report = {"ticks": len(late)}
                for name, values in (("late", sorted(late)), ("busy", sorted(busy))):
                    for share in (0.5, 0.99, 0.999):
                        report[f"{name}_p{share * 100:g}_ms"] = round(1000 * values[int(share * (len(values) - 1))], 3)
                    report[f"{name}_max_ms"] = round(1000 * values[-1], 3)
                report["busy_over_5_ms"] = sum(value > 0.005 for value in busy)
                report["late_over_5_ms"] = sum(value > 0.005 for value in late)
                path = os.environ["BENCH_LOOP_REPORT"]
                with open(path + ".new", "w") as file:
                    json.dump(report, file)
                os.replace(path + ".new", path)

        def begin() -> None:
            last[:] = time.perf_counter(), time.thread_time()
            late.clear()
            busy.clear()
            tick()

        loop.call_later(_WARM_S, begin)  # the start is no part of it, and neither is what the warm-up compiles
        try:
            run_forever(loop)
        finally:
            save()

    uvloop.Loop.run_forever = watched


_WARM_S = float(os.environ.get("BENCH_LOOP_AFTER_S", "3"))
if os.environ.get("BENCH_LOOP_REPORT") and any("front" in word for word in sys.orig_argv):
    _watch()
