"""Figures of a process tree from /proc (CPU seconds, memory in bytes), and facts about the machine; never starts a process."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def _stat(pid: int) -> list[str] | None:
    """Read the fields of /proc/PID/stat from `state` on, or None when the process is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The name may hold spaces and parentheses: fields start after its last one.
    return text[text.rindex(")") + 2 :].split()


def tree(root: int) -> list[int]:
    """List a process, its descendants and whoever shares its session (children whose parent has died).

    Args:
        root: process id of a session's leader.

    Returns:
        Process ids of those that live.
    """
    parents: dict[int, int] = {}
    sessions: dict[int, int] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) is not None and fields[0] != "Z":
            parents[int(entry.name)] = int(fields[1])
            sessions[int(entry.name)] = int(fields[3])
    found = {pid for pid, session in sessions.items() if session == root}
    if root in parents:
        found.add(root)
    grew = True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grew = bool(more)
    return sorted(found)


def cpu_s(root: int) -> float:
    """Sum user and system time of a tree.

    Args:
        root: process id.

    Returns:
        Seconds, without those of processes that have already ended.
    """
    total = 0
    for pid in tree(root):
        fields = _stat(pid)
        if fields is not None:
            total += int(fields[11]) + int(fields[12])
    return total / _TICKS_PER_S


def _rollup(root: int, field: str) -> int:
    """Sum one field of smaps_rollup over a tree, in bytes."""
    total = 0
    for pid in tree(root):
        try:
            text = (_PROC / str(pid) / "smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(f"{field}:"))
    return total


def pss_bytes(root: int) -> int:
    """Sum the proportional set size of a tree, in bytes: shared pages count once."""
    return _rollup(root, "Pss")


def private_bytes(root: int) -> int:
    """Sum the private dirty memory of a tree, in bytes: what its own buffers take."""
    return _rollup(root, "Private_Dirty")


def machine() -> dict[str, str | int]:
    """Describe the machine: figures of two machines must not be compared."""
    processor = platform.processor() or platform.machine()
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cpuinfo = _PROC / "cpuinfo"
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.split(":", 1)[1].strip()
                break
    return {
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": memory_bytes // 1_000_000,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
