"""The devices of this machine, read through NVML, and the precise reason where there is none.

Owns the reading of what does not change while Tiffin runs (see `live` for what does); never places a worker, never imports torch,
never creates a CUDA context. Sizes in bytes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from tiffin.gpu.numa import node_of, nodes
from tiffin.gpu.nvml import NoDriver, ask, opened
from tiffin.gpu.visible import choose, matches

__all__ = ["NO_DRIVER", "Device", "Inventory", "matches", "take", "visible"]

NO_DRIVER = "no NVIDIA driver visible: "
_MODES: dict[int, Literal["default", "exclusive", "prohibited"]] = {1: "exclusive", 2: "prohibited", 3: "exclusive"}


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU, or one MIG slice of a GPU.

    Attributes:
        uuid: what CUDA_VISIBLE_DEVICES takes, "GPU-…" or "MIG-…". index: number of the board, as nvidia-smi shows it.
        name: model of the board. memory_total, memory_free: bytes, 0 where the board shares the host's memory.
        capability: CUDA compute capability.
        parent: uuid of the board that a MIG slice is cut from, "" for a whole board.
        bus: PCI address of the board, "00000000:01:00.0". numa: its NUMA node, -1 where there is one only or none is known.
        compute_mode: "default"; "exclusive": one process at a time; "prohibited": none.
        instance: of a slice, "GPU instance/compute instance", the end of its older name; "" for a board.
    """

    uuid: str
    index: int
    name: str
    memory_total: int
    memory_free: int
    capability: tuple[int, int] = (0, 0)
    parent: str = ""
    bus: str = ""
    numa: int = -1
    compute_mode: Literal["default", "exclusive", "prohibited"] = "default"
    instance: str = ""


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at the machine found.

    Attributes:
        devices: those that this process may use, in the order of its environment, else by board number.
        reason: why `devices` is empty, "" when it is not.
        driver: driver version. cuda: newest CUDA version that the driver can run, "13.0"; both "" without a driver.
        problems: boards that are there but cannot be used, and what the environment's lists name in vain; one line each.
        nodes: CPU cores of each NUMA node; empty where there is one only.
    """

    devices: tuple[Device, ...] = ()
    reason: str = ""
    driver: str = ""
    cuda: str = ""
    problems: tuple[str, ...] = ()
    nodes: dict[int, tuple[int, ...]] = {}


def take(environ: Mapping[str, str] = os.environ) -> Inventory:
    """Look at the machine.

    Args:
        environ: where the two variables that hide devices are read.

    Returns:
        an inventory; a machine without devices is not an error here, its `reason` says what is missing.
    """
    try:
        with opened() as nvml:
            try:
                return visible(_read(nvml), environ)
            except nvml.NVMLError as error:
                return Inventory(reason=NO_DRIVER + f"NVML failed: {error}")
    except NoDriver as error:
        return Inventory(reason=NO_DRIVER + str(error))


def visible(found: Inventory, environ: Mapping[str, str]) -> Inventory:
    """Return the inventory without the devices that the environment hides.

    Args:
        found: everything that NVML shows. environ: may hold CUDA_VISIBLE_DEVICES and NVIDIA_VISIBLE_DEVICES.
    """
    if not found.devices:
        return found
    choice = choose(found.devices, environ)
    return msgspec.structs.replace(
        found, devices=choice.devices, reason=choice.reason, problems=found.problems + choice.problems
    )


def _read(nvml: Any) -> Inventory:
    """Read all devices that NVML shows; one that fails becomes a problem, and the rest is still read."""
    driver = str(nvml.nvmlSystemGetDriverVersion())
    version = int(nvml.nvmlSystemGetCudaDriverVersion_v2())
    count = int(nvml.nvmlDeviceGetCount())
    known = nodes()
    devices: list[Device] = []
    problems: list[str] = []
    for index in range(count):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            devices += _slices(nvml, handle, index, known, problems)
        except nvml.NVMLError as error:
            problems.append(f"GPU {index} cannot be used: {error}")
    if devices:
        reason = ""
    elif problems:
        reason = "no usable GPU: " + "; ".join(problems)
    else:
        reason = f"driver {driver} is loaded, but it shows no GPU (in a container: start it with the GPUs, for example --gpus all)"
    return Inventory(
        devices=tuple(devices),
        reason=reason,
        driver=driver,
        cuda=f"{version // 1000}.{version % 1000 // 10}",
        problems=tuple(problems),
        nodes=known,
    )


def _slices(nvml: Any, handle: Any, index: int, known: Mapping[int, object], problems: list[str]) -> list[Device]:
    """Return the board, or its MIG slices where MIG is on (the board itself cannot run anything then)."""
    # What every board must answer: a board that fails here is a problem.
    capability = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    total, free = _memory(nvml, handle)
    bus = _bus(nvml, handle)
    board = Device(
        uuid=str(nvml.nvmlDeviceGetUUID(handle)),
        index=index,
        name=str(nvml.nvmlDeviceGetName(handle)),
        memory_total=total,
        memory_free=free,
        capability=(int(capability[0]), int(capability[1])),
        bus=bus,
        numa=node_of(nvml, handle, bus, known),
        compute_mode=_MODES.get(ask(nvml, "nvmlDeviceGetComputeMode", handle) or 0, "default"),
    )
    mode = ask(nvml, "nvmlDeviceGetMigMode", handle)  # None: a board, or a driver, that knows no MIG
    if mode is None or mode[0] != nvml.NVML_DEVICE_MIG_ENABLE:
        return [board]
    found: list[Device] = []
    for number in range(int(nvml.nvmlDeviceGetMaxMigDeviceCount(handle))):
        part = ask(nvml, "nvmlDeviceGetMigDeviceHandleByIndex", handle, number)
        if part is None:  # that many were possible, fewer were made
            continue
        uuid = str(nvml.nvmlDeviceGetUUID(part))
        total, free = _memory(nvml, part)
        ids = [ask(nvml, "nvmlDeviceGetGpuInstanceId", part), ask(nvml, "nvmlDeviceGetComputeInstanceId", part)]
        instance = "" if None in ids else "/".join(map(str, ids))
        found.append(
            msgspec.structs.replace(
                board, uuid=uuid, parent=board.uuid, instance=instance, memory_total=total, memory_free=free
            )
        )
    if not found:
        problems.append(f"GPU {index} is in MIG mode but has no instances (make some: nvidia-smi mig -cgi … -C)")
    return found


def _bus(nvml: Any, handle: Any) -> str:
    info = ask(nvml, "nvmlDeviceGetPciInfo", handle)
    if info is None:
        return ""
    return info.busId.decode() if isinstance(info.busId, bytes) else str(info.busId)


def _memory(nvml: Any, handle: Any) -> tuple[int, int]:
    """Return total and free bytes; (0, 0) for boards that share the host's memory and so have none of their own."""
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError as error:
        if int(error.value) != nvml.NVML_ERROR_NOT_SUPPORTED:
            raise
        return 0, 0
    return int(memory.total), int(memory.free)
