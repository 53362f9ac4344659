"""Device memory that runs out and devices that die, under load: what callers notice (nothing), and what the server learns."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.load import Load
from tests.process.test_faults import HERE, figures, rows, two_ready, until
from tiffin.testing import TestServer


class Scarce:
    """The server, and what its methods wrote."""

    def __init__(self, server: TestServer, notes: Path, fuse: Path) -> None:
        self.server = server
        self.notes = notes
        self.fuse = fuse

    def runs(self) -> list[tuple[int, float]]:
        """Return the rows of every run of `total`, and when it was."""
        lines = self.notes.read_text().split("\n")[:-1]
        return [(int(line.split()[0]), float(line.split()[1])) for line in lines]

    def metric(self, name: str) -> float:
        """Return the sum of a metric's samples."""
        text = self.server.request("GET", "/metrics")[2].decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


@pytest.fixture
def scarce(tmp_path: Path) -> Iterator[Scarce]:
    notes, fuse = tmp_path / "notes", tmp_path / "fuse"
    notes.write_text("")
    env = {"SCARCE_NOTES": str(notes), "SCARCE_FUSE": str(fuse)}
    with TestServer(
        "services.py:Scarce", app_dir=HERE, options=["--workers", "2", "--device", "cpu"], env=env
    ) as server:
        yield Scarce(server, notes, fuse)


def starve(scarce: Scarce, seconds: float, connections: int = 48) -> None:
    """Load `total`; no call may fail, and what was learned must hold."""
    with Load(scarce.server.port, "/total", connections, rows) as load:
        assert until(lambda: scarce.metric("tiffin_batch_limit_rows") > 0)
        time.sleep(0.3)  # what was under way when it was learned
        learned = time.monotonic()
        time.sleep(seconds)
    assert set(load.outcomes) == {"ok"}, load.problems
    limit = scarce.metric("tiffin_batch_limit_rows")
    assert limit == 8
    after = [count for count, at in scarce.runs() if at > learned]
    assert len(after) > 20
    assert max(after) == limit
    text = scarce.server.request("GET", "/metrics")[2].decode()
    assert f'tiffin_batch_limit_rows{{method="total",service="Scarce"}} {limit}' in text
    figures(
        calls=load.outcomes["ok"],
        failed=0,
        runs=len(scarce.runs()),
        runs_out_of_memory=sum(count > 8 for count, _ in scarce.runs()),
        most_rows_before=max(count for count, _ in scarce.runs()),
        most_rows_after=max(after),
    )


def test_memory_that_runs_out_costs_no_call_and_the_limit_is_kept(scarce: Scarce) -> None:
    starve(scarce, 1.0)
    log = scarce.server.log()
    assert "method 'total' ran out of memory with " in log
    assert "died" not in log
    # A worker that is replaced need not learn it again, and a call of many rows is run in parts.
    os.kill(scarce.server.worker_pids()[0], 9)
    assert until(lambda: two_ready(scarce.server))
    seen = len(scarce.runs())
    with Load(scarce.server.port, "/total", 48, rows) as load:
        time.sleep(0.5)
    assert set(load.outcomes) == {"ok"}, load.problems
    status, answer = scarce.server.post("/total", {"x": [[n, 1, 2, 3.5] for n in range(50)]})
    assert (status, answer) == (200, [n + 6.5 for n in range(50)])
    assert max(count for count, _ in scarce.runs()[seen:]) <= 8


def die(scarce: Scarce, times: int) -> None:
    """Have a worker's device die so often under load; no call may fail."""
    server = scarce.server
    with Load(server.port, "/fragile", 32, rows) as load:
        for _ in range(times):
            assert until(lambda: two_ready(server)), server.log()
            before = set(server.worker_pids())
            scarce.fuse.touch()
            assert until(lambda before=before: before - set(server.worker_pids()) != set()), server.log()  # type: ignore[misc]
        assert until(lambda: two_ready(server)), server.log()
    assert set(load.outcomes) == {"ok"}, load.problems
    assert scarce.metric('tiffin_worker_restarts_total{cause="device"') == times
    figures(calls=load.outcomes["ok"], failed=0, devices_lost=times)


def test_a_dead_device_costs_a_worker_and_no_call(scarce: Scarce) -> None:
    die(scarce, 2)
    assert "CUDA error: device-side assert triggered" in scarce.server.log()
    assert "the device is lost to this process" in scarce.server.log()


def test_a_call_that_kills_the_device_is_found_out(scarce: Scarce) -> None:
    server = scarce.server
    status, answer = server.post("/fragile", {"x": [[-1, 0, 0, 0]]})
    assert (status, answer["error"]["code"]) == (500, "POISON"), json.dumps(answer)
    assert until(lambda: two_ready(server))
    assert server.post("/fragile", {"x": [[1, 0, 0, 0]]}) == (200, [1.0])


@pytest.mark.long
@pytest.mark.timeout(600)
def test_long_starve(scarce: Scarce) -> None:
    starve(scarce, 60.0, 96)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_long_die(scarce: Scarce) -> None:
    die(scarce, 20)
