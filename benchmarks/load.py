"""Closed-loop load through wrk: one function, figures in seconds and calls; never starts or checks a server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = Path(__file__).parent / "wrk" / "post.lua"
_MARK = "FIGURES "


@dataclass(frozen=True)
class Load:
    """What to send: bodies of one file in turn, over keep-alive connections.

    Attributes:
        url: where to post.
        bodies: a file with one body per line, or one body when `binary`.
        connections: how many calls are in flight.
        seconds: how long.
        content_type: of every body.
        binary: the whole file is one body.
    """

    url: str
    bodies: Path
    connections: int
    seconds: float
    content_type: str = "application/json"
    binary: bool = False


@dataclass(frozen=True)
class Figures:
    """What one run of the load saw; latencies in milliseconds."""

    calls: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: int

    @property
    def calls_per_s(self) -> float:
        """Successful and failed calls per second."""
        return self.calls / self.seconds


class MissingWrk(Exception):
    """wrk is not installed."""


def require_wrk() -> str:
    """Find wrk.

    Returns:
        Its path.

    Raises:
        MissingWrk: with the way to get it.
    """
    found = shutil.which("wrk")
    if found is None:
        message = (
            "wrk, the load generator, is not installed.\nhint: apt-get install wrk (Debian, Ubuntu) or brew install wrk"
        )
        raise MissingWrk(message)
    return found


def run(load: Load) -> Figures:
    """Send load until its time is over.

    Args:
        load: what to send.

    Returns:
        The figures of the run.

    Raises:
        RuntimeError: wrk failed or printed no figures.
    """
    # Whole seconds are all that wrk takes. One thread: it saturates any server here, and two would take cores from it.
    command = [
        *(require_wrk(), "-t1", f"-c{load.connections}", f"-d{max(1, round(load.seconds))}s", "--timeout", "30s"),
        *("--latency", "-s", str(_SCRIPT), load.url),
    ]
    environment = {
        **os.environ,
        "WRK_TYPE": load.content_type,
        "WRK_BODY" if load.binary else "WRK_BODIES": str(load.bodies),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if done.returncode or not lines:
        message = f"wrk failed with status {done.returncode}: {done.stderr.strip() or done.stdout.strip()}"
        raise RuntimeError(message)
    raw = json.loads(lines[-1].removeprefix(_MARK))
    return Figures(
        calls=raw["calls"],
        seconds=raw["duration_us"] / 1e6,
        p50_ms=raw["p50_us"] / 1e3,
        p99_ms=raw["p99_us"] / 1e3,
        max_ms=raw["max_us"] / 1e3,
        errors=raw["socket_errors"] + raw["status_errors"] + raw["timeouts"],
    )
