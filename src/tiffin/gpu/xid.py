"""What the driver's Xid numbers mean, and what a worker on that board is worth after one.

Owns the table; pure. Source: NVIDIA, "Xid Errors" (docs.nvidia.com/deploy/xid-errors), as of driver 580.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Action = Literal["log", "replace", "lost"]


class Xid(NamedTuple):
    """One number: its meaning, and what is done about it.

    "log": a fault of one program, which gets its own error from CUDA. "replace": the board's workers are replaced, their contexts
    cannot be trusted. "lost": the board is gone until it is reset.
    """

    meaning: str
    action: Action


XIDS: dict[int, Xid] = {
    8: Xid("a kernel ran into the driver's time limit", "log"),
    13: Xid("a fault in a program's kernel (graphics engine exception)", "log"),
    31: Xid("a program's kernel accessed memory that is not its own (MMU fault)", "log"),
    32: Xid("broken commands from a program, or PCIe trouble (invalid push buffer)", "log"),
    38: Xid("the driver's firmware failed", "replace"),
    43: Xid("a program's channel was reset; the board is well", "log"),
    45: Xid("work of a program was cut short, mostly because it was killed", "log"),
    48: Xid("an uncorrectable memory error (double-bit ECC)", "replace"),
    61: Xid("the board's microcontroller halted or warned", "replace"),
    62: Xid("the board's microcontroller halted", "replace"),
    63: Xid("a bad memory row was recorded for replacement at the next reset", "log"),
    64: Xid("a bad memory row could not be recorded for replacement", "replace"),
    68: Xid("a fault in the video decoder", "log"),
    69: Xid("a fault in a program's kernel (class error)", "log"),
    74: Xid("an NVLink error", "replace"),
    79: Xid("the board has fallen off the bus", "lost"),
    92: Xid("many correctable memory errors", "log"),
    94: Xid("an uncorrectable memory error, contained in the programs that saw it", "replace"),
    95: Xid("an uncorrectable memory error that could not be contained", "replace"),
    109: Xid("a program's context switch timed out", "log"),
    119: Xid("the board's firmware does not answer (GSP timeout)", "replace"),
    120: Xid("the board's firmware failed (GSP error)", "replace"),
    154: Xid("the board says that it must be reset, or its node restarted", "replace"),
}


def xid(number: int) -> Xid:
    """Return what a number means; of one that is not known the board may be well, so that it is only logged."""
    return XIDS.get(number, Xid("see NVIDIA's Xid Errors", "log"))
