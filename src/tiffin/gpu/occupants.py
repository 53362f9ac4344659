"""Who is on the devices: Tiffin's workers and other processes, found in /proc.

Owns the reading of /proc and the question whose pids the driver's are; never asks the driver. Sizes in bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tiffin.gpu import card

_TITLE = re.compile(r"tiffin: worker (?P<service>.+) (?P<worker>\d+) \((?P<device>[^()]*)\)")
_PROC = Path("/proc")
_FIRST_PID_NAMESPACE = 4_026_531_836  # inode of the host's, fixed in the kernel


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """A Tiffin worker that runs here.

    Attributes:
        pid: as we see it. service, worker: its service and number. members: it and all that it has started, by pid.
        uuids: devices that it was given; None where it does not say (another user's).
        memory_bytes: what it says that it holds on them, None where it does not.
    """

    pid: int
    service: str
    worker: int
    members: frozenset[int]
    uuids: tuple[str, ...] | None = None
    memory_bytes: int | None = None


class Here(msgspec.Struct, frozen=True, kw_only=True):
    """The processes of this machine, or of this container.

    Attributes:
        workers: Tiffin's, by service and number. names: command lines by pid, of all processes.
        host: whether the pids are the ones that the driver knows: outside of containers, or in one that shares the host's.
    """

    workers: tuple[Worker, ...] = ()
    names: dict[int, str] = {}
    host: bool = True


def find(proc: Path = _PROC) -> Here:
    """Look at the processes.

    Args:
        proc: where the process folders are.
    """
    names: dict[int, str] = {}
    sessions: dict[int, set[int]] = {}
    for pid, folder in _folders(proc):
        try:
            names[pid] = (
                (folder / "cmdline").read_bytes().rstrip(b"\0 ").replace(b"\0", b" ").decode("utf-8", "replace")
            )
            sessions.setdefault(_session(folder), set()).add(pid)
        except (OSError, ValueError):  # it ended while we looked
            continue
    workers: list[Worker] = []
    for pid, name in names.items():
        title = _TITLE.fullmatch(name)
        # A worker leads a session of its own; what it forks has its title, but not its place.
        if title is None or pid not in sessions:
            continue
        said = card.read(proc / str(pid))
        workers.append(
            Worker(
                pid=pid,
                service=title["service"] if said is None else said.service,
                worker=int(title["worker"]) if said is None else said.worker,
                members=frozenset(sessions[pid] | {pid}),
                uuids=None if said is None else said.uuids,
                memory_bytes=None if said is None or said.memory_bytes < 0 else said.memory_bytes,
            )
        )
    workers.sort(key=lambda one: (one.service, one.worker, one.pid))
    return Here(workers=tuple(workers), names=names, host=_is_host(proc))


def _folders(proc: Path) -> Iterator[tuple[int, Path]]:
    for folder in proc.iterdir():
        if folder.name.isdigit():
            yield int(folder.name), folder


def _session(folder: Path) -> int:
    stat = (folder / "stat").read_bytes()
    # After the name (in parentheses, may contain anything): state, parent, process group, session.
    return int(stat[stat.rindex(b")") + 2 :].split(b" ", 4)[3])


def _is_host(proc: Path) -> bool:
    try:
        return (proc / "self/ns/pid").stat().st_ino == _FIRST_PID_NAMESPACE
    except OSError:
        return False
