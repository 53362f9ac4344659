"""Children of the supervisor: watched, ended whole, told apart."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tiffin.errors import StartError
from tiffin.server import sockets
from tiffin.server.loop import Loop
from tiffin.server.processes import Child, OomCount, describe_exit, session_members

# Leaves behind: a child in its process group, one in a group of its own, and one that ignores SIGTERM; says when all are there.
FORKS = """
import os, signal, sys, time
for kind in ("group", "own", "stubborn"):
    if os.fork() == 0:
        if kind == "own":
            os.setpgid(0, 0)
        if kind == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(1, b"x")
        time.sleep(600)
{then}
"""


class Nursery:
    """A loop with children, all gone at the end of the test."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.children: list[Child] = []
        self.endings: list[int] = []

    def start(self, code: str, stdout: int | None = None) -> Child:
        child = Child(self.loop, [sys.executable, "-c", code], os.environ, (), self.ended, stdout=stdout)
        self.children.append(child)
        return child

    def ended(self, status: int) -> None:
        self.endings.append(status)
        self.loop.stop()

    def run(self, limit_s: float = 20.0) -> None:
        timer = self.loop.later(limit_s, self.loop.stop)
        self.loop.run(lambda _number: None)
        timer.cancel()


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    for child in nursery.children:
        child.discard()
    nursery.loop.close()


def wait_for(condition: Callable[[], bool], limit_s: float = 10.0) -> bool:
    until = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def family(nursery: Nursery, then: str) -> Child:
    """Start a child with three children of its own; return when all are there."""
    ours, theirs = os.pipe()
    child = nursery.start(FORKS.format(then=then), stdout=theirs)
    os.close(theirs)
    seen = b""
    while len(seen) < 3:
        seen += os.read(ours, 3)
    os.close(ours)
    return child


def test_the_exit_status_comes_through_the_loop(nursery):
    nursery.start("raise SystemExit(7)")
    nursery.run()
    assert nursery.endings == [7]


def test_a_killed_child_takes_all_that_it_forked_along(nursery):
    child = family(nursery, "time.sleep(600)")
    assert len(session_members(child.pid)) == 4
    os.kill(child.pid, signal.SIGKILL)
    nursery.run()
    assert nursery.endings == [-signal.SIGKILL]
    assert wait_for(lambda: not session_members(child.pid))


def test_a_child_that_ends_by_itself_leaves_nothing_either(nursery):
    child = family(nursery, "os._exit(3)")
    nursery.run()
    assert nursery.endings == [3]
    assert wait_for(lambda: not session_members(child.pid))


def test_kill_reaches_a_stopped_child(nursery):
    child = nursery.start("import time; time.sleep(600)")
    os.kill(child.pid, signal.SIGSTOP)
    child.kill()
    nursery.run()
    assert nursery.endings == [-signal.SIGKILL]
    child.kill()  # it is gone: nothing happens
    child.terminate()


def test_dead_sees_an_end_before_it_is_told(nursery):
    child = nursery.start("pass")
    assert wait_for(child.dead)
    assert nursery.endings == []
    nursery.run()
    assert nursery.endings == [0]


def test_discard_says_nothing_and_leaves_no_zombie(nursery):
    child = nursery.start("import time; time.sleep(600)")
    child.discard()
    assert child.gone
    assert nursery.endings == []
    with pytest.raises(ChildProcessError):
        os.waitpid(child.pid, os.WNOHANG)


def test_a_signal_reaches_the_loop_between_callbacks(nursery):
    seen: list[int] = []

    def on_signal(number: int) -> None:
        seen.append(number)
        nursery.loop.stop()

    before = signal.getsignal(signal.SIGTERM)
    nursery.loop.later(0.05, lambda: os.kill(os.getpid(), signal.SIGTERM))
    nursery.loop.later(10.0, nursery.loop.stop)
    nursery.loop.run(on_signal)
    assert seen == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_exception_of_a_callback_ends_the_loop(nursery):
    def fail() -> None:
        raise StartError("no")

    nursery.loop.later(0.0, fail)
    with pytest.raises(StartError):
        nursery.loop.run(lambda _number: None)


def test_words_for_an_exit():
    assert describe_exit(86) == "exit status 86"
    assert describe_exit(-11) == "killed by SIGSEGV"


def test_no_memory_shortage_is_seen_where_there_is_none():
    assert not OomCount().rose()


def test_a_taken_port_is_told_with_who_has_it():
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    try:
        with pytest.raises(StartError) as caught:
            sockets.open_http("127.0.0.1", port, 10)
    finally:
        taken.close()
    assert f"port {port} on 127.0.0.1 is taken by" in caught.value.message
    assert f"(pid {os.getpid()})" in caught.value.message
    assert caught.value.hint == f"stop it, or choose another port: --port {port + 1}"


def test_hosts(monkeypatch):
    opened = sockets.open_http("localhost", 0, 10)
    try:
        assert len({sock.getsockname()[1] for sock in opened}) == 1
    finally:
        for sock in opened:
            sock.close()
    with pytest.raises(StartError, match="unknown"):
        sockets.open_http("no-such-host.invalid", 0, 10)
    with pytest.raises(StartError, match="no address of this machine"):
        sockets.open_http("192.0.2.1", 0, 10)


def test_the_runtime_folder_is_private_and_left_overs_of_the_dead_are_removed(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    stale = tmp_path / f"tiffin-{gone.pid}-00000000"
    stale.mkdir()
    (stale / "link.sock").touch()
    alive = tmp_path / f"tiffin-{os.getpid()}-00000000"
    alive.mkdir()
    folder = sockets.make_runtime_folder()
    assert folder.parent in (tmp_path, Path("/tmp"))  # a long path cannot hold a socket
    if folder.parent == tmp_path:
        assert not stale.exists()
    assert alive.exists()
    assert folder.stat().st_mode & 0o777 == 0o700
    sockets.open_link(folder).close()
    sockets.remove_runtime_folder(folder)
    assert not folder.exists()
