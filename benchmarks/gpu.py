"""Models on the GPU and on the CPU, served and in a plain loop: `python benchmarks/gpu.py`; skips with a reason where no GPU is.

Figures are ratios within one run: GPU ÷ CPU rows per second, served ÷ offline loop. Needs torch and Tiffin in the Python that runs it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402  after the path

from benchmarks import gpu_load, serving  # noqa: E402
from benchmarks.gpu_models import WORKLOADS, Workload  # noqa: E402

_CPU_CONNECTIONS = 16


def devices() -> dict[str, Any]:
    """Return what `tiffin gpus` shows."""
    command = [sys.executable, "-m", "tiffin", "gpus", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def offline(workload: Workload, device: str, seconds: float) -> dict[str, Any]:
    """Time the plain loop in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.gpu_models", workload.name, device, "--seconds", str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds * 4 + 300)
    if done.returncode:
        raise RuntimeError(f"the offline loop of {workload.name} on {device} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def served(workload: Workload, device: str, seconds: float) -> dict[str, Any]:
    """Serve the model and ask it for one row per call from many connections."""
    port = serving.free_port()
    target = f"{ROOT / 'benchmarks' / 'gpu_services.py'}:{workload.name.capitalize()}"
    command = [sys.executable, "-m", "tiffin", "serve", target, "--port", str(port), "--device", device]
    # The other benchmarks hold every server to one thread and no GPU; here the operator's and the server's own settings count.
    ours = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    variables = {name: os.environ[name] for name in ours if name in os.environ}
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    without = [name for name in ours if name not in os.environ]
    with serving.serving(command, port, variables, without) as server:
        body = io.BytesIO()
        np.save(body, workload.rows(1))
        content = body.getvalue()
        server.wait_ready("/predict", content, {"content-type": "application/x-npy"})
        connections = _CPU_CONNECTIONS if device == "cpu" else workload.connections
        processes = max(1, min(8, (os.cpu_count() or 2) // 2))
        figures = gpu_load.run(port, "/predict", content, connections, seconds, processes)
        where = serving.post_json(port, "/where", {})
        now = devices() if device != "cpu" else {}
    return {
        "rows_per_s": figures.calls_per_s,
        "p50_ms": figures.p50_ms,
        "p99_ms": figures.p99_ms,
        "errors": figures.errors,
        "client_cores": figures.client_cores,
        "connections": connections,
        "where": where,
        "gpus": now,
    }


def measure(workload: Workload, device: str, seconds: float, rounds: int) -> dict[str, Any]:
    """Run the loop and the server in turn; return the medians with all rounds beside them."""
    all_rounds = []
    for number in range(1, rounds + 1):
        print(f"{workload.name} on {device}: round {number} of {rounds}", file=sys.stderr, flush=True)
        all_rounds.append({"offline": offline(workload, device, seconds), "served": served(workload, device, seconds)})
    middle = sorted(all_rounds, key=lambda one: one["served"]["rows_per_s"])[len(all_rounds) // 2]
    return {**middle, "rounds": all_rounds}


def table(found: dict[str, dict[str, Any]]) -> str:
    """Return the figures as text."""
    lines = [
        f"{'model':<12}{'device':<8}{'offline rows/s':>15}{'served rows/s':>15}{'served ÷ offline':>18}"
        f"{'p50 ms':>9}{'p99 ms':>9}{'peak MiB':>10}{'errors':>8}"
    ]
    for name, by_device in found.items():
        for device, one in by_device.items():
            loop, server = one["offline"], one["served"]
            lines.append(
                f"{name:<12}{device:<8}{loop['rows_per_s']:>15,.1f}{server['rows_per_s']:>15,.1f}"
                f"{server['rows_per_s'] / loop['rows_per_s']:>17.2f}x{server['p50_ms']:>9.1f}{server['p99_ms']:>9.1f}"
                f"{server['where']['peak_bytes'] / 2**20:>10,.0f}{server['errors']:>8}"
            )
        if {"cpu", "cuda"} <= set(by_device):
            ratio = by_device["cuda"]["served"]["rows_per_s"] / by_device["cpu"]["served"]["rows_per_s"]
            lines.append(f"{name:<12}GPU ÷ CPU, served: {ratio:,.1f}x")
    return "\n".join(lines)


def main() -> int:
    """Measure, print the table, write docs/results/gpu-….json."""
    parser = argparse.ArgumentParser(prog="python benchmarks/gpu.py", description=__doc__)
    parser.add_argument("--workload", default=",".join(WORKLOADS), help=f"of {', '.join(WORKLOADS)} (default: all)")
    parser.add_argument("--seconds", type=float, default=8, help="of load per measurement (default: 8)")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything runs (default: 3)")
    parser.add_argument("--cpu-only", action="store_true", help="the CPU's half, to try the program where no GPU is")
    options = parser.parse_args()
    names = options.workload.split(",")
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        parser.error(f"unknown workload {unknown[0]!r}; known are {', '.join(WORKLOADS)}")
    gpus = devices()
    if not gpus["devices"] and not options.cpu_only:
        print(f"skipped: {gpus['reason']}\nhint: --cpu-only tries the CPU's half", file=sys.stderr)
        return 0
    places = ("cpu",) if options.cpu_only else ("cpu", "cuda")
    found = {
        name: {place: measure(WORKLOADS[name], place, options.seconds, options.rounds) for place in places}
        for name in names
    }
    print(table(found))
    if not options.cpu_only:
        began = datetime.now(UTC)
        path = ROOT / "docs" / "results" / f"gpu-{began:%Y%m%dT%H%M%SZ}.json"
        commit = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        machine = {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}
        content = {"command": " ".join(sys.argv), "commit": commit, "machine": machine, "gpus": gpus, "found": found}
        path.write_text(json.dumps(content, indent=2) + "\n")
        print(f"results: {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
