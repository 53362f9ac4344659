"""A round trip through the CUDA driver, for machines where no framework is installed.

Owns the few calls of libcuda that it takes: 16 MiB to the device, from there to another place on it, and back. Creates a CUDA
context: only for a child process.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from typing import Any

from tiffin.gpu.doctor.proof import DeviceProof, Proof

LIBRARY = "libcuda.so.1"
_SIZE = 16 << 20
_NAME_LENGTH = 100


class _Failed(Exception):
    """A call of the driver failed; the text names it and its error."""


def prove() -> Proof:
    """Move 16 MiB through every visible device and compare."""
    try:
        cuda = ctypes.CDLL(LIBRARY)
    except OSError as error:
        return Proof(engine="CUDA driver", error=f"{LIBRARY} cannot be loaded: {error}")
    count, version = ctypes.c_int(), ctypes.c_int()
    try:
        _call(cuda, "cuInit", 0)
        _call(cuda, "cuDriverGetVersion", ctypes.byref(version))
        _call(cuda, "cuDeviceGetCount", ctypes.byref(count))
    except _Failed as error:
        return Proof(engine="CUDA driver", error=str(error))
    engine = f"CUDA driver {version.value // 1000}.{version.value % 1000 // 10}, no framework"
    return Proof(engine=engine, devices=tuple(_devices(cuda, count.value)))


def _devices(cuda: Any, count: int) -> Iterator[DeviceProof]:
    for index in range(count):
        name = str(index)
        try:
            device, text = ctypes.c_int(), ctypes.create_string_buffer(_NAME_LENGTH)
            _call(cuda, "cuDeviceGet", ctypes.byref(device), index)
            _call(cuda, "cuDeviceGetName", text, _NAME_LENGTH, device)
            name = f"{index} {text.value.decode('utf-8', 'replace')}"
            begin = time.perf_counter()
            same = _round_trip(cuda, device)
            time_ms = (time.perf_counter() - begin) * 1e3
        except _Failed as fault:
            yield DeviceProof(name=name, error=str(fault))
            continue
        error = "" if same else "what came back is not what was sent"
        yield DeviceProof(name=name, time_ms=round(time_ms, 2), error=error)


def _round_trip(cuda: Any, device: ctypes.c_int) -> bool:
    sent = bytes(range(256)) * (_SIZE // 256)
    back = ctypes.create_string_buffer(_SIZE)
    context = ctypes.c_void_p()
    first, second = ctypes.c_uint64(), ctypes.c_uint64()
    size = ctypes.c_size_t(_SIZE)
    _call(cuda, "cuCtxCreate_v2", ctypes.byref(context), 0, device)
    try:
        _call(cuda, "cuMemAlloc_v2", ctypes.byref(first), size)
        _call(cuda, "cuMemAlloc_v2", ctypes.byref(second), size)
        _call(cuda, "cuMemcpyHtoD_v2", first, sent, size)
        _call(cuda, "cuMemcpyDtoD_v2", second, first, size)
        _call(cuda, "cuMemcpyDtoH_v2", back, second, size)
    finally:
        cuda.cuCtxDestroy_v2(context)  # frees the memory, too
    return back.raw == sent


def _call(cuda: Any, name: str, *args: Any) -> None:
    """Call the driver.

    Raises:
        _Failed: it answers with an error.
    """
    code = int(getattr(cuda, name)(*args))
    if not code:
        return
    text = ctypes.c_char_p()
    cuda.cuGetErrorName(code, ctypes.byref(text))
    raise _Failed(f"{name}: {(text.value or b'unknown error').decode()} ({code})")
