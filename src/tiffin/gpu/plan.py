"""Which worker gets which device, decided before any worker starts.

Owns the rules; pure: services, inventory and settings in, placements or an error out. Never reads the machine, never starts a
process. A device that a service asks for by number is given to one worker only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tiffin.config.parts import WorkersConfig
from tiffin.errors import ConfigError, PlacementError
from tiffin.gpu.device import DEVICE_VARIABLE
from tiffin.gpu.inventory import Device, Inventory, matches
from tiffin.spec.service import ServiceSpec

CPU, CUDA = "cpu", "cuda:0"
_BUSY_SHARE = 0.5  # a board of which others hold more memory than this is not free, unless it is named
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Where one worker runs.

    Attributes:
        service: name. device: "cuda:0" or "cpu", what `tiffin.device()` answers there.
        uuids: the devices that it sees. where: the same for people. env: variables to set before anything is imported.
        memory: bytes of each device that it may use; 0: no limit, it has the device for itself. cores: CPU cores next to its
            devices that it stays on; empty: all.
    """

    service: str
    device: str
    uuids: tuple[str, ...] = ()
    where: str = "CPU"
    env: dict[str, str] = {}
    memory: tuple[int, ...] = ()
    cores: tuple[int, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All placements, services in their order, and what the operator must be told about them."""

    placements: tuple[Placement, ...]
    notes: tuple[str, ...] = ()


class _Demand(msgspec.Struct, kw_only=True):
    """What one service asks for.

    Attributes:
        each: GPUs of its own for every worker; 0: none. given: per worker, boards named or a number of them (explicit lists).
        count: workers; None: one for every GPU (or group of `each`) that is left.
        asks: whether a missing GPU is an error. shares: whether one free GPU serves all its workers.
        got: per worker, its devices.
    """

    spec: ServiceSpec
    each: int
    count: int | None
    asks: bool
    shares: bool = False
    given: list[tuple[Device, ...] | int] | None = None
    got: list[tuple[Device, ...]] = []


def plan(
    services: Sequence[ServiceSpec],
    inventory: Inventory,
    workers: WorkersConfig,
    *,
    cores: int,
    environ: Mapping[str, str] | None = None,
) -> Plan:
    """Place every worker of every service.

    Args:
        services: dependencies first. inventory: what the machine has. workers: settings: count and device.
        cores: CPU cores that the process may use. environ: the operator's own thread settings there are kept.

    Raises:
        PlacementError: fewer devices than asked for; the message says what was asked, found and free.
        ConfigError: workers.device cannot be read.
    """
    allowed, named = _allowed(inventory, workers.device)
    free = [device for device in allowed if named or _idle(device)]
    pool = list(free)
    notes = [f"note: {problem}" for problem in inventory.problems]
    demands = [_demand(spec, inventory, workers, cores) for spec in services]
    # Whoever asks for a number comes first, then who takes what there is, then who takes all that is left.
    for rank in range(3):
        for demand in demands:
            if _rank(demand) == rank and not _serve(demand, pool):
                raise _too_few(demands, inventory, allowed, free, workers)
    if workers.device == "cuda" and any(not devices for demand in demands for devices in demand.got):
        raise _too_few(demands, inventory, allowed, free, workers)
    total = sum(len(demand.got) for demand in demands)
    threads = max(1, cores // max(1, total))
    placements: list[Placement] = []
    for demand in demands:
        env = _threads_env(demand.spec, threads, environ or {})
        placements += [_placement(demand.spec.name, devices, env) for devices in demand.got]
    notes += _notes(demands, inventory, workers, allowed)
    return Plan(placements=tuple(placements), notes=tuple(notes))


def _allowed(inventory: Inventory, choice: str) -> tuple[tuple[Device, ...], bool]:
    """Return the devices that `workers.device` leaves, and whether it names them one by one."""
    if choice == "cpu":
        return (), False
    if choice in ("auto", "cuda"):
        return inventory.devices, False
    entries = [entry.strip() for entry in choice.split(",") if entry.strip()]
    if not entries or not all(entry.isdigit() or entry.startswith(("GPU-", "MIG-")) for entry in entries):
        raise ConfigError(
            f"workers.device is {choice!r}", hint="use auto, cpu, cuda, GPU numbers such as 0,1, or their UUIDs"
        )
    chosen: list[Device] = []
    for entry in entries:
        hits = [device for device in inventory.devices if matches(device, entry)]
        if not hits:
            there = "; ".join(_describe(device) for device in inventory.devices) or inventory.reason
            raise PlacementError(
                f"workers.device asks for GPU {entry}, which is not visible here: {there}",
                hint="choose from these, or run on the CPU: --device cpu",
            )
        chosen += [device for device in hits if device not in chosen]
    return tuple(chosen), True


def _idle(device: Device) -> bool:
    return device.memory_free >= device.memory_total * (1 - _BUSY_SHARE)


def _demand(spec: ServiceSpec, inventory: Inventory, workers: WorkersConfig, cores: int) -> _Demand:
    """Read what a service asks for; the settings' worker count wins over the service's own."""
    each = _gpus(spec)
    asks = bool(each) and spec.resources.get("fallback") != "cpu" and workers.device != "cpu"
    if workers.device == "cpu":
        each = 0
    count: int | None
    if isinstance(spec.workers, list) and workers.count is None:
        if workers.device == "cpu":
            return _Demand(spec=spec, each=0, count=len(spec.workers), asks=False)
        given = [_given(spec, entry, inventory) for entry in spec.workers]
        return _Demand(spec=spec, each=0, count=len(given), asks=True, given=given)
    if workers.count is not None:
        count = workers.count
    elif isinstance(spec.workers, int):
        count = spec.workers
    elif spec.workers == "cpu_count":
        count = cores
    elif spec.workers == "per_gpu":
        count = None
    else:
        count = 1
    shares = each == 0 and "gpu" not in spec.resources and "cpu" not in spec.resources and workers.device != "cpu"
    return _Demand(spec=spec, each=each, count=count, asks=asks, shares=shares)


def _gpus(spec: ServiceSpec) -> int:
    value: Any = spec.resources.get("gpu", 0)
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise PlacementError(
            f"service {spec.name} asks for resources gpu={value!r}", hint="ask for a whole number of GPUs per worker"
        )
    return value


def _given(spec: ServiceSpec, entry: dict[str, Any], inventory: Inventory) -> tuple[Device, ...] | int:
    """Read one entry of an explicit list of workers, for example {"gpus": [0, 1]} or {"gpus": 1}."""
    gpus: Any = entry.get("gpus", 0)
    if isinstance(gpus, int):
        return gpus
    chosen: list[Device] = []
    for number in gpus:
        hits = [device for device in inventory.devices if matches(device, str(number))]
        if not hits:
            there = "; ".join(_describe(device) for device in inventory.devices) or inventory.reason
            raise PlacementError(
                f"service {spec.name} wants a worker on GPU {number}, which is not visible here: {there}",
                hint="choose from these, or run on the CPU: --device cpu",
            )
        chosen += hits
    return tuple(chosen)


def _rank(demand: _Demand) -> int:
    if demand.count is None:
        return 2
    return 0 if demand.each or demand.given is not None else 1


def _serve(demand: _Demand, pool: list[Device]) -> bool:
    """Take the service's devices out of the pool; return False where there are too few and it cannot do without."""
    if demand.given is not None:
        left = list(pool)
        for wish in demand.given:
            if isinstance(wish, tuple):
                devices = wish
            elif wish <= len(left):
                devices = tuple(left[:wish])
            else:
                return False
            left = [device for device in left if device not in devices]
            demand.got.append(devices)
    elif demand.shares and demand.count is not None:
        demand.got = [tuple(pool[:1])] * demand.count
    else:
        each = demand.each or int(demand.shares)
        count = demand.count if demand.count is not None else len(pool) // max(1, each)
        if count and count * each <= len(pool):
            demand.got = [tuple(pool[at * each : (at + 1) * each]) for at in range(count)]
        elif demand.asks:
            return False
        else:  # the service said that the CPU will do, or said nothing
            demand.got = [()] * (demand.count or 1)
    taken = {device.uuid for devices in demand.got for device in devices}
    pool[:] = [device for device in pool if device.uuid not in taken]
    return True


def _placement(service: str, devices: tuple[Device, ...], env: dict[str, str]) -> Placement:
    device = CUDA if devices else CPU
    return Placement(
        service=service,
        device=device,
        uuids=tuple(one.uuid for one in devices),
        where=", ".join(_describe(one) for one in devices) or "CPU",
        env={
            **env,
            # NVML counts boards by their place on the bus, CUDA by speed unless told so.
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "CUDA_VISIBLE_DEVICES": ",".join(one.uuid for one in devices),
            DEVICE_VARIABLE: device,
        },
    )


def _threads_env(spec: ServiceSpec, threads: int, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the thread settings of libraries that would else start one thread per core in every worker."""
    cpu: Any = spec.resources.get("cpu")
    if isinstance(cpu, int | float) and not isinstance(cpu, bool) and cpu >= 1:
        threads = int(cpu)
    return {name: str(threads) for name in _THREAD_VARIABLES if name not in environ}


def _describe(device: Device) -> str:
    part = f" slice {device.uuid}" if device.parent else ""
    return f"GPU {device.index} {device.name}{part}"


def _notes(
    demands: Sequence[_Demand], inventory: Inventory, workers: WorkersConfig, allowed: Sequence[Device]
) -> list[str]:
    """Return what must be said loudly: a line for all services that are on the CPU because there was no GPU for them."""
    notes: list[str] = []
    fallen: list[str] = []
    for demand in demands:
        if all(demand.got):
            continue
        asked = _gpus(demand.spec)
        if workers.device == "cpu":
            if asked:
                notes.append(f"{demand.spec.name} asks for {asked} GPU(s) and runs on the CPU, as --device cpu says")
        elif demand.shares or demand.each:  # else it said itself that it needs no GPU
            fallen.append(demand.spec.name)
    if fallen:
        why = inventory.reason or ("every GPU is taken or busy" if allowed else "no GPU is left")
        notes.append(f"{_listed(fallen)} {'runs' if len(fallen) == 1 else 'run'} on the CPU: {why}")
    return notes


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _too_few(
    demands: Sequence[_Demand],
    inventory: Inventory,
    allowed: Sequence[Device],
    free: Sequence[Device],
    workers: WorkersConfig,
) -> PlacementError:
    """Say what was asked for, what is there, and what to do."""
    rows = [("service", "workers", "GPUs asked")]
    for demand in demands:
        number = "per GPU" if demand.count is None else str(demand.count)
        if demand.given is not None:
            asked = str(sum(wish if isinstance(wish, int) else len(wish) for wish in demand.given))
        elif demand.each:
            asked = f"{demand.each} each" if demand.count is None else str(demand.each * demand.count)
        else:
            asked = "1" if demand.shares and workers.device == "cuda" else "-"
        rows.append((demand.spec.name, number, asked))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    table = "\n".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
    found = f"found {len(allowed)} GPU(s), of which {len(free)} free"
    reason = inventory.reason or "; ".join(
        _describe(device) + ("" if device in free else " (busy)") for device in allowed
    )
    return PlacementError(
        f"not enough GPUs: {found}\n{table}\n  {reason}",
        hint="run on the CPU: --device cpu; or ask for fewer: --workers, resources",
    )
