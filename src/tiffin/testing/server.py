"""A real `tiffin serve` for tests: on a free port of 127.0.0.1, ready when the block begins, gone when it ends.

Owns the process; never touches the service. Times in seconds.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tiffin.errors import StartError

_URL = re.compile(r"https?://(?:127\.0\.0\.1|localhost):(\d+)")


class TestServer:
    """``with TestServer("service:Digits", app_dir=folder) as server: server.post("/predict", {...})``.

    Args:
        target: as for ``tiffin serve``. app_dir: folder to start in. options: further options, for example ``["--workers", "2"]``.
        env: further environment variables. start_s, stop_s: longest waits for readiness and for the end.

    Attributes:
        port: it listens on. process: the supervisor. exit_status: of the supervisor, once it has ended.
    """

    __test__ = False  # for pytest: no test class

    def __init__(
        self,
        target: str,
        *,
        app_dir: str | Path,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        start_s: float = 60.0,
        stop_s: float = 40.0,
    ) -> None:
        self._argv = [sys.executable, "-m", "tiffin", "serve", target, "--port", "0", *options]
        self._app_dir = str(app_dir)
        self._env = {**os.environ, **(env or {})}
        self._start_s = start_s
        self._stop_s = stop_s
        self._log = tempfile.NamedTemporaryFile(prefix="tiffin-test-", suffix=".log")  # noqa: SIM115  closed in __exit__
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.exit_status: int | None = None

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self._argv, cwd=self._app_dir, env=self._env, stdout=self._log, stderr=self._log
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._log.close()

    def stop(self) -> int:
        """Stop it as Ctrl-C does and return the exit status; one that does not end in time is killed."""
        process = self.process
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(self._stop_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.exit_status = process.returncode
        return process.returncode

    def log(self) -> str:
        """Return what the server has written so far."""
        return Path(self._log.name).read_text("utf-8", "replace")

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request on a connection of its own; return status, headers (lower case), body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        finally:
            connection.close()

    def post(self, path: str, content: Any, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """Post JSON; return status and decoded JSON."""
        given = {"content-type": "application/json", **(headers or {})}
        status, _headers, body = self.request("POST", path, json.dumps(content).encode(), given)
        return status, json.loads(body)

    def status(self) -> dict[str, Any]:
        """Return what /readyz shows."""
        found: dict[str, Any] = json.loads(self.request("GET", "/readyz")[2])
        return found

    def worker_pids(self) -> list[int]:
        """Return the process ids of the workers that the front knows, by worker number."""
        return [worker["pid"] for worker in self.status()["workers"]]

    def front_pid(self) -> int:
        """Return the process id of the front.

        Raises:
            StartError: there is none now.
        """
        pid = 0 if self.process is None else self.process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split():
            try:
                if b"tiffin.server.front" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
            except OSError:  # it ended between the two looks
                continue
        raise StartError("the server has no front now")

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + self._start_s
        while True:
            if self.process is not None and self.process.poll() is not None:
                raise StartError(f"tiffin serve ended with status {self.process.returncode}:\n{self.log()}")
            found = _URL.search(self.log())
            if found is not None:
                self.port = int(found.group(1))
                return  # the supervisor names the URL when every worker is ready
            if time.monotonic() > until:
                raise StartError(f"tiffin serve was not ready within {self._start_s:g} s:\n{self.log()}")
            time.sleep(0.02)
