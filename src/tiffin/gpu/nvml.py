"""NVML, the driver's own library for looking at devices: opened, asked and closed, and the precise reason where it cannot be.

Owns the opening and the words for what is missing; never interprets what NVML says of a device. Loads pynvml only where there is a
driver library.
"""

from __future__ import annotations

import ctypes
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_LIBRARY = "libnvidia-ml.so.1"
_CONTROL_NODE = "/dev/nvidiactl"


class NoDriver(Exception):
    """There is no NVML to ask; the text says why."""


@contextmanager
def opened() -> Generator[Any]:
    """Open NVML for a block and yield the module `pynvml`.

    Blocks may be nested: NVML counts. The first one of a process may take a second where no persistence daemon keeps the boards
    awake.

    Raises:
        NoDriver: it cannot be opened.
    """
    try:
        ctypes.CDLL(_LIBRARY)  # cheaper than importing pynvml, and it says why
    except OSError as error:
        raise NoDriver(_why_no_library(str(error))) from None
    import pynvml  # heavy (7 MB, 20 ms), and useless on a machine without the library

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise NoDriver(_why_not_started(pynvml, error)) from None
    try:
        yield pynvml
    finally:
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError:  # the driver went away in between; what was read stands
            pass


def ask(nvml: Any, function: str, *args: Any) -> Any:
    """Return what NVML says, None where this board, this driver or this nvidia-ml-py cannot say it.

    For what may be missing only: a board that is lost answers None to everything, so ask it for something that every board has
    before.

    Args:
        nvml: the module. function: its name there. args: what it takes.
    """
    try:
        return getattr(nvml, function)(*args)
    except AttributeError:
        return None
    except nvml.NVMLError:
        return None


def _why_no_library(said: str) -> str:
    """Return what is missing when NVML's library cannot be loaded."""
    if "cannot open shared object file" not in said:
        return f"{_LIBRARY} cannot be loaded: {said}"
    if Path(_CONTROL_NODE).exists():
        return (
            f"{_CONTROL_NODE} is there but {_LIBRARY} is not (in a container: NVIDIA_DRIVER_CAPABILITIES must contain "
            "'utility' and 'compute')"
        )
    if Path("/proc/driver/nvidia/version").exists():
        return f"the kernel module is loaded, but {_LIBRARY} is not found (in a container: start it with --gpus all)"
    return f"{_LIBRARY} is not found, so no driver is installed here (in a container: it was started without GPUs)"


def _why_not_started(nvml: Any, error: Any) -> str:
    """Return what is wrong when NVML does not start, in words that lead to the cure."""
    why: dict[int, str] = {
        nvml.NVML_ERROR_DRIVER_NOT_LOADED: "the kernel module is not loaded (try: sudo modprobe nvidia; then dmesg | grep -i nvrm)",
        nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
            "the driver's library and its kernel module have different versions (reboot, or reload the module)"
        ),
        nvml.NVML_ERROR_NO_PERMISSION: f"no permission to open {_CONTROL_NODE} (add the user to the group that owns it)",
        nvml.NVML_ERROR_GPU_IS_LOST: "a GPU has fallen off the bus (reboot; see dmesg | grep -i xid)",
        nvml.NVML_ERROR_UNKNOWN: "access to the devices was lost (in a container: recreate it, with CDI if possible)",
    }
    return why.get(int(error.value), "NVML does not start") + f" [NVML: {error}]"
