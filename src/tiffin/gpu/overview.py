"""Devices, what they do, and who is on them, in one picture.

Owns the joining; pure: an inventory, a look and the processes in, an overview out. `tiffin gpus --json` prints it as it is: names
stay, new ones may come. Bytes, watts, °C, percent; None is what cannot be told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from tiffin.gpu.inventory import Device, Inventory, visible
from tiffin.gpu.live import Look, Process, Reading
from tiffin.gpu.occupants import Here, Worker


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """A Tiffin worker on a device.

    Attributes:
        source: who says the memory: the "driver" (all that the worker's processes hold on this device), or the "worker" itself
            (what its frameworks hold, on all of its devices together).
    """

    service: str
    worker: int
    pid: int
    memory_bytes: int | None = None
    source: Literal["driver", "worker", ""] = ""


class Stranger(msgspec.Struct, frozen=True, kw_only=True):
    """Another process on a device. name: its command line, "" where the pid is not one of ours to look at."""

    pid: int
    memory_bytes: int | None = None
    name: str = ""


class DeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """One board, or one MIG slice (`parent` is its board's uuid); see `inventory.Device` and `live.Reading`.

    Attributes:
        mig: the board is in MIG mode: its slices, which follow it, are what work runs on.
        problem: why it cannot be used or read, "" where it can.
    """

    index: int
    uuid: str
    name: str
    parent: str = ""
    mig: bool = False
    bus: str = ""
    numa: int = -1
    capability: str = ""
    compute_mode: str = ""
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    utilization_percent: int | None = None
    memory_utilization_percent: int | None = None
    temperature_celsius: int | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    throttled: tuple[str, ...] = ()
    ecc_uncorrected: int | None = None
    ecc_corrected: int | None = None
    problem: str = ""
    workers: tuple[Tenant, ...] = ()
    processes: tuple[Stranger, ...] = ()


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The whole picture. reason: why there are no devices, "" where there are some. notes: what else is worth knowing."""

    driver: str = ""
    cuda: str = ""
    reason: str = ""
    devices: tuple[DeviceView, ...] = ()
    notes: tuple[str, ...] = ()


def overview(found: Inventory, look: Look, here: Here, environ: Mapping[str, str]) -> Overview:
    """Join everything.

    Args:
        found: all devices, whatever the environment hides. look: of the same moment. here: the processes. environ: what hides
            devices from Tiffin; those are left out.
    """
    allowed = visible(found, environ)
    known = {device.uuid: device for device in allowed.devices}
    known |= {
        device.parent: device for device in allowed.devices if device.parent
    }  # a board of slices is not a device itself
    hidden = {uuid for device in found.devices for uuid in (device.uuid, device.parent)} - known.keys() - {""}
    devices = tuple(
        _view(reading, known.get(reading.uuid), here)
        for reading in _named(look.readings, here.workers)
        if reading.uuid not in hidden
    )
    # What the reason or a row of its own says already is no note.
    shown = tuple(f"GPU {device.index} cannot be used" for device in devices if device.problem)
    notes = [problem for problem in allowed.problems if allowed.devices and not problem.startswith(shown)]
    missing = len(found.devices) - len(allowed.devices)
    if allowed.devices and missing:
        notes.append(f"{missing} more device(s) are hidden by CUDA_VISIBLE_DEVICES or NVIDIA_VISIBLE_DEVICES")
    for device in devices:
        if device.throttled:
            notes.append(f"GPU {device.index} runs slower than it could: {', '.join(device.throttled)}")
        if device.ecc_uncorrected:
            errors = f"{device.ecc_uncorrected} uncorrectable memory error(s) since the driver was loaded"
            notes.append(f"GPU {device.index} had {errors} (see tiffin doctor)")
    if not here.host and any(device.processes for device in devices):
        notes.append("in a container the driver tells the host's pids, so each worker says itself what it holds")
    return Overview(
        driver=found.driver, cuda=found.cuda, reason=allowed.reason, devices=devices, notes=tuple(dict.fromkeys(notes))
    )


def _named(readings: Sequence[Reading], workers: Sequence[Worker]) -> Sequence[Reading]:
    """Give a lost board, which does not say who it is, the one uuid that workers sit on and no other board has."""
    sought = {uuid for worker in workers for uuid in worker.uuids or ()} - {reading.uuid for reading in readings}
    if len(sought) != 1 or sum(not reading.uuid for reading in readings) != 1:
        return readings
    (uuid,) = sought
    return [reading if reading.uuid else msgspec.structs.replace(reading, uuid=uuid) for reading in readings]


def _view(reading: Reading, device: Device | None, here: Here) -> DeviceView:
    workers, strangers = _on(reading, here)
    return DeviceView(
        index=reading.index,
        uuid=reading.uuid,
        name=reading.name,
        parent=reading.parent,
        mig=reading.sliced,
        bus="" if device is None else device.bus,
        numa=-1 if device is None else device.numa,
        capability="" if device is None else f"{device.capability[0]}.{device.capability[1]}",
        compute_mode="" if device is None else device.compute_mode,
        memory_total_bytes=reading.memory_total,
        memory_used_bytes=reading.memory_used,
        utilization_percent=reading.utilization,
        memory_utilization_percent=reading.memory_utilization,
        temperature_celsius=reading.temperature,
        power_watts=reading.power,
        power_limit_watts=reading.power_limit,
        throttled=reading.throttled,
        ecc_uncorrected=reading.ecc_uncorrected,
        ecc_corrected=reading.ecc_corrected,
        problem=reading.problem,
        workers=workers,
        processes=strangers,
    )


def _on(reading: Reading, here: Here) -> tuple[tuple[Tenant, ...], tuple[Stranger, ...]]:
    """Return who is on a device; a board in MIG mode leaves that to its slices."""
    if reading.sliced:
        return (), ()
    left = {process.pid: process for process in reading.processes or ()}
    tenants: list[Tenant] = []
    for worker in here.workers:
        held = [left.pop(pid) for pid in worker.members if pid in left] if here.host else []
        if held or (reading.uuid and reading.uuid in (worker.uuids or ())):
            tenants.append(_tenant(worker, held))
    strangers = [
        Stranger(pid=one.pid, memory_bytes=one.memory_bytes, name=here.names.get(one.pid, "") if here.host else "")
        for one in left.values()
    ]
    return tuple(tenants), tuple(strangers)


def _tenant(worker: Worker, held: Sequence[Process]) -> Tenant:
    sizes = [one.memory_bytes for one in held if one.memory_bytes is not None]
    by_driver = sum(sizes) if sizes else None
    memory = worker.memory_bytes if by_driver is None else by_driver
    source: Literal["driver", "worker", ""] = "driver" if sizes else "worker" if memory is not None else ""
    return Tenant(service=worker.service, worker=worker.worker, pid=worker.pid, memory_bytes=memory, source=source)
