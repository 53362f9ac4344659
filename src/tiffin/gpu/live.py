"""What the devices are doing now: one look through NVML.

Owns the reading and its structs; never keeps one, never judges it, never creates a CUDA context. Bytes, watts, °C, percent.
None stands for what a board, a slice or a driver does not tell.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from tiffin.gpu.nvml import NoDriver, ask, opened

_LOST = "is lost: it has fallen off the bus (see dmesg | grep -i xid; a reset or a reboot brings it back)"

# NVML's bits for why the clocks are lower than they could be; "idle" and settings of the operator's own are no trouble.
_THROTTLED = (
    (0x004, "power cap"),
    (0x008, "hardware slowdown"),
    (0x010, "sync boost"),
    (0x020, "too hot (software)"),
    (0x040, "too hot (hardware)"),
    (0x080, "power brake"),
    (0x200, "board limit"),
    (0x400, "reliability"),
)


class Process(msgspec.Struct, frozen=True):
    """A process with a CUDA context on a device; in a container the pid may be the host's."""

    pid: int
    memory_bytes: int | None


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One board or one MIG slice, now.

    Attributes:
        uuid: as in `inventory.Device`; "" for a board that is lost and was not known before. index: number of the board.
        parent: uuid of a slice's board, "" for a board. sliced: the board is in MIG mode; work runs on its slices only.
        problem: why nothing more could be read, "" where it could.
        utilization, memory_utilization: share of the last sample period in which a kernel ran, in which memory was accessed; %.
        memory_used, memory_total: bytes. temperature: °C. power, power_limit: W.
        throttled: why the clocks are lowered, in words.
        processes: None where they cannot be listed.
        ecc_uncorrected, ecc_corrected: errors since the driver was loaded.
    """

    uuid: str
    index: int
    name: str = ""
    parent: str = ""
    sliced: bool = False
    problem: str = ""
    utilization: int | None = None
    memory_utilization: int | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    temperature: int | None = None
    power: float | None = None
    power_limit: float | None = None
    throttled: tuple[str, ...] = ()
    processes: tuple[Process, ...] | None = None
    ecc_uncorrected: int | None = None
    ecc_corrected: int | None = None


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """All readings, boards in order, each before its slices; `reason` says why there is no driver, "" where there is one."""

    readings: tuple[Reading, ...] = ()
    reason: str = ""


def look() -> Look:
    """Look at every device that the driver shows, whatever the environment hides from CUDA."""
    try:
        with opened() as nvml:
            try:
                return Look(readings=tuple(_readings(nvml)))
            except nvml.NVMLError as error:
                return Look(reason=f"NVML failed: {error}")
    except NoDriver as error:
        return Look(reason=str(error))


def holders(uuids: Collection[str]) -> dict[str, frozenset[int]]:
    """Return the processes that hold devices: those with a CUDA context there, which also keep its memory.

    Args:
        uuids: of boards or MIG slices.

    Returns:
        pids by uuid (in a container: the host's). Empty without a driver; a device that is lost, unknown, or that does not list
        its processes is left out: nobody knows who holds it.
    """
    return {
        reading.uuid: frozenset(process.pid for process in reading.processes)
        for reading in look().readings
        if reading.uuid in uuids and reading.processes is not None
    }


def lost(uuids: Collection[str]) -> dict[str, str]:
    """Return which devices are gone, and why.

    Args:
        uuids: of boards or MIG slices that were there once.

    Returns:
        reason by uuid: the board does not answer, has disappeared from the driver's list, or the slice was destroyed. Empty
        without a driver: then nothing is known of any of them.
    """
    now = look()
    if now.reason:
        return {}
    fine = {reading.uuid for reading in now.readings if not reading.problem}
    problems = {reading.uuid: reading.problem for reading in now.readings if reading.problem}
    nameless = [reading.problem for reading in now.readings if reading.problem and not reading.uuid]
    gone = nameless[0] if len(nameless) == 1 else "; ".join(nameless) or "the driver does not show it any more"
    return {uuid: problems.get(uuid, gone) for uuid in uuids if uuid not in fine}


def _readings(nvml: Any) -> Iterator[Reading]:
    for index in range(int(nvml.nvmlDeviceGetCount())):
        uuid = name = ""
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            uuid = str(nvml.nvmlDeviceGetUUID(handle))
            name = str(nvml.nvmlDeviceGetName(handle))
            board = _board(nvml, handle, Reading(uuid=uuid, index=index, name=name))
            # The slices are read before the board is given: one that is lost halfway is shown once, as lost.
            slices = list(_slices(nvml, handle, board)) if board.sliced else []
        except nvml.NVMLError as error:
            yield Reading(uuid=uuid, index=index, name=name, problem=_problem(nvml, index, error))
        else:
            yield board
            yield from slices


def _problem(nvml: Any, index: int, error: Any) -> str:
    if int(error.value) == nvml.NVML_ERROR_GPU_IS_LOST:
        return f"GPU {index} {_LOST}"
    return f"GPU {index} cannot be read: {error}"


def _board(nvml: Any, handle: Any, board: Reading) -> Reading:
    used, total = _memory(nvml, handle)
    rates = ask(nvml, "nvmlDeviceGetUtilizationRates", handle)
    power = ask(nvml, "nvmlDeviceGetPowerUsage", handle)  # milliwatts
    limit = ask(nvml, "nvmlDeviceGetEnforcedPowerLimit", handle)
    reasons = ask(nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", handle) or 0
    mode = ask(nvml, "nvmlDeviceGetMigMode", handle)
    return msgspec.structs.replace(
        board,
        sliced=mode is not None and mode[0] == nvml.NVML_DEVICE_MIG_ENABLE,
        utilization=None if rates is None else int(rates.gpu),
        memory_utilization=None if rates is None else int(rates.memory),
        memory_used=used,
        memory_total=total,
        temperature=ask(nvml, "nvmlDeviceGetTemperature", handle, nvml.NVML_TEMPERATURE_GPU),
        power=None if power is None else power / 1000,
        power_limit=None if limit is None else limit / 1000,
        throttled=tuple(words for bit, words in _THROTTLED if reasons & bit),
        processes=_processes(nvml, handle),
        ecc_uncorrected=_ecc(nvml, handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED),
        ecc_corrected=_ecc(nvml, handle, nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED),
    )


def _slices(nvml: Any, handle: Any, board: Reading) -> Iterator[Reading]:
    for number in range(int(nvml.nvmlDeviceGetMaxMigDeviceCount(handle))):
        part = ask(nvml, "nvmlDeviceGetMigDeviceHandleByIndex", handle, number)
        if part is None:  # that many were possible, fewer were made
            continue
        used, total = _memory(nvml, part)
        yield Reading(
            uuid=str(nvml.nvmlDeviceGetUUID(part)),
            index=board.index,
            name=str(ask(nvml, "nvmlDeviceGetName", part) or board.name),
            parent=board.uuid,
            memory_used=used,
            memory_total=total,
            processes=_processes(nvml, part),
        )


def _memory(nvml: Any, handle: Any) -> tuple[int | None, int | None]:
    """Return used and total bytes.

    Raises:
        NVMLError: the board is lost, or fails in another way than not having memory of its own.
    """
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError as error:
        if int(error.value) != nvml.NVML_ERROR_NOT_SUPPORTED:
            raise
        return None, None
    return int(memory.used), int(memory.total)


def _processes(nvml: Any, handle: Any) -> tuple[Process, ...] | None:
    found = ask(nvml, "nvmlDeviceGetComputeRunningProcesses_v3", handle)
    if found is None:  # a driver before 510
        found = ask(nvml, "nvmlDeviceGetComputeRunningProcesses_v2", handle)
    if found is None:
        return None
    # Under MPS the first list holds the server, this one its clients.
    found = [*found, *(ask(nvml, "nvmlDeviceGetMPSComputeRunningProcesses_v3", handle) or ())]
    by_pid: dict[int, int | None] = {}
    for process in found:  # a board in MIG mode lists a process once for each of its slices
        memory, before = process.usedGpuMemory, by_pid.get(int(process.pid))
        by_pid[int(process.pid)] = before if memory is None else int(memory) + (before or 0)
    return tuple(Process(pid, memory) for pid, memory in sorted(by_pid.items()))


def _ecc(nvml: Any, handle: Any, kind: int) -> int | None:
    count: int | None = ask(nvml, "nvmlDeviceGetTotalEccErrors", handle, kind, nvml.NVML_VOLATILE_ECC)
    return count
