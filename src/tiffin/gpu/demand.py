"""What each service asks for, worker by worker.

Owns the reading of specs and settings into wishes; pure. Never gives a device away.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tiffin.config.parts import WorkersConfig
from tiffin.errors import ConfigError, PlacementError
from tiffin.gpu.inventory import Device, Inventory, matches
from tiffin.spec.resources import Resources, read_resources, read_workers
from tiffin.spec.service import ServiceSpec

Wish = int | tuple[Device, ...]  # how many GPUs, or which


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What one service asks for.

    Attributes:
        spec, needs: the service. wishes: one for each worker. per_gpu: one worker for every GPU (or group) that is left; then
            `wishes` is empty and `each` says how many GPUs a worker gets.
        required: a GPU that is missing is an error. open: nothing was said of GPUs: one that is free serves all its workers.
    """

    spec: ServiceSpec
    needs: Resources
    wishes: tuple[Wish, ...] = ()
    per_gpu: bool = False
    each: int = 0
    required: bool = False
    open: bool = False

    @property
    def wants_gpu(self) -> bool:
        """Whether it takes a GPU where there is one."""
        return self.per_gpu or self.open or any(self.wishes)

    @property
    def asked(self) -> str:
        """What it asks for, in words; "" for nothing that has to do with GPUs."""
        needs = self.needs
        if isinstance(self.spec.workers, list):
            return f"workers={self.spec.workers!r}"
        if not needs.gpus:
            return ""
        words = [f"{needs.share:g} of a GPU" if needs.share else f"{needs.gpus} GPU(s)"]
        words += [f"gpu_memory={self.spec.resources['gpu_memory']!r}"] if needs.gpu_memory else []
        words += [f"gpu_type={needs.gpu_type!r}"] if needs.gpu_type else []
        return ", ".join(words)

    @property
    def rank(self) -> tuple[int, int, int]:
        """Return a key by which the picky come first: they have the fewest places to go."""
        needs = self.needs
        if self.per_gpu:
            order = 7
        elif self.open:
            order = 6
        elif any(isinstance(wish, tuple) for wish in self.wishes):
            order = 0
        elif needs.exclusive:
            order = 1 if needs.gpu_type else 2
        elif needs.gpu_type:
            order = 3
        else:
            # Whole GPUs first: who knows how little memory it needs finds room beside them, and not the other way round.
            order = 5 if needs.share or needs.gpu_memory else 4
        return order, -max((wish for wish in self.wishes if isinstance(wish, int)), default=0), -needs.gpu_memory


def demand(
    spec: ServiceSpec, allowed: Sequence[Device], workers: WorkersConfig, inventory: Inventory, cores: int
) -> Demand:
    """Read what a service asks for; the settings' worker count wins over the service's own.

    Args:
        allowed: devices that the settings leave. inventory: all that are visible. cores: of the machine.

    Raises:
        SpecError: its resources cannot be read. PlacementError: it names a device that is not there.
    """
    where = f"service {spec.name}"
    needs = read_resources(spec.resources, where)
    cpu = workers.device == "cpu"
    required = not cpu and not needs.fallback
    if isinstance(spec.workers, list) and workers.count is None:
        listed = read_workers(spec.workers, where)
        wishes = tuple(0 if cpu else _wish(entry, at, spec, allowed, inventory) for at, entry in enumerate(listed))
        return Demand(spec=spec, needs=needs, wishes=wishes, required=required and any(wishes))
    # {"cpu": 2} and nothing of GPUs: the service says where it wants to be.
    silent = needs.gpus is None and not needs.cpu and not cpu
    each = 0 if cpu else needs.gpus or 0
    required = required and each > 0
    if workers.count is None and spec.workers == "per_gpu":
        if cpu or needs.gpus == 0 or (needs.gpus is None and needs.cpu):
            return Demand(spec=spec, needs=needs, wishes=(0,))
        return Demand(spec=spec, needs=needs, per_gpu=True, each=each or 1, required=required)
    if workers.count is not None:
        count = workers.count
    elif spec.workers == "cpu_count":
        count = cores
    else:
        count = spec.workers if isinstance(spec.workers, int) else 1
    return Demand(spec=spec, needs=needs, wishes=(each,) * count, required=required, open=silent)


def allowed(inventory: Inventory, choice: str) -> tuple[Device, ...]:
    """Return the devices that `workers.device` leaves.

    Raises:
        ConfigError: it cannot be read, or names a device twice. PlacementError: it names one that is not there.
    """
    if choice == "cpu":
        return ()
    if choice in ("auto", "cuda"):
        return inventory.devices
    entries = [entry.strip() for entry in choice.split(",") if entry.strip()]
    if not entries or not all(entry.isdigit() or entry.startswith(("GPU-", "MIG-")) for entry in entries):
        raise ConfigError(
            f"workers.device is {choice!r}", hint="use auto, cpu, cuda, GPU numbers such as 0,1, or their UUIDs"
        )
    chosen: list[Device] = []
    for entry in entries:
        hits = [device for device in inventory.devices if matches(device, entry)]
        if not hits:
            raise PlacementError(
                f"workers.device asks for GPU {entry}, which is not visible here: {visible_here(inventory, entry)}",
                hint="choose from these, or run on the CPU: --device cpu",
            )
        if any(device in chosen for device in hits):
            raise ConfigError(f"workers.device={choice!r} names GPU {hits[0].index} twice", hint="name each GPU once")
        chosen += hits
    return tuple(chosen)


def describe(device: Device) -> str:
    """Return a device for people: "GPU 0 NVIDIA L4"."""
    part = f" slice {device.uuid}" if device.parent else ""
    return f"GPU {device.index} {device.name}{part}"


def visible_here(inventory: Inventory, entry: str) -> str:
    """Return the choices for whoever named a device in vain."""
    there = "; ".join(describe(device) for device in inventory.devices) or inventory.reason
    if any(device.parent and str(device.index) == entry for device in inventory.devices):
        there = f"it is in MIG mode, so its slices must be named by their uuids: {there}"
    return there


def _wish(
    entry: int | tuple[str, ...], at: int, spec: ServiceSpec, allowed: Sequence[Device], inventory: Inventory
) -> Wish:
    """Find the devices that an entry of an explicit list names."""
    if isinstance(entry, int):
        return entry
    field = f"service {spec.name}: workers[{at}] gpus={list(entry)!r}"
    chosen: list[Device] = []
    for name in entry:
        hits = [device for device in allowed if matches(device, name)]
        if not hits:
            raise PlacementError(
                f"{field}: GPU {name} is not visible here: {visible_here(inventory, name)}",
                hint="choose from these, or run on the CPU: --device cpu",
            )
        if any(device in chosen for device in hits):
            raise PlacementError(
                f"{field} names {describe(hits[0])} twice", hint="name each GPU of a worker once, by number or by uuid"
            )
        chosen += hits
    if len(chosen) > 1 and any(device.parent for device in chosen):
        raise PlacementError(
            f"{field}: CUDA shows a process one MIG slice only; these are {'; '.join(map(describe, chosen))}",
            hint="name one slice for each worker",
        )
    return tuple(chosen)
