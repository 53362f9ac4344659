"""What dies, and what the client sees: with real processes, real signals and real sockets."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.load import Load
from tiffin.testing import TestServer

HERE = Path(__file__).parent
TARGET = "services.py:Faulty"


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer(TARGET, app_dir=HERE, options=["--workers", "2"]) as server:
        yield server


def until(true: Callable[[], bool], seconds: float = 15.0) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def two_ready(server: TestServer) -> bool:
    workers = server.status()["workers"]
    return len(workers) == 2 and all(worker["state"] == "ready" for worker in workers)


def rows(number: int) -> tuple[Any, Any]:
    return {"x": [[number, 1, 2, 3.5]]}, [number + 6.5]


def raw(port: int, path: str, content: Any) -> socket.socket:
    """Send a call and do not wait."""
    body = json.dumps(content).encode()
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n".encode()
        + body
    )
    return client


def figures(**found: Any) -> None:
    """Leave figures for `make long`."""
    if "LONG_FIGURES" in os.environ:
        Path(os.environ["LONG_FIGURES"]).write_text(json.dumps(found))


def kill_workers(server: TestServer, times: int) -> Load:
    assert until(lambda: two_ready(server))
    with Load(server.port, "/total", 32, rows) as load:
        for turn in range(times):
            time.sleep(0.2)
            assert until(lambda: two_ready(server)), server.log()
            os.kill(server.worker_pids()[turn % 2], signal.SIGKILL)
        assert until(lambda: two_ready(server)), server.log()
        time.sleep(0.2)
    return load


def test_killed_workers_cost_no_call(server: TestServer) -> None:
    load = kill_workers(server, 3)
    assert set(load.outcomes) == {"ok"}, load.problems
    assert load.outcomes["ok"] > 100


@pytest.mark.long
def test_kill_worker_20_times(server: TestServer) -> None:
    load = kill_workers(server, 20)
    figures(kills=20, calls=load.outcomes.total(), failed=load.outcomes.total() - load.outcomes["ok"])
    assert set(load.outcomes) == {"ok"}, load.problems


def restart_front(server: TestServer) -> float:
    """Kill the front; return the seconds until a call is answered again."""
    assert until(lambda: two_ready(server))
    pids = server.worker_pids()
    os.kill(server.front_pid(), signal.SIGKILL)
    started = time.monotonic()

    def answered() -> bool:
        try:
            return server.post("/double", {"x": 2}) == (200, 4.0)
        except OSError:
            return False

    assert until(answered), server.log()
    took_s = time.monotonic() - started
    assert until(lambda: two_ready(server))
    assert server.worker_pids() == pids
    return took_s


def test_a_killed_front_comes_back_and_the_workers_stay(server: TestServer) -> None:
    restart_front(server)


@pytest.mark.long
def test_kill_front_5_times(server: TestServer) -> None:
    took_s = []
    for _ in range(5):
        took_s.append(restart_front(server))
        time.sleep(1.5)
    figures(seconds_until_served=[round(value, 3) for value in took_s])
    assert max(took_s) <= 1.0


def test_a_queued_call_of_a_client_that_left_is_not_run(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    with TestServer(TARGET, app_dir=HERE) as server:
        server.post("/mark", {"path": str(tmp_path / "warm"), "seconds": 0})
        first = raw(server.port, "/mark", {"path": str(tmp_path / "first"), "seconds": 0.5})
        time.sleep(0.1)
        waiting = [raw(server.port, "/mark", {"path": str(marks), "seconds": 0}) for _ in range(5)]
        time.sleep(0.1)
        for client in waiting:
            client.close()
        assert first.recv(4096)
        first.close()
        server.post("/mark", {"path": str(tmp_path / "last"), "seconds": 0})
    assert not marks.exists()


def test_a_call_that_is_not_idempotent_runs_once_when_its_worker_dies(server: TestServer, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    assert until(lambda: two_ready(server))
    client = raw(server.port, "/once", {"path": str(marks), "seconds": 30})
    assert until(marks.exists)
    for pid in server.worker_pids():
        os.kill(pid, signal.SIGKILL)
    answer = client.recv(65_536)
    client.close()
    assert b"MAYBE_EXECUTED" in answer and b" 500 " in answer
    assert until(lambda: two_ready(server))
    assert marks.read_text() == "ran\n"


def test_a_call_that_kills_every_worker_is_poison_and_runs_twice_at_most(server: TestServer, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    assert until(lambda: two_ready(server))
    status, answer = server.post("/die", {"path": str(marks)})
    assert (status, answer["error"]["code"]) == (500, "POISON")
    assert marks.read_text() == "ran\n" * 2
    assert until(lambda: two_ready(server))
    assert server.post("/double", {"x": 1}) == (200, 2.0)


def test_a_run_beyond_its_limit_is_ended_and_its_worker_replaced(server: TestServer) -> None:
    assert until(lambda: two_ready(server))
    started = time.monotonic()
    status, answer = server.post("/hang", {})
    assert (status, answer["error"]["code"]) == (504, "RUN_LIMIT")
    assert time.monotonic() - started < 10
    assert until(lambda: two_ready(server))


def test_a_deadline_is_answered_in_time(server: TestServer) -> None:
    assert until(lambda: two_ready(server))
    started = time.monotonic()
    status, answer = server.post("/wait", {"seconds": 5}, {"tiffin-timeout-ms": "300"})
    took_s = time.monotonic() - started
    assert (status, answer["error"]["code"]) == (504, "DEADLINE")
    assert 0.3 <= took_s < 1.0


def test_a_worker_that_left_a_child_behind_is_noticed_and_its_group_killed(server: TestServer) -> None:
    assert until(lambda: two_ready(server))
    status, answer = server.post("/fork_and_die", {})
    assert (status, answer["error"]["code"]) == (500, "POISON")
    assert until(lambda: two_ready(server))
    assert server.post("/double", {"x": 1}) == (200, 2.0)


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def test_a_reader_that_never_reads_holds_little_and_others_go_on(server: TestServer) -> None:
    assert until(lambda: two_ready(server))
    server.post("/double", {"x": 1})
    before = rss_bytes(server.front_pid())
    stuck = []
    for _ in range(4):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        body = b'{"chunks": 10000}'
        client.sendall(
            b"POST /flood HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        stuck.append(client)
    time.sleep(1.0)
    assert server.post("/double", {"x": 4}) == (200, 8.0)
    assert rss_bytes(server.front_pid()) - before < 4 * 1_048_576 + 2_000_000
    for client in stuck:
        client.close()


def test_a_frozen_worker_is_found_and_replaced(server: TestServer) -> None:
    assert until(lambda: two_ready(server))
    pid = server.worker_pids()[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert until(lambda: pid not in server.worker_pids(), 12), server.status()
    finally:
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGCONT)
    assert until(lambda: two_ready(server))


def test_a_stop_answers_what_is_open(tmp_path: Path) -> None:
    with TestServer(TARGET, app_dir=HERE) as server:
        server.post("/double", {"x": 1})
        with Load(server.port, "/wait", 8, lambda _number: ({"seconds": 0.3}, 0.3)) as load:
            time.sleep(0.5)
            assert server.process is not None
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(30)
        assert server.process.returncode == 0
    assert load.outcomes["ok"] >= 8
    assert set(load.outcomes) <= {"ok", "ConnectionRefusedError"}, load.problems
