"""Why a worker died, from what the kernel says of its end.

Owns the words; pure.
"""

from __future__ import annotations

import signal

from tiffin.messages.control import DeathCause
from tiffin.server.processes import describe_exit
from tiffin.worker.setup import EXIT_DEVICE, EXIT_OUT_OF_MEMORY


def death(status: int, asked: tuple[DeathCause, str] | None, *, oom: bool) -> tuple[DeathCause, str]:
    """Return why a worker died and what to say about it.

    Args:
        status: exit status, negative: minus the signal's number. asked: cause and reason of our own kill, None for none.
        oom: the kernel's out-of-memory killer struck meanwhile.
    """
    if status == EXIT_DEVICE:
        return "device", "its device is lost to it"
    if status == EXIT_OUT_OF_MEMORY:
        return "out_of_memory", "device memory does not come back"
    by_us = status in (0, -signal.SIGKILL, -signal.SIGTERM)
    if oom and (asked is None or asked[0] == "crash"):
        return "oom_killer", "killed by the kernel: out of memory"
    if asked is not None and by_us:
        return asked
    return "crash", describe_exit(status)
