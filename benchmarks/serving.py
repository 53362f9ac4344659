"""Starts one server, waits for its first right answer and stops its whole process tree; never sends load."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import envs, measure

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

_START_LIMIT_S = 120.0
_STOP_LIMIT_S = 10.0
_POLL_S = 0.005
_OK = 200


class ServerFailed(Exception):
    """A server did not start or gave a wrong answer."""


def free_port() -> int:
    """Ask the kernel for a port that nobody uses now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def post(port: int, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """Send one POST on a connection of its own.

    Args:
        port: on this machine.
        path: route.
        body: what to send.
        headers: besides the JSON content type, which they may replace.

    Returns:
        Status and body of the response.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", path, body, {"content-type": "application/json", **(headers or {})})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def post_json(port: int, path: str, value: object) -> Any:
    """Post JSON and parse the answer.

    Raises:
        ServerFailed: the status was not 200.
    """
    status, body = post(port, path, json.dumps(value).encode())
    if status != _OK:
        message = f"{path} answered {status}: {body[:500]!r}"
        raise ServerFailed(message)
    return json.loads(body)


class Server:
    """A running server and everything it has started.

    Args:
        command: program and arguments.
        port: where it will listen.
        log: file for its output.
        variables: environment variables in addition to the suite's. without: those of the suite that it does not get.
    """

    def __init__(
        self,
        command: list[str],
        port: int,
        log: Path,
        variables: Mapping[str, str] | None = None,
        without: Sequence[str] = (),
    ) -> None:
        self.port = port
        self._log = log
        with log.open("wb") as output:
            self._started = time.perf_counter()
            self._process = subprocess.Popen(
                command,
                env={name: value for name, value in envs.variables().items() if name not in without}
                | dict(variables or {}),
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id of the tree's root."""
        return self._process.pid

    def wait_ready(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> float:
        """Post until the first 200.

        Returns:
            Seconds since the program was started.

        Raises:
            ServerFailed: it ended, or took more than two minutes.
        """
        answer = "no connection"
        while time.perf_counter() - self._started < _START_LIMIT_S:
            if self._process.poll() is not None:
                message = f"the server ended with status {self._process.returncode}:\n{self.tail()}"
                raise ServerFailed(message)
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, content = post(self.port, path, body, headers)
                if status == _OK:
                    return time.perf_counter() - self._started
                answer = f"{status} {content[:300]!r}"
            time.sleep(_POLL_S)
        message = f"not ready after {_START_LIMIT_S:.0f} s, last answer {answer}:\n{self.tail()}"
        raise ServerFailed(message)

    def tail(self) -> str:
        """Give the end of what it printed."""
        return self._log.read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        """Ask it to end, then kill what is left of its tree."""
        everyone = measure.tree(self.pid)
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid in everyone:
            # The ids were this server's own a moment ago; those that ended with it are gone.
            if pid in set(measure.tree(self.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def serving(
    command: list[str], port: int, variables: Mapping[str, str] | None = None, without: Sequence[str] = ()
) -> Generator[Server]:
    """Run a server for the length of a block, with an empty folder as its working directory."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        server = Server(command, port, Path(folder) / "server.log", variables, without)
        try:
            yield server
        finally:
            server.stop()
