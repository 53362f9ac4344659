"""Which worker gets which devices and how much of their memory, decided before any worker starts.

Owns the placements, and what a worker's environment says of them; pure: services, inventory and settings in, placements or an error
out. Never reads the machine, never starts a process. GPUs are counted per worker: workers get devices of their own while there are
enough, after that they share, evenly and as far as memory allows. Bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

import msgspec

from tiffin.config.parts import WorkersConfig
from tiffin.errors import PlacementError
from tiffin.gpu.demand import Demand, allowed, demand, describe
from tiffin.gpu.device import DEVICE_VARIABLE, MEMORY_VARIABLE
from tiffin.gpu.inventory import Inventory
from tiffin.gpu.room import gib
from tiffin.gpu.seating import Got, Seating
from tiffin.spec.service import ServiceSpec

CPU, CUDA = "cpu", "cuda:0"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_GROWTH_VARIABLE = "TF_FORCE_GPU_ALLOW_GROWTH"  # else TensorFlow takes all memory of every device at once


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


def plan(
    services: Sequence[ServiceSpec],
    inventory: Inventory,
    workers: WorkersConfig,
    *,
    cores: int,
    affinity: Collection[int] = (),
    environ: Mapping[str, str] | None = None,
) -> Plan:
    """Place every worker of every service.

    Args:
        services: dependencies first. inventory: what the machine has. workers: settings: count, device, placement.
        cores: CPU cores that the process may use, as a number. affinity: which ones; empty: not known, nobody is pinned.
        environ: the operator's own settings of threads and of TensorFlow's memory there are kept.

    Raises:
        PlacementError: too few devices, or too full; the message says what was asked, found and free.
        ConfigError: workers.device cannot be read. SpecError: a service's resources cannot be read.
    """
    usable = allowed(inventory, workers.device)
    demands = [demand(spec, usable, workers, inventory, cores) for spec in services]
    seating = _seat(demands, usable, inventory, workers)
    pinned = [[_near(devices, inventory, affinity) for devices in got] for got in seating.got]
    everyone = [near for row in pinned for near in row]
    placements: list[Placement] = []
    for at, one in enumerate(demands):
        for number, devices in enumerate(seating.got[at]):
            near = pinned[at][number]
            threads = cores // len(everyone)
            if near:
                threads = min(threads, len(near) // everyone.count(near))
            memory = tuple(seating.room.budget(device, seating.first[at] + number) for device in devices)
            env = _env(one.spec, devices, memory, max(1, threads), environ or {})
            placements.append(_placement(one.spec.name, devices, memory, near, env))
    notes = [f"note: {problem}" for problem in inventory.problems]
    return Plan(placements=tuple(placements), notes=(*notes, *_notes(demands, seating, workers)))


def _seat(demands: Sequence[Demand], usable: Got, inventory: Inventory, workers: WorkersConfig) -> Seating:
    """Seat everybody as the settings say, or packed where that is the only way."""
    pack = workers.placement == "pack"
    try:
        return Seating(demands, usable, inventory, workers, pack=pack)
    except PlacementError as error:
        if not pack:  # spread out, small ones may stand where a large one would have fitted
            with suppress(PlacementError):
                return Seating(demands, usable, inventory, workers, pack=True)
        raise error from None


def _near(devices: Got, inventory: Inventory, affinity: Collection[int]) -> tuple[int, ...]:
    """Return the CPU cores on the NUMA node of a worker's devices; none where they are on several, or none is known."""
    nodes = {device.numa for device in devices}
    if len(nodes) != 1 or len(inventory.nodes) < 2:
        return ()
    return tuple(core for core in inventory.nodes.get(nodes.pop(), ()) if core in affinity)


def _placement(
    service: str, devices: Got, memory: tuple[int, ...], near: tuple[int, ...], env: dict[str, str]
) -> Placement:
    shown = [
        describe(device) + (f" (up to {gib(limit)})" if limit else "")
        for device, limit in zip(devices, memory, strict=True)
    ]
    return Placement(
        service=service,
        device=CUDA if devices else CPU,
        uuids=tuple(device.uuid for device in devices),
        where=", ".join(shown) or "CPU",
        env=env,
        memory=memory,
        cores=near,
    )


def _env(
    spec: ServiceSpec, devices: Got, memory: tuple[int, ...], threads: int, environ: Mapping[str, str]
) -> dict[str, str]:
    """Return what a worker's environment says before anything is imported there."""
    cpu = spec.resources.get("cpu", 0)
    if isinstance(cpu, int | float) and cpu >= 1:
        threads = int(cpu)
    # Libraries would else start one thread per core in every worker.
    env = {name: str(threads) for name in _THREAD_VARIABLES if name not in environ}
    # NVML counts boards by their place on the bus, CUDA by speed unless told so.
    env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    env["CUDA_VISIBLE_DEVICES"] = ",".join(device.uuid for device in devices)
    env[DEVICE_VARIABLE] = CUDA if devices else CPU
    # Set where there is no limit, too: the operator's environment may come from a worker.
    env[MEMORY_VARIABLE] = ",".join(map(str, memory)) if any(memory) else ""
    if devices and _GROWTH_VARIABLE not in environ:
        env[_GROWTH_VARIABLE] = "true"
    return env


def _notes(demands: Sequence[Demand], seating: Seating, workers: WorkersConfig) -> list[str]:
    """Return what must be said loudly: who is on the CPU, and why; one line for all who are for the same reason."""
    notes = [
        f"{one.spec.name} asks for {one.asked} and runs on the CPU, as --device cpu says"
        for one in demands
        if workers.device == "cpu" and one.asked
    ]
    whys = dict.fromkeys(seating.fallen[one.spec.name] for one in demands if one.spec.name in seating.fallen)
    for why in whys:
        names = [one.spec.name for one in demands if seating.fallen.get(one.spec.name) == why]
        notes.append(f"{_listed(names)} {'runs' if len(names) == 1 else 'run'} on the CPU: {why}")
    return notes


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
