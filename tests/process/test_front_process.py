"""The real front under a supervisor's eye: it listens at once, and another one takes over the sockets."""

from __future__ import annotations

import http.client
import io
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tiffin.config.parts import Config
from tiffin.errors import StartError
from tiffin.messages.control import Drain, Drained, Note, SpecReady, ToSupervisor
from tiffin.server import sockets
from tiffin.server.front_process import FrontProcess
from tiffin.server.loop import Loop
from tiffin.server.report import Report
from tiffin.spec.service import Application, ServiceSpec

APPLICATION = Application(services=(ServiceSpec(name="Empty", target="service:Empty", methods=()),))


class Desk:
    """A supervisor that only looks after a front."""

    def __init__(self, argv: tuple[str, ...] = ()) -> None:
        self.loop = Loop()
        self.log = io.StringIO()
        self.events: list[str] = []
        self.messages: list[ToSupervisor] = []
        self.http = sockets.open_http("127.0.0.1", 0, 64)
        self.port: int = self.http[0].getsockname()[1]
        self.folder = sockets.make_runtime_folder()
        self.link = sockets.open_link(self.folder)
        report = Report("info", self.log)
        more = {"argv": argv} if argv else {}
        self.front = FrontProcess(self.loop, report, Config(), lambda: self.http, self.link, ["http://x"], self, **more)

    def front_ready(self) -> None:
        self.events.append("ready")
        self.front.send(Note("a note for readiness"))
        self.front.send(SpecReady(APPLICATION, 1))

    def front_said(self, message: ToSupervisor) -> None:
        self.messages.append(message)

    def front_lost(self) -> None:
        self.events.append("lost")

    def until(self, condition: Callable[[], bool], limit_s: float = 20.0) -> None:
        end = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < end, self.log.getvalue()
            self.loop.later(0.02, self.loop.stop)
            self.loop.run(lambda _number: None)

    def get(self, path: str) -> tuple[int, bytes]:
        """Ask the front; the answer needs nothing of us."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, body

    def close(self) -> None:
        self.front.discard()
        self.link.close()
        for sock in self.http:
            sock.close()
        sockets.remove_runtime_folder(self.folder)
        self.loop.close()


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.close()


def test_a_killed_front_is_replaced_on_the_same_sockets(desk):
    desk.front.start()
    # Nobody accepts yet, but the socket listens: this connection waits for the front.
    early = socket.create_connection(("127.0.0.1", desk.port), timeout=10)
    early.sendall(b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
    desk.until(lambda: desk.events == ["ready"])
    assert early.recv(15) == b"HTTP/1.1 200 OK"
    early.close()
    status, body = desk.get("/readyz")
    assert status == 503
    assert b"a note for readiness" in body
    first = desk.front.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    killed = time.monotonic()
    desk.until(lambda: desk.events == ["ready", "lost", "ready"])
    assert time.monotonic() - killed < 5.0
    assert desk.front.pid != first
    assert desk.get("/livez")[0] == 200
    assert b"a note for readiness" in desk.get("/readyz")[1]
    assert "the front died (killed by SIGKILL); starting it again" in desk.log.getvalue()


def test_drain_is_answered_and_a_closed_channel_ends_the_front(desk):
    desk.front.start()
    desk.until(lambda: desk.events == ["ready"])
    desk.front.send(Drain(0.0, 5.0))
    desk.until(lambda: bool(desk.messages))
    assert desk.messages == [Drained(0)]
    pid = desk.front.pid
    desk.front.close()
    desk.until(lambda: "lost" in desk.events)
    assert not Path(f"/proc/{pid}").exists()
    assert desk.front.pid is None


def test_a_front_that_never_listens_is_a_start_error():
    desk = Desk(argv=("/bin/false",))
    try:
        desk.front.start()
        with pytest.raises(StartError, match="exit status 1"):
            desk.until(lambda: False)
    finally:
        desk.close()
