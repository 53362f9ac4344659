"""`run` with real fronts and workers: what dies is replaced, what stops leaves nothing behind."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tiffin.testing.devices import FakeDevices

RUN = """
import sys
import msgspec
from tiffin.config.parts import Config
from tiffin.errors import UsageError
from tiffin.server.supervisor import run
try:
    sys.exit(run("service:Svc", sys.argv[1], msgspec.json.decode(sys.argv[2], type=Config), reload=sys.argv[3] == "reload"))
except UsageError as error:
    sys.exit(f"error: {error.message}\\nhint: {error.hint}\\nexit {error.exit_code}")
"""

SERVICE = """
import os, subprocess, sys, time
import tiffin

VERSION = 1

@tiffin.service
class Svc:
    @tiffin.api
    def who(self) -> dict[str, int]:
        return {"pid": os.getpid(), "version": VERSION}

    @tiffin.api
    def where(self) -> dict[str, str]:
        return {"device": tiffin.device(), "visible": os.environ["CUDA_VISIBLE_DEVICES"], "threads": os.environ["OMP_NUM_THREADS"]}

    @tiffin.api
    def fork(self) -> int:
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], process_group=0).pid

    @tiffin.api(idempotent=False)
    def sleep(self, seconds: float) -> int:
        time.sleep(seconds)
        return os.getpid()
"""


class Server:
    """One supervisor in a process of its own, and what it wrote."""

    def __init__(self, folder: Path, *, reload: bool = False, env: dict[str, str] | None = None, **config: Any) -> None:
        self.folder = folder
        self.log_path = folder / "log.txt"
        http = {"port": 0} | config.pop("http", {})
        settings = json.dumps({"http": http, **config})
        clean = {name: value for name, value in os.environ.items() if not name.endswith("VISIBLE_DEVICES")}
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", RUN, str(folder), settings, "reload" if reload else ""],
                env=clean | {"XDG_CACHE_HOME": str(folder / "cache"), "TMPDIR": "/tmp"} | (env or {}),
                cwd=folder,
                stdout=log,
                stderr=log,
            )
        self.port = 0

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def until(self, condition: Callable[[], Any], what: str, limit_s: float = 30.0) -> Any:
        end = time.monotonic() + limit_s
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > end or self.process.poll() is not None:
                pytest.fail(f"no {what}; the log:\n{self.log}")
            time.sleep(0.02)

    def until_log(self, pattern: str, limit_s: float = 30.0) -> re.Match[str]:
        match: re.Match[str] = self.until(lambda: re.search(pattern, self.log), f"line {pattern!r}", limit_s)
        return match

    def ready(self) -> Server:
        self.port = int(self.until_log(r"ready after [\d.]+ s: http://127\.0\.0\.1:(\d+)\n")[1])
        return self

    def request(self, path: str, body: Any = None, method: str = "POST") -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            payload = json.dumps(body or {}) if method == "POST" else None
            connection.request(method, path, payload, {"content-type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")
        finally:
            connection.close()

    def call(self, path: str, body: Any = None) -> Any:
        status, answer = self.request(path, body)
        assert status == 200, answer
        return answer

    def children(self) -> dict[int, str]:
        """Return the supervisor's child processes: pid → command line."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return {int(pid): command_of(int(pid)) for pid in listed}

    def front(self) -> int:
        return next(pid for pid, command in self.children().items() if "front" in command)

    def stop(self, number: int = signal.SIGINT, limit_s: float = 20.0) -> int:
        self.process.send_signal(number)
        return self.process.wait(limit_s)


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def gone(*pids: int, limit_s: float = 10.0) -> bool:
    end = time.monotonic() + limit_s
    while any(alive(pid) for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    servers: list[Server] = []

    def begin(code: str = SERVICE, **more: Any) -> Server:
        (tmp_path / "service.py").write_text(code)
        servers.append(Server(tmp_path, **more))
        return servers[-1]

    yield begin
    for server in servers:
        if server.process.poll() is None:
            children = list(server.children())
            server.process.kill()
            server.process.wait(10)
            for pid in children:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass


def test_from_start_to_stop(start):
    server = start().ready()
    assert server.call("/who")["version"] == 1
    assert "worker 0 of Svc: CPU (pid " in server.log
    assert "WARNING: Svc runs on the CPU: no NVIDIA driver visible: " in server.log
    assert "/docs\n" in server.log
    status, ready = server.request("/readyz", method="GET")
    assert status == 200
    assert "runs on the CPU" in json.dumps(ready)
    assert server.call("/where") == {"device": "cpu", "visible": "", "threads": str(len(os.sched_getaffinity(0)))}
    children = list(server.children())
    folder = f"tiffin-{server.process.pid}-*"
    assert len(list(Path("/tmp").glob(folder))) == 1
    assert server.stop() == 0
    assert gone(*children)
    assert not list(Path("/tmp").glob(folder))


def test_a_second_start_takes_the_description_from_the_cache_and_one_that_lies_is_found_out(start):
    code = SERVICE.replace("@tiffin.service\n", "@tiffin.service(concurrency=int(os.environ.get('LANES', '128')))\n")
    server = start(code).ready()
    assert server.stop() == 0
    server = start(code).ready()
    assert server.stop(signal.SIGTERM) == 0
    assert "describing it again" not in server.log
    # The specification depends on something that no cache can know of.
    server = start(code, env={"LANES": "7"}).ready()
    assert server.call("/who")["version"] == 1
    assert "worker 0 of Svc is not what was described; describing it again" in server.log
    assert server.stop() == 0


def test_a_killed_worker_is_replaced_and_takes_what_it_started_along(start):
    server = start().ready()
    worker = server.call("/who")["pid"]
    forked = server.call("/fork")
    assert alive(forked)
    os.kill(worker, signal.SIGKILL)
    server.until_log(r"worker 0 of Svc died \(.*\); starting it again")
    assert gone(worker, forked)
    assert server.call("/who")["pid"] != worker
    assert server.stop() == 0


def test_a_killed_front_is_replaced_and_the_workers_stay(start):
    server = start().ready()
    worker = server.call("/who")["pid"]
    time.sleep(1.0)  # a front that dies in its first second waits a little before the next one
    os.kill(server.front(), signal.SIGKILL)
    killed = time.monotonic()
    while True:  # connections wait in the socket that the supervisor holds; calls wait for the worker's link
        try:
            assert server.call("/who")["pid"] == worker
            break
        except (AssertionError, OSError, http.client.HTTPException):
            assert time.monotonic() - killed < 10
            time.sleep(0.02)
    assert time.monotonic() - killed < 5
    assert server.stop() == 0


def test_a_killed_supervisor_takes_all_along(start):
    server = start().ready()
    children = list(server.children())
    assert len(children) == 2
    server.process.kill()
    server.process.wait(10)
    assert gone(*children)
    again = start(http={"port": server.port}).ready()  # the port is free
    assert again.stop() == 0


def test_deaths_in_load_end_in_failed_with_the_reason(start):
    code = SERVICE.replace("class Svc:\n", "class Svc:\n    def __init__(self):\n        os._exit(9)\n\n")
    server = start(code, workers={"backoff_s": 0.01, "crash_limit": 3}, http={"port": 0})
    server.until_log("Svc cannot be loaded: its workers keep dying while they load it, last: exit status 9")
    server.port = listening_port(server)
    status, answer = server.request("/readyz", method="GET")
    assert status == 503
    assert "cannot be loaded" in json.dumps(answer)
    status, answer = server.request("/who")
    assert status == 503
    assert server.stop() == 0


def listening_port(server: Server) -> int:
    """Return the port of a server that is not ready: the one that its front's first socket listens on."""
    for fd in Path(f"/proc/{server.process.pid}/fd").iterdir():
        inode = str(fd.readlink()).removeprefix("socket:[").rstrip("]")
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] == inode and fields[3] == "0A":
                return int(fields[1].split(":")[1], 16)
    raise AssertionError(server.log)


def test_a_service_that_cannot_be_imported_ends_the_start(start):
    server = start("import nothing_of_that_name\n")
    assert server.process.wait(20) == 70
    assert "nothing_of_that_name" in server.log
    assert "service cannot be described" not in server.log


def test_a_taken_port_ends_the_start(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = start(http={"port": port})
        assert server.process.wait(20) == 1
    assert f"error: port {port} on 127.0.0.1 is taken by" in server.log
    assert f"(pid {os.getpid()})" in server.log


def test_a_certificate_that_cannot_be_used_ends_the_start(start):
    server = start(http={"tls_certificate": "nowhere.pem"})
    assert server.process.wait(20) == 1
    assert "error: TLS certificate 'nowhere.pem'" in server.log
    assert "worker 0" not in server.log


def test_an_init_that_raises_shows_its_traceback_once(start):
    code = SERVICE.replace("class Svc:\n", "class Svc:\n    def __init__(self):\n        open('/no/model')\n\n")
    server = start(code, workers={"backoff_s": 0.01, "crash_limit": 3})
    server.until_log("Svc cannot be loaded")
    assert server.log.count("Traceback") == 1
    assert re.search(r"Svc could not be loaded: FileNotFoundError: .*'/no/model' \(at .*, line \d+\)\n", server.log)
    assert server.stop() == 0


def test_too_few_devices_end_the_start_before_any_worker(start):
    server = start(
        SERVICE.replace("@tiffin.service\n", "@tiffin.service(resources={'gpu': 1})\n"),
        env={"CUDA_VISIBLE_DEVICES": ""},
    )
    server.process.wait(20)
    assert "error: not enough GPUs for service Svc: " in server.log
    assert "--device cpu" in server.log
    assert "worker 0" not in server.log


def test_device_cpu_is_the_way_out(start):
    code = SERVICE.replace("@tiffin.service\n", "@tiffin.service(resources={'gpu': 1})\n")
    server = start(code, workers={"device": "cpu"}).ready()
    assert "WARNING: Svc asks for 1 GPU(s) and runs on the CPU, as --device cpu says" in server.log
    assert server.stop() == 0


def test_a_worker_sees_its_own_device_only(start):
    code = SERVICE.replace("@tiffin.service\n", "@tiffin.service(resources={'gpu': 1}, workers=2)\n")
    with FakeDevices(2) as devices:
        server = start(code, env=devices.env).ready()
        assert "worker 0 of Svc: GPU 0 NVIDIA Fake 80GB (pid " in server.log
        assert "worker 1 of Svc: GPU 1 NVIDIA Fake 80GB (pid " in server.log
        answer = server.call("/where")
        assert answer["device"] == "cuda:0"
        assert re.fullmatch(r"GPU-0000000[01]-[0-]+", answer["visible"])
        assert server.stop() == 0


def test_no_file_of_the_users_folder_stands_in_for_a_library_of_the_front(start, tmp_path):
    for name in ("uvloop", "httptools", "prometheus_client"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the wrong place')\n")
    server = start().ready()
    assert server.call("/who")["version"] == 1
    assert "imported from the wrong place" not in server.log
    assert server.stop() == 0


def test_a_second_signal_does_not_wait_for_a_stuck_call(start):
    server = start().ready()
    worker = server.call("/who")["pid"]
    caller = threading.Thread(target=lambda: ignore(lambda: server.request("/sleep", {"seconds": 600})))
    caller.start()
    time.sleep(0.3)
    server.process.send_signal(signal.SIGTERM)
    server.until_log("SIGTERM: finishing open calls")
    time.sleep(0.3)
    assert server.process.poll() is None
    assert server.stop(signal.SIGTERM, limit_s=5) == 128 + signal.SIGTERM
    caller.join(10)
    assert gone(worker)


def ignore(work: Callable[[], Any]) -> None:
    try:
        work()
    except (OSError, http.client.HTTPException):
        pass


def test_a_drain_lets_an_open_call_end(start):
    server = start().ready()
    answers: list[tuple[int, Any]] = []
    caller = threading.Thread(target=lambda: answers.append(server.request("/sleep", {"seconds": 1.0})))
    caller.start()
    time.sleep(0.3)
    assert server.stop() == 0
    caller.join(10)
    assert [status for status, _ in answers] == [200]


class Callers:
    """Threads that call all the time; every answer that is not 200 is kept."""

    def __init__(self, server: Server, count: int) -> None:
        self.server = server
        self.over = threading.Event()
        self.versions: list[int] = []
        self.failures: list[Any] = []
        self.threads = [threading.Thread(target=self.work) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def work(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        while not self.over.is_set():
            try:
                connection.request("POST", "/who", "{}", {"content-type": "application/json"})
                response = connection.getresponse()
                body = json.loads(response.read())
                if response.status == 200:
                    self.versions.append(body["version"])
                else:
                    self.failures.append(body)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(error)
                break
        connection.close()

    def stop(self) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(30)


def test_reload_fails_no_call_and_a_bad_version_changes_nothing(start, tmp_path):
    source = tmp_path / "service.py"
    server = start(reload=True).ready()
    callers = Callers(server, 4)
    try:
        source.write_text(SERVICE.replace("VERSION = 1", "VERSION = 22"))
        server.until_log("the new version serves")
        server.until(lambda: server.call("/who")["version"] == 22, "new version")
        source.write_text("this is no Python\n")
        server.until_log("the version that was loaded before goes on")
        assert server.call("/who")["version"] == 22
        source.write_text(SERVICE.replace("VERSION = 1", "VERSION = 333"))
        server.until(lambda: server.log.count("the new version serves") == 2, "third version")
        server.until(lambda: server.call("/who")["version"] == 333, "third version")
        server.until(lambda: sum("worker" in command for command in server.children().values()) == 1, "retirement")
    finally:
        callers.stop()
    assert callers.failures == []
    assert set(callers.versions) == {1, 22, 333}
    assert server.stop() == 0
