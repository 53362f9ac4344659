"""What a worker does to its own process: it ends with the supervisor, shows who it is, and leaves traces of a crash.

Owns the process's settings; never touches the service.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import signal
import sys
import threading
from collections.abc import Collection

from tiffin.worker.title import introduce

_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# A thread that wants the interpreter waits this long before it asks for it; Python's default is 5 ms. Async calls, streams and the
# reader of cancels live beside compute methods in pure Python (numpy and PyTorch let go by themselves). Measured on two cores: an
# async call beside such a method takes 1.5 ms instead of 6.6 ms, and the method itself no longer than before.
_SWITCH_S = 0.0005


def settle(service: str, worker: int, device: str, life_fd: int, cores: Collection[int] = ()) -> None:
    """Set this process up as a worker.

    Args:
        service, worker, device: who it is, for the process list. life_fd, cores: see `WorkerSetup`.
    """
    if cores:
        try:
            os.sched_setaffinity(0, cores)
        except OSError:  # the set of allowed cores has changed since the plan was made: then all of them will do
            pass
    faulthandler.enable()
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(line_buffering=True)  # what a method prints is seen when it prints it
    # Ours is to end when the supervisor says so: a terminal's Ctrl-C goes to the supervisor, who drains first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    if life_fd >= 0:
        os.set_inheritable(life_fd, False)
        threading.Thread(target=_watch_life, args=(life_fd,), name="tiffin-life", daemon=True).start()
    introduce(service, worker, device)
    sys.setswitchinterval(_SWITCH_S)


def _die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends; the life pipe covers what this cannot."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _watch_life(fd: int) -> None:
    """Wait until the supervisor is gone, then end at once, with all that user code has forked."""
    while True:
        try:
            if not os.read(fd, 1):
                break
        except InterruptedError:
            continue
        except OSError:
            break
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def keep_freed_memory() -> None:
    """Have the C library keep what large images free, up to 128 MB, for the next ones.

    By default it gives the kernel megabytes back after each image and takes them anew for the next, page by page: of a photograph
    (1024 x 768 pixels, decoded and resized) that was a third of the time, 13.1 ms of CPU instead of 9.3. What the operator has
    set for malloc stays.
    """
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # not every C library has it
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 128 << 20)


def freeze_memory() -> None:
    """Take all that loading made out of the garbage collector's rounds: models live as long as the process."""
    gc.freeze()
