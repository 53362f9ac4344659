"""Workers on made-up GPUs that die: when they are started again, and when not; with real processes and a made-up driver."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.test_supervisor import alive, gone
from tiffin.testing import FakeDevices, TestServer

SERVICE = """
import os, subprocess, sys
import tiffin


@tiffin.service(resources={"gpu": 1, "exclusive": True})
class Digits:
    @tiffin.api
    def who(self) -> dict[str, int]:
        return {"pid": os.getpid()}

    @tiffin.api
    def helper(self) -> dict[str, int]:
        # As torchrun does: a session of its own, which nobody finds by the worker's.
        code = "import time; time.sleep(600)"
        return {"pid": subprocess.Popen([sys.executable, "-c", code], start_new_session=True).pid}
"""


class House:
    """A server on made-up boards."""

    def __init__(self, server: TestServer, fake: FakeDevices) -> None:
        self.server = server
        self.fake = fake

    def pids(self) -> list[int]:
        return self.server.worker_pids()

    def until(self, true: Callable[[], Any], seconds: float = 20.0) -> Any:
        end = time.monotonic() + seconds
        while True:
            try:
                found = true()
            except OSError:
                found = None
            if found:
                return found
            assert time.monotonic() < end, self.server.log()
            time.sleep(0.02)

    def ready(self, count: int = 2) -> list[dict[str, Any]]:
        def workers() -> list[dict[str, Any]] | None:
            found = [worker for worker in self.server.status()["workers"] if worker["state"] == "ready"]
            return found if len(found) == count else None

        found: list[dict[str, Any]] = self.until(workers)
        return found

    def pid_on(self, board: int) -> int:
        uuid = f"GPU-{board:08d}"
        return int(next(worker["pid"] for worker in self.ready() if worker["uuids"][0].startswith(uuid)))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    (tmp_path / "service.py").write_text(SERVICE)
    options = ["--workers", "2", "--set", "workers.device_release_s=1.5"]
    with (
        FakeDevices(2) as fake,
        TestServer("service.py:Digits", app_dir=tmp_path, options=options, env=fake.env) as server,
    ):
        yield House(server, fake)


def test_a_replacement_waits_until_the_device_shows_the_old_process_gone(house: House) -> None:
    old = house.pid_on(0)
    house.fake.run([(0, old, 100), (1, 4_000_000, 100)])
    os.kill(old, signal.SIGKILL)
    time.sleep(0.8)
    assert len(house.server.status()["workers"]) == 1
    assert house.server.post("/who", {})[0] == 200, "the other worker goes on"
    house.fake.run([])
    assert house.pid_on(0) != old
    assert "FAILED" not in str(house.server.status()["notes"])


def test_one_that_never_leaves_fails_the_worker_with_its_number(house: House) -> None:
    old = house.pid_on(1)
    house.fake.run([(1, old, 100)])
    os.kill(old, signal.SIGKILL)
    house.until(lambda: "cannot be started" in house.server.log())
    said = f"process {old} has ended and still holds GPU-00000001"
    assert said in house.server.log()
    assert any(said in note and "FAILED" in note for note in house.server.status()["notes"])
    assert house.server.post("/who", {})[0] == 200
    house.fake.run([])
    assert house.pid_on(1) != old, "it is looked at again"
    assert house.server.log().count("cannot be started") == 1


def test_a_lost_board_fails_its_worker_until_it_is_back(house: House) -> None:
    old = house.pid_on(0)
    house.fake.lose(0)
    os.kill(old, signal.SIGKILL)
    house.until(lambda: "cannot be started" in house.server.log())
    assert "fallen off the bus" in house.server.log()
    assert "died while loading" not in house.server.log(), "no crash loop"
    assert house.server.status()["ready"], "the other worker serves"
    house.fake.lose()
    assert house.pid_on(0) != old


def test_the_last_worker_on_a_lost_board_fails_its_service(house: House) -> None:
    house.ready()
    house.fake.lose(0, 1)
    for pid in house.pids():
        os.kill(pid, signal.SIGKILL)
    house.until(lambda: "has no worker" in str(house.server.status()["reason"]))
    status, answer = house.server.post("/who", {})
    assert (status, answer["error"]["code"]) == (503, "UNAVAILABLE")
    assert "is lost" in answer["error"]["message"]


def test_a_boards_fault_replaces_its_worker(house: House) -> None:
    old, other = house.pid_on(0), house.pid_on(1)
    house.fake.xid(0, 31)
    house.until(lambda: "reports Xid 31" in house.server.log())
    assert house.pid_on(0) == old, "a fault of a program is that program's"
    house.fake.xid(0, 95)
    house.until(lambda: house.pid_on(0) != old)
    assert house.pid_on(1) == other
    assert (
        "reports Xid 95: an uncorrectable memory error that may have hit any program on the board" in house.server.log()
    )
    metrics = house.server.request("GET", "/metrics")[2].decode()
    assert 'tiffin_worker_restarts_total{cause="device",service="Digits"} 1.0' in metrics


def test_what_a_worker_started_in_another_session_ends_with_it(house: House) -> None:
    status, answer = house.server.post("/helper", {})
    assert status == 200
    assert alive(answer["pid"])
    for pid in house.pids():
        os.kill(pid, signal.SIGKILL)
    assert gone(answer["pid"])
    house.ready()
