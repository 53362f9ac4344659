"""What the driver's library says of every board, healthy or not, and how it fails.

Owns the reading through NVML, whatever the environment hides from CUDA; never judges, never creates a CUDA context. Bytes, °C.
None stands for what a board or a driver does not tell.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from tiffin.gpu.host import Host

LIBRARY = "libnvidia-ml.so.1"


class Occupant(msgspec.Struct, frozen=True, kw_only=True):
    """A process on a board: pid (in a container perhaps the host's), its name, bytes it holds, whether it draws."""

    pid: int
    name: str = ""
    memory: int | None = None
    draws: bool = False


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """One board.

    Attributes:
        problem: why it could not be read, code: NVML's number for it; the fields below are empty then.
        mig: whether it is in MIG mode, None where it knows none. slices: uuids of its MIG devices.
        slowdown_at: °C at which it slows down. throttled: NVML's bits for why the clocks are lowered.
        ecc_uncorrected: errors since the driver was loaded. repair_pending: memory is mended at the next reset.
        repair_failed: memory that could not be mended.
    """

    index: int
    uuid: str = ""
    name: str = ""
    bus: str = ""
    problem: str = ""
    code: int = 0
    memory_total: int = 0
    memory_free: int = 0
    capability: tuple[int, int] = (0, 0)
    compute_mode: Literal["default", "exclusive", "prohibited"] = "default"
    mig: bool | None = None
    slices: tuple[str, ...] = ()
    persistence: bool | None = None
    temperature: int | None = None
    slowdown_at: int | None = None
    throttled: int = 0
    ecc_uncorrected: int | None = None
    repair_pending: bool = False
    repair_failed: bool = False
    occupants: tuple[Occupant, ...] = ()


class Nvml(msgspec.Struct, frozen=True, kw_only=True):
    """One look through NVML.

    Attributes:
        loaded: whether the library is there. error: why there is nothing to see, "" where there is. code: NVML's number of it.
        driver: version. cuda: newest CUDA that it can run, "13.0".
    """

    loaded: bool = False
    error: str = ""
    code: int = 0
    driver: str = ""
    cuda: str = ""
    boards: tuple[Board, ...] = ()


def read_nvml(host: Host) -> Nvml:
    """Look at every board.

    Args:
        host: where the names of processes are read.
    """
    try:
        ctypes.CDLL(LIBRARY)
    except OSError as error:
        return Nvml(error=str(error))
    import pynvml  # heavy, and useless on a machine without the library

    return _look(pynvml, host)


def _look(nvml: Any, host: Host) -> Nvml:
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return Nvml(loaded=True, error=str(error), code=int(error.value))
    try:
        version = int(nvml.nvmlSystemGetCudaDriverVersion_v2())
        return Nvml(
            loaded=True,
            driver=str(nvml.nvmlSystemGetDriverVersion()),
            cuda=f"{version // 1000}.{version % 1000 // 10}",
            boards=tuple(_boards(nvml, host)),
        )
    except nvml.NVMLError as error:
        return Nvml(loaded=True, error=str(error), code=int(error.value))
    finally:
        try:
            nvml.nvmlShutdown()
        except nvml.NVMLError:  # the driver went away in between; what was read stands
            pass


def _boards(nvml: Any, host: Host) -> Iterator[Board]:
    for index in range(int(nvml.nvmlDeviceGetCount())):
        try:
            yield _board(nvml, host, index, nvml.nvmlDeviceGetHandleByIndex(index))
        except nvml.NVMLError as error:
            yield Board(index=index, problem=str(error), code=int(error.value))


def _board(nvml: Any, host: Host, index: int, handle: Any) -> Board:
    memory = _ask(nvml, "nvmlDeviceGetMemoryInfo", handle)
    capability = _ask(nvml, "nvmlDeviceGetCudaComputeCapability", handle) or (0, 0)
    mode = _ask(nvml, "nvmlDeviceGetComputeMode", handle)
    mig = _ask(nvml, "nvmlDeviceGetMigMode", handle)
    pci = _ask(nvml, "nvmlDeviceGetPciInfo", handle)
    persistence = _ask(nvml, "nvmlDeviceGetPersistenceMode", handle)
    # corrected and uncorrected rows, whether one waits for a reset, whether one could not be replaced
    rows = _ask(nvml, "nvmlDeviceGetRemappedRows", handle) or (0, 0, 0, 0)
    modes: dict[Any, Literal["default", "exclusive", "prohibited"]] = {
        nvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS: "exclusive",
        nvml.NVML_COMPUTEMODE_EXCLUSIVE_THREAD: "exclusive",
        nvml.NVML_COMPUTEMODE_PROHIBITED: "prohibited",
    }
    return Board(
        index=index,
        uuid=str(nvml.nvmlDeviceGetUUID(handle)),  # every board has one: a lost board is found here
        name=str(nvml.nvmlDeviceGetName(handle)),
        bus="" if pci is None else _text(pci.busId),
        memory_total=0 if memory is None else int(memory.total),
        memory_free=0 if memory is None else int(memory.free),
        capability=(int(capability[0]), int(capability[1])),
        compute_mode=modes.get(mode, "default"),
        mig=None if mig is None else mig[0] == nvml.NVML_DEVICE_MIG_ENABLE,
        slices=tuple(_slices(nvml, handle)) if mig and mig[0] == nvml.NVML_DEVICE_MIG_ENABLE else (),
        persistence=None if persistence is None else bool(persistence),
        temperature=_ask(nvml, "nvmlDeviceGetTemperature", handle, nvml.NVML_TEMPERATURE_GPU),
        slowdown_at=_ask(nvml, "nvmlDeviceGetTemperatureThreshold", handle, nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN),
        throttled=int(_ask(nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", handle) or 0),
        ecc_uncorrected=_ask(
            nvml, "nvmlDeviceGetTotalEccErrors", handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
        ),
        repair_pending=bool(rows[2]) or bool(_ask(nvml, "nvmlDeviceGetRetiredPagesPendingStatus", handle)),
        repair_failed=bool(rows[3]),
        occupants=tuple(_occupants(nvml, host, handle)),
    )


def _slices(nvml: Any, handle: Any) -> Iterator[str]:
    for number in range(int(_ask(nvml, "nvmlDeviceGetMaxMigDeviceCount", handle) or 0)):
        part = _ask(nvml, "nvmlDeviceGetMigDeviceHandleByIndex", handle, number)
        if part is not None:
            yield str(nvml.nvmlDeviceGetUUID(part))


def _occupants(nvml: Any, host: Host, handle: Any) -> Iterator[Occupant]:
    computing = _ask(nvml, "nvmlDeviceGetComputeRunningProcesses", handle) or ()
    drawing = _ask(nvml, "nvmlDeviceGetGraphicsRunningProcesses", handle) or ()
    draws = {int(process.pid) for process in drawing}
    for process in {int(process.pid): process for process in (*drawing, *computing)}.values():
        pid, memory = int(process.pid), process.usedGpuMemory
        name = (host.read(f"/proc/{pid}/comm") or "").strip()
        yield Occupant(pid=pid, name=name, memory=None if memory is None else int(memory), draws=pid in draws)


def _ask(nvml: Any, function: str, *args: Any) -> Any:
    """Return what NVML says, None where this board, this driver or this nvidia-ml-py cannot say it."""
    try:
        return getattr(nvml, function)(*args)
    except (AttributeError, nvml.NVMLError, nvml.NVMLLibraryMismatchError):
        return None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
