"""Runs the slow cases one after the other and writes what came out to docs/results/<case>.json.

    python scripts/long.py            all cases that have no good result for this commit yet
    python scripts/long.py NAME ...   these cases, again
    python scripts/long.py --list     the names

A case is a pytest selection; it may leave figures by writing a JSON object to the file named in LONG_FIGURES. Times in seconds.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
TAIL_CHARACTERS = 2_000
OPTIONS = ("--long",)


@dataclass(frozen=True)
class Case:
    """One slow run: what it shows and the pytest arguments that run it."""

    name: str
    shows: str
    pytest: tuple[str, ...]
    limit_s: int = 1_800
    environment: dict[str, str] = field(default_factory=dict)


CASES = (
    Case(
        "kill-worker",
        "kill -9 of a worker under load, 20 times: no failed call",
        ("tests/process", "-m", "long", "-k", "kill_worker"),
    ),
    Case(
        "kill-front",
        "kill -9 of the front: served again within a second, workers keep their pids",
        ("tests/process", "-m", "long", "-k", "kill_front"),
    ),
    Case(
        "oom",
        "a device with room for 8 rows under a minute of load: no failed call, the limit learned and kept",
        ("tests/process/test_device_memory.py", "-m", "long", "-k", "starve"),
    ),
    Case(
        "store-kills",
        "save, import, delete, tag and pull killed at 60 system calls each: every name absent or complete, the next try works",
        ("tests/process/test_store_kills.py", "-m", "long"),
    ),
    Case(
        "hostile-models",
        "the cases S-MODEL under python -O and -OO: the same, no foreign code runs",
        ("tests/process/test_hostile_models.py", "-m", "long"),
    ),
    Case(
        "sticky",
        "a device that dies 20 times under load: its worker is replaced, no failed call",
        ("tests/process/test_device_memory.py", "-m", "long", "-k", "die"),
    ),
    Case(
        "placement-properties",
        "no device and no byte given twice, never more than is free, in 20,000 made-up machines",
        ("tests/unit/gpu/test_plan_properties.py", "--timeout=1700"),
        environment={"HYPOTHESIS_PROFILE": "long"},
    ),
    Case(
        "scheduler-properties",
        "no call lost, answered twice or held past its deadline, in 10,000 random orders of events",
        ("tests/unit/batching/test_any_order.py", "--timeout=1700"),
        environment={"HYPOTHESIS_PROFILE": "long"},
    ),
    Case(
        "codec-properties",
        "the front accepts whatever the worker accepts, 20,000 examples a property",
        ("tests/unit/codecs/test_front_accepts.py", "--timeout=1700"),
        environment={"HYPOTHESIS_PROFILE": "long"},
    ),
)


def machine() -> dict[str, Any]:
    """Describe what the figures were measured on."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return {
        "cores": os.cpu_count(),
        "cpu": model,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def commit() -> str:
    """Return the commit that is measured; `-dirty` where the tree differs from it."""
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return run.stdout.strip() or "unknown"


def done(case: Case, now: str) -> bool:
    """Tell whether this commit already has a good result."""
    path = RESULTS / f"{case.name}.json"
    if not path.exists() or now.endswith("-dirty"):
        return False
    result = json.loads(path.read_text())
    return bool(result["passed"] and result["commit"] == now)


def run(case: Case, now: str) -> bool:
    """Run one case, write its result, and tell whether it passed."""
    print(f"{case.name}: {case.shows}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        environment = {**os.environ, **case.environment, "LONG_FIGURES": str(figures)}
        command = [sys.executable, "-m", "pytest", "-q", *OPTIONS, *case.pytest]
        started = datetime.now(UTC)
        clock = time.monotonic()
        try:
            ended = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=case.limit_s
            )
            status, output = ended.returncode, ended.stdout + ended.stderr
        except subprocess.TimeoutExpired:
            status, output = 124, f"did not end within {case.limit_s} s"
        result = {
            "case": case.name,
            "shows": case.shows,
            "passed": status == 0,
            "status": status,
            "command": " ".join(["python", "-m", "pytest", "-q", *OPTIONS, *case.pytest]),
            "environment": case.environment,
            "commit": now,
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - clock, 1),
            "machine": machine(),
            "figures": json.loads(figures.read_text()) if figures.exists() else {},
            "output": output[-TAIL_CHARACTERS:],
        }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{case.name}.json"
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(result, indent=2) + "\n")
    unfinished.replace(path)
    print(
        f"{case.name}: {'passed' if status == 0 else f'FAILED, status {status}'} in {result['seconds']} s", flush=True
    )
    if status != 0:
        print(output[-TAIL_CHARACTERS:], file=sys.stderr)
    return status == 0


def main(arguments: list[str]) -> int:
    """Run the named cases, or all that are missing."""
    if arguments == ["--list"]:
        for case in CASES:
            print(f"{case.name:24}{case.shows}")
        return 0
    names = [case.name for case in CASES]
    unknown = [name for name in arguments if name not in names]
    if unknown:
        print(f"error: no case {unknown[0]!r}; there are: {', '.join(names)}", file=sys.stderr)
        return 2
    now = commit()
    failed = False
    for case in CASES:
        if arguments and case.name not in arguments:
            continue
        if not arguments and done(case, now):
            print(f"{case.name}: has a good result for this commit")
            continue
        failed = not run(case, now) or failed
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
