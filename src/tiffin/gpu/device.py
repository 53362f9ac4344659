"""The device of this process, as frameworks name it.

Owns nothing but the answer to `tiffin.device()`; never chooses a device for a worker.
"""

from __future__ import annotations

import functools
import os

DEVICE_VARIABLE = "TIFFIN_DEVICE"
MEMORY_VARIABLE = "TIFFIN_GPU_MEMORY"  # bytes of each visible device that this process may use, "a,b"; 0: no limit


def device() -> str:
    """Return the device that a model should be moved to.

    Returns:
        "cuda:0" or "cpu". In a worker it is what the start placed it on; elsewhere "cuda:0" where NVML shows a GPU that this
        process may use.
    """
    return os.environ.get(DEVICE_VARIABLE) or _first()


@functools.cache
def _first() -> str:
    from tiffin.gpu import inventory  # loads a driver library; only outside of a worker

    return "cuda:0" if inventory.take().devices else "cpu"
