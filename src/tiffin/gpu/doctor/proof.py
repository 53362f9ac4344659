"""The last word: a real computation on every visible device, in a child process.

Owns what the child is told and what its end means; the computation itself is `computation`'s. Never creates a CUDA context here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Literal

import msgspec

MARK = "tiffin-proof: "  # begins the one line of the child's stdout that is ours; frameworks print, too
_CHILD = (sys.executable, "-m", "tiffin.gpu.doctor.computation")
_LIMIT_S = 120.0
_LAST_LINES = 8


class DeviceProof(msgspec.Struct, frozen=True, kw_only=True):
    """One device: its name, milliseconds for copy, product and copy back; `error` says what went wrong, "" nothing did."""

    name: str
    time_ms: float = 0.0
    error: str = ""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What the child showed.

    Attributes:
        end: "done": it ended by itself; "timeout", "crashed": it was ended, by us or by a signal.
        engine: what computed, "torch 2.8.0 (CUDA 12.8)". devices: each visible one.
        architectures: GPU generations that the framework has code for, "sm_90"; none where it does not say.
        error: what went wrong before any device was tried. last_lines: the end of what the child wrote.
    """

    end: Literal["done", "timeout", "crashed"] = "done"
    engine: str = ""
    devices: tuple[DeviceProof, ...] = ()
    architectures: tuple[str, ...] = ()
    error: str = ""
    last_lines: tuple[str, ...] = ()


def prove(argv: Sequence[str] = _CHILD, limit_s: float = _LIMIT_S) -> Proof:
    """Compute in a child process and wait for it.

    Args:
        argv: the child. limit_s: seconds after which it is killed; importing a framework takes some of them.
    """
    env = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", **os.environ, "PYTHONFAULTHANDLER": "1"}
    pipe = subprocess.PIPE
    # In a session of its own, so that whatever it starts goes with it and cannot hold the pipes open.
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=env, start_new_session=True
    ) as child:
        try:
            out, err = child.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            _kill(child.pid)
            out, err = child.communicate()
            return judge(None, out, err, limit_s)
        except BaseException:  # Ctrl-C does not reach another session
            _kill(child.pid)
            raise
    return judge(child.returncode, out, err, limit_s)


def judge(status: int | None, out: bytes, err: bytes, limit_s: float) -> Proof:
    """Return what a child's end means.

    Args:
        status: exit status, negative for a signal, None where it had to be killed. out, err: what it wrote. limit_s: its limit.
    """
    lines = out.decode("utf-8", "replace").splitlines()
    said = [line.removeprefix(MARK) for line in lines if line.startswith(MARK)]
    found = Proof()
    if said:
        try:
            found = msgspec.json.decode(said[-1], type=Proof)
        except msgspec.DecodeError:  # it died while it wrote the line
            said = []
    rest = [line for line in lines if not line.startswith(MARK)] + err.decode("utf-8", "replace").splitlines()
    last = tuple(line for line in rest if line.strip())[-_LAST_LINES:]
    if status is None:
        return msgspec.structs.replace(found, end="timeout", error=f"no end within {limit_s:g} s", last_lines=last)
    if status < 0:
        return msgspec.structs.replace(found, end="crashed", error=f"ended by {_signal(-status)}", last_lines=last)
    if not said:
        return Proof(end="done", error=f"ended with status {status} and no result", last_lines=last)
    healthy = not found.error and not any(one.error for one in found.devices)
    return found if healthy else msgspec.structs.replace(found, last_lines=last)


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:  # it has just ended
        pass


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
