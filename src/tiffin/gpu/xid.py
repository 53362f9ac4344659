"""What the driver's Xid numbers mean, and what a worker on that board is worth after one.

Owns the table; pure. Source: NVIDIA, "Xid Errors" (docs.nvidia.com/deploy/xid-errors), as of driver 580.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Action = Literal["log", "replace", "lost"]


class Xid(NamedTuple):
    """One number.

    Attributes:
        meaning: what happened, and what to do. level: how bad it is for the board.
        action: what the server does. "log": the fault is one program's, which gets its own error from CUDA. "replace": the contexts
            on the board cannot be trusted. "lost": the board is gone until it is reset.
    """

    meaning: str
    level: Literal["note", "warning", "error"]
    action: Action


_PROGRAM = "the program is at fault, not the board: its worker dies and is replaced"
XIDS: dict[int, Xid] = {
    8: Xid(f"a kernel ran into the driver's time limit; {_PROGRAM}", "note", "log"),
    13: Xid(f"illegal access or instruction in a kernel; {_PROGRAM}", "note", "log"),
    31: Xid(f"a kernel touched memory that is not its own; {_PROGRAM}", "note", "log"),
    32: Xid("broken commands from a program, or trouble on the PCI bus", "warning", "log"),
    38: Xid("the driver's firmware failed: reset the board", "warning", "replace"),
    43: Xid(f"a channel was stopped after a fault of its program; {_PROGRAM}", "note", "log"),
    45: Xid("work was taken off the board because its program ended or another Xid came before", "note", "log"),
    48: Xid(
        "a memory error of two bits that could not be corrected: results of that time may be wrong", "error", "replace"
    ),
    61: Xid("the board's own controller met a breakpoint or warning: reset it", "warning", "replace"),
    62: Xid("the board's own controller has halted: reset it", "warning", "replace"),
    63: Xid("a bad memory row or page is marked for replacement: reset the board to mend it", "warning", "log"),
    64: Xid(
        "a bad memory row or page could not be marked for replacement: reset; if it comes back, replace the board",
        "error",
        "replace",
    ),
    68: Xid(f"a fault in the video decoder; {_PROGRAM}", "note", "log"),
    69: Xid(f"a fault in a kernel; {_PROGRAM}", "note", "log"),
    74: Xid("an NVLink error: see nvidia-smi nvlink -s; GPUs that work together may hang", "warning", "replace"),
    79: Xid(
        "the board has fallen off the bus (power, heat, riser): no process can use it until a reset or a reboot",
        "error",
        "lost",
    ),
    92: Xid("many corrected memory errors: watch the board", "warning", "log"),
    94: Xid(
        "an uncorrectable memory error that hit one program only: it dies; reset the board when it is idle",
        "warning",
        "replace",
    ),
    95: Xid(
        "an uncorrectable memory error that may have hit any program on the board: drain and reset it",
        "error",
        "replace",
    ),
    109: Xid(f"the board could not switch away from a program in time; {_PROGRAM}", "note", "log"),
    119: Xid(
        "the board's system processor (GSP) did not answer in time: reset; if it comes back, update the driver",
        "warning",
        "replace",
    ),
    120: Xid(
        "an error of the board's system processor (GSP): reset; if it comes back, update the driver",
        "warning",
        "replace",
    ),
    154: Xid("the board says that it must be reset, or its machine restarted", "warning", "replace"),
}


def xid(number: int) -> Xid:
    """Return what a number means; of one that is not known the board may be well, so that it is only logged."""
    return XIDS.get(number, Xid("see NVIDIA's Xid catalogue", "warning", "log"))
