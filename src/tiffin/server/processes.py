"""Child processes: started in a session of their own, watched through a pidfd, ended whole.

Owns what it takes to start, watch and end one child and all that it forked; never decides when. Nothing here waits for longer than
it says.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tiffin.server.loop import Loop

_REAP_S = 5.0
_SWEEPS = 5


class Child:
    """A running child process, the leader of its own session.

    Args:
        loop: watches it. argv, env: what to run. pass_fds: descriptors that it inherits, under the same numbers.
        ended: called once, when it is gone and reaped, with its exit status (negative: minus the signal's number). By then
            everything that it forked into its session is killed too. stdout: a descriptor to print to, None: ours.
        marker: name of a variable of `env` by which processes are known that it started in sessions of their own (torchrun does).

    Raises:
        OSError: it cannot be started.
    """

    def __init__(
        self,
        loop: Loop,
        argv: Sequence[str],
        env: Mapping[str, str],
        pass_fds: Sequence[int],
        ended: Callable[[int], None],
        stdout: int | None = None,
        marker: str = "",
    ) -> None:
        self._marker = f"{marker}={env[marker]}".encode() if marker else b""
        self.tree: frozenset[int] = frozenset()
        self._loop = loop
        self._ended = ended
        # A session of its own: a terminal's Ctrl-C reaches the supervisor alone, and the session's number finds what it forked.
        self._popen = subprocess.Popen(
            argv, env=env, pass_fds=pass_fds, stdin=subprocess.DEVNULL, stdout=stdout, start_new_session=True
        )
        self.pid = self._popen.pid
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:  # no descriptor left: a child that nobody watches must not be
            self._popen.kill()
            self._popen.wait(_REAP_S)
            raise
        loop.watch(self._pidfd, self._died)

        # Filled when it ends: a property of its life would need a look at all processes whenever one is forked.

    @property
    def gone(self) -> bool:
        """Whether it has been reaped."""
        return self._popen.returncode is not None

    def terminate(self) -> None:
        """Ask it to end (SIGTERM, to it alone)."""
        if not self.gone:
            self._popen.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it and all that it forked; `ended` follows."""
        if not self.gone:
            self._kill_all()

    def dead(self) -> bool:
        """Tell whether it has ended by itself already, though nobody was told so far."""
        return self.gone or os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def discard(self) -> None:
        """Kill it and reap it now, without calling back; waits for 5 s at most."""
        if self.gone:
            return
        self._kill_all()
        self._forget()
        try:
            self._popen.wait(_REAP_S)
        except subprocess.TimeoutExpired:  # stuck in the kernel (a dead device or disk): not ours to wait for
            pass

    def _died(self) -> None:
        # Before it is reaped its number cannot be given to another process, so that the session is surely its own.
        self._kill_all()
        self._forget()
        self._ended(self._popen.wait())

    def _kill_all(self) -> None:
        """Kill the session and all that carry the marker; note who they were: a device may hold on to them."""
        self.tree |= {self.pid, *session_members(self.pid)}
        kill_session(self.pid)
        if self._marker:
            self.tree |= kill_marked(self._marker)

    def _forget(self) -> None:
        self._loop.unwatch(self._pidfd)
        os.close(self._pidfd)


def kill_session(leader: int) -> None:
    """Kill every process of a session, in whatever process group it is; its leader must not have been reaped."""
    for _ in range(_SWEEPS):  # again while something was found: a process may fork while the list is read
        try:
            os.killpg(leader, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # all gone, or it changed its user
            pass
        alive = [pid for pid in session_members(leader) if pid != leader]
        if not alive:
            return
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass


def kill_marked(marker: bytes) -> set[int]:
    """Kill every process whose environment holds this entry ("NAME=value"), and return their numbers.

    A process that was given another environment, or has written over its own, is not found.
    """
    killed: set[int] = set()
    for _ in range(_SWEEPS):
        found = [pid for pid in _processes() if pid not in killed and marker in _environ(pid)]
        if not found:
            break
        for pid in found:
            killed.add(pid)
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
    return killed


def _processes() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]


def _environ(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or is another user's
        return []


def session_members(leader: int) -> list[int]:
    """Return the processes of a session that have not ended."""
    members: list[int] = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_bytes()
        except OSError:  # it ended while we looked
            continue
        # After the name (in parentheses, may contain anything): state, parent, process group, session.
        state, _parent, _group, session = stat[stat.rindex(b")") + 2 :].split(b" ", 4)[:4]
        if int(session) == leader and state not in (b"Z", b"X"):
            members.append(int(folder.name))
    return members


def describe_exit(status: int) -> str:
    """Return an exit status in words: "exit status 3", "killed by SIGSEGV"."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal has no name
        return f"killed by signal {-status}"


def reap_strangers(own: set[int]) -> None:
    """Reap orphans that the kernel gave to us because we are process 1 of a container."""
    until = time.monotonic() + 0.1
    while time.monotonic() < until:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid in own:  # ours are reaped by who started them
            return
        os.waitpid(found.si_pid, 0)


class OomCount:
    """Tells whether the kernel's out-of-memory killer struck since it was last asked.

    Args:
        path: file that counts; by default that of our control group (v2, v1), else of the whole machine.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or _oom_file()
        self._seen = self._read()

    def rose(self) -> bool:
        """Return whether it struck since the last call (or since the start)."""
        now = self._read()
        before, self._seen = self._seen, now
        return now > before

    def _read(self) -> int:
        if self._path is None:
            return 0
        try:
            for line in self._path.read_text().splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
        except (OSError, ValueError):
            pass
        return 0


def _oom_file() -> Path | None:
    """Return the file that counts OOM kills: of our control group (v2, v1), else of the whole machine."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            file = Path("/sys/fs/cgroup") / path.lstrip("/") / "memory.events"
        elif "memory" in controllers.split(","):
            file = Path("/sys/fs/cgroup/memory") / path.lstrip("/") / "memory.oom_control"
        else:
            continue
        if file.exists():
            return file
    for file in (
        Path("/sys/fs/cgroup/memory.events"),
        Path("/sys/fs/cgroup/memory/memory.oom_control"),
        Path("/proc/vmstat"),
    ):
        if file.exists():
            return file
    return None
