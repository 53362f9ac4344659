"""The devices of this machine, read through NVML, and the precise reason where there is none.

Owns the reading and the meaning of CUDA_VISIBLE_DEVICES and NVIDIA_VISIBLE_DEVICES; never places a worker, never imports torch,
never creates a CUDA context. Sizes in bytes.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

NO_DRIVER = "no NVIDIA driver visible: "
_LIBRARY = "libnvidia-ml.so.1"
_CONTROL_NODE = "/dev/nvidiactl"


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU, or one MIG slice of a GPU.

    Attributes:
        uuid: what CUDA_VISIBLE_DEVICES takes, "GPU-…" or "MIG-…". index: number of the board, as nvidia-smi shows it.
        name: model of the board. memory_total, memory_free: bytes, 0 where the board shares the host's memory.
        capability: CUDA compute capability.
        parent: uuid of the board that a MIG slice is cut from, "" for a whole board.
        bus: PCI address of the board, "00000000:01:00.0". numa: its NUMA node, -1 where there is one only or none is known.
        compute_mode: "default"; "exclusive": one process at a time; "prohibited": none.
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


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at the machine found.

    Attributes:
        devices: those that this process may use, in the order of its environment, else by board number.
        reason: why `devices` is empty, "" when it is not.
        driver: driver version. cuda: newest CUDA version that the driver can run, "13.0"; both "" without a driver.
        problems: boards that are there but cannot be used, one line each.
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
        ctypes.CDLL(_LIBRARY)  # cheaper than importing pynvml, and it says why
    except OSError as error:
        return Inventory(reason=NO_DRIVER + _why_no_library(str(error)))
    import pynvml  # heavy (7 MB, 20 ms), and useless on a machine without the library

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Inventory(reason=NO_DRIVER + _why_not_started(pynvml, error))
    try:
        return visible(_read(pynvml), environ)
    except pynvml.NVMLError as error:
        return Inventory(reason=NO_DRIVER + f"NVML failed: {error}")
    finally:
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError:  # the driver went away in between; what was read stands
            pass


def visible(found: Inventory, environ: Mapping[str, str]) -> Inventory:
    """Return the inventory without the devices that the environment hides.

    Args:
        found: everything that NVML shows. environ: may hold CUDA_VISIBLE_DEVICES and NVIDIA_VISIBLE_DEVICES.
    """
    if not found.devices:
        return found
    devices = _runtime_choice(found.devices, environ.get("NVIDIA_VISIBLE_DEVICES"))
    if not devices:
        return _without_devices(found, "NVIDIA_VISIBLE_DEVICES", environ["NVIDIA_VISIBLE_DEVICES"])
    value = environ.get("CUDA_VISIBLE_DEVICES")
    if value is not None:
        devices = _cuda_choice(devices, value)
        if not devices:
            return _without_devices(found, "CUDA_VISIBLE_DEVICES", value)
    return msgspec.structs.replace(found, devices=devices)


def matches(device: Device, entry: str) -> bool:
    """Tell whether an entry of a device list, a board number or (the beginning of) a uuid, names this device."""
    if entry.isascii() and entry.isdigit():
        return not device.parent and device.index == int(entry)
    if not entry.startswith(("GPU-", "MIG-")):
        return False
    # A board's uuid also stands for its slices: CUDA takes the first one then, and so does whoever asks by board.
    return device.uuid.startswith(entry) or bool(device.parent and device.parent.startswith(entry))


def _cuda_choice(devices: tuple[Device, ...], value: str) -> tuple[Device, ...]:
    """Choose as CUDA does: in the order of the list, which ends at the first entry that names nothing."""
    chosen: list[Device] = []
    for entry in (part.strip() for part in value.split(",")):
        hits = [device for device in devices if matches(device, entry) and device not in chosen]
        if not hits:
            break
        chosen += hits
    return tuple(chosen)


def _runtime_choice(devices: tuple[Device, ...], value: str | None) -> tuple[Device, ...]:
    """Choose as the container runtime would have, where it has not done so already."""
    entries = [part.strip() for part in (value or "").split(",") if part.strip()]
    # "void" and an empty value mean that the runtime added nothing: the devices came another way (CDI, --device).
    if not entries or entries[0] in ("all", "void"):
        return devices
    if entries[0] == "none":
        return ()
    chosen = tuple(device for device in devices if any(matches(device, entry) for entry in entries))
    # The numbers are the host's. Inside a container that shows only those boards, they are numbered from 0 again.
    if all(entry.isdigit() for entry in entries) and len({device.index for device in devices}) <= len(entries):
        return devices
    return chosen


def _without_devices(found: Inventory, variable: str, value: str) -> Inventory:
    boards = ", ".join(f"{device.index} ({device.uuid})" for device in found.devices)
    reason = f"{variable}={value!r} hides every GPU of this machine; there are {boards}"
    return msgspec.structs.replace(found, devices=(), reason=reason)


def _read(nvml: Any) -> Inventory:
    """Read all devices that NVML shows; one that fails becomes a problem, and the rest is still read."""
    driver = str(nvml.nvmlSystemGetDriverVersion())
    version = int(nvml.nvmlSystemGetCudaDriverVersion_v2())
    count = int(nvml.nvmlDeviceGetCount())
    devices: list[Device] = []
    problems: list[str] = []
    for index in range(count):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            devices += _slices(nvml, handle, index, problems)
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
    )


def _slices(nvml: Any, handle: Any, index: int, problems: list[str]) -> list[Device]:
    """Return the board, or its MIG slices where MIG is on (the board itself cannot run anything then)."""
    capability = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    total, free = _memory(nvml, handle)
    board = Device(
        uuid=str(nvml.nvmlDeviceGetUUID(handle)),
        index=index,
        name=str(nvml.nvmlDeviceGetName(handle)),
        memory_total=total,
        memory_free=free,
        capability=(int(capability[0]), int(capability[1])),
    )
    try:
        mig_on = nvml.nvmlDeviceGetMigMode(handle)[0] == nvml.NVML_DEVICE_MIG_ENABLE
    except nvml.NVMLError:  # a board, or a driver, that knows no MIG
        mig_on = False
    if not mig_on:
        return [board]
    found: list[Device] = []
    for number in range(int(nvml.nvmlDeviceGetMaxMigDeviceCount(handle))):
        try:
            part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
        except nvml.NVMLError:  # that many were possible, fewer were made
            continue
        uuid = str(nvml.nvmlDeviceGetUUID(part))
        total, free = _memory(nvml, part)
        found.append(msgspec.structs.replace(board, uuid=uuid, parent=board.uuid, memory_total=total, memory_free=free))
    if not found:
        problems.append(f"GPU {index} is in MIG mode but has no instances (make some: nvidia-smi mig -cgi … -C)")
    return found


def _memory(nvml: Any, handle: Any) -> tuple[int, int]:
    """Return total and free bytes; (0, 0) for boards that share the host's memory and so have none of their own."""
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError as error:
        if int(error.value) != nvml.NVML_ERROR_NOT_SUPPORTED:
            raise
        return 0, 0
    return int(memory.total), int(memory.free)


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
