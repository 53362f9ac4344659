"""Puts the workers of all services on devices, the picky first.

Owns the order and the choice among devices that fit; pure. What fits is the room's word, what is asked the demand's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tiffin.config.parts import WorkersConfig
from tiffin.gpu.demand import Demand, Wish, describe
from tiffin.gpu.inventory import Device, Inventory
from tiffin.gpu.room import Room, Tenant, same_type
from tiffin.gpu.shortage import shortage

Got = tuple[Device, ...]


class Seating:
    """Everybody's place; made whole or not at all.

    Args:
        demands: of all services, in their order. usable: the devices that the settings leave. pack: who declares memory goes where
            others are already, so that whole devices stay free.

    Raises:
        PlacementError: somebody who must have GPUs finds too few.

    Attributes:
        room: the devices and who is on them. got: for each demand its workers' devices. first: for each demand the number of its
            first worker in the room. fallen: why a service that wanted a GPU is on the CPU, by its name.
    """

    def __init__(
        self, demands: Sequence[Demand], usable: Got, inventory: Inventory, workers: WorkersConfig, *, pack: bool
    ) -> None:
        self.room = Room(usable)
        self.fallen: dict[str, str] = {}
        self._inventory = inventory
        self._pack = pack
        self._named = workers.device not in ("auto", "cuda", "cpu")
        self._forced = workers.device not in ("auto", "cpu")
        self._number = 0
        got: dict[int, list[Got]] = {}
        first: dict[int, int] = {}
        for at in sorted(range(len(demands)), key=lambda at: demands[at].rank):
            one = demands[at]
            first[at] = self._number
            before = self.room.snapshot()
            found = self._seat(one)
            if isinstance(found, str):
                if one.required or (self._forced and one.wants_gpu):
                    raise shortage(one, found, demands, inventory, self._states(one), workers)
                self.room.restore(before)
                self.fallen[one.spec.name] = found
                found = [()] * max(1, len(one.wishes))
            got[at] = found
            self._number += len(found)
        self.got = [got[at] for at in range(len(demands))]
        self.first = [first[at] for at in range(len(demands))]

    def _seat(self, one: Demand) -> list[Got] | str:
        """Find places for all workers of a service; return why not where somebody finds none."""
        if one.per_gpu:
            return self._seat_each(one)
        if one.open:
            return self._seat_open(one)
        got: list[Got] = []
        for number, wish in enumerate(one.wishes):
            devices = self._choose(one, wish, self._number + number)
            if devices is None:
                return self._why(one, wish, number)
            got.append(devices)
        return got

    def _seat_open(self, one: Demand) -> list[Got] | str:
        """All workers of a service that says nothing of GPUs go to the first one that is free."""
        devices = [device for device in self.room.devices if not self.room.tenants(device)]
        if not devices and self._forced:  # --device cuda, or GPUs by name: not the CPU
            devices = sorted(self.room.devices, key=lambda device: len(self.room.tenants(device)))
        for device in devices:
            before = self.room.snapshot()
            for number in range(len(one.wishes)):
                tenant = _tenant(one, self._number + number)
                if self._refusal(one, 1, device, tenant):
                    self.room.restore(before)
                    break
                self.room.add(device, tenant)
            else:
                return [(device,)] * len(one.wishes)
        return self._inventory.reason or "every GPU is taken or busy"

    def _seat_each(self, one: Demand) -> list[Got] | str:
        """One worker for every group of GPUs that is left; where none is, for every group that has room."""
        got: list[Got] = []
        for empty in (True, False):
            taken: set[str] = set()
            while True:
                tenant = _tenant(one, self._number + len(got))
                devices = [
                    device
                    for device in self.room.devices
                    if device.uuid not in taken
                    and not (empty and self.room.tenants(device))
                    and not self._refusal(one, one.each, device, tenant)
                ][: one.each]
                if len(devices) < one.each:
                    break
                self._put(devices, tenant)
                taken.update(device.uuid for device in devices)
                got.append(tuple(devices))
            if got or not (one.required or self._forced):
                break
        return got or self._why(one, one.each, 0)

    def _choose(self, one: Demand, wish: Wish, worker: int) -> Got | None:
        """Find the devices of one worker and put it there; None where there are too few."""
        tenant = _tenant(one, worker)
        if isinstance(wish, tuple):
            if any(self._refusal(one, len(wish), device, tenant, named=True) for device in wish):
                return None
            chosen = wish
        else:
            devices = self.room.devices
            fitting = [at for at, device in enumerate(devices) if not self._refusal(one, wish, device, tenant)]
            if len(fitting) < wish:
                return None
            best = sorted(fitting, key=lambda at: self._preference(devices[at], tenant))[:wish]
            chosen = tuple(devices[at] for at in sorted(best))
        self._put(chosen, tenant)
        return chosen

    def _put(self, devices: Sequence[Device], tenant: Tenant) -> None:
        for device in devices:
            self.room.add(device, tenant)

    def _preference(self, device: Device, tenant: Tenant) -> tuple[float, ...]:
        """Return a key: the device with the least of it is taken; among equals the first."""
        there = self.room.tenants(device)
        used = sum(one.cost(device) for one in there)
        if self._pack and tenant.declared:  # the fullest that still has room; not beside who was to have it whole
            return any(not one.declared for one in there), device.memory_free - used
        return len(there), used / max(1, device.memory_free)

    def _refusal(self, one: Demand, count: int, device: Device, tenant: Tenant, *, named: bool = False) -> str:
        """Return why a device will not do for one of `count` devices of a worker, "" where it will."""
        if one.needs.gpu_type and not same_type(device, one.needs.gpu_type):
            return f"no {one.needs.gpu_type}"
        if count > 1 and device.parent:
            return "a MIG slice: CUDA shows a process one only"
        return self.room.refusal(device, tenant, named=named or self._named)

    def _states(self, one: Demand) -> Mapping[str, str]:
        """Return how each device is for a worker that found no place, by uuid."""
        sizes = [len(wish) if isinstance(wish, tuple) else wish for wish in one.wishes]
        count = one.each or max(sizes, default=1) or 1
        states: dict[str, str] = {}
        for device in self.room.devices:
            there = self.room.tenants(device)
            users = ", ".join(f"{number} of {name}" for name, number in _count(there).items())
            refused = self._refusal(one, count, device, _tenant(one, self._number + len(sizes)))
            states[device.uuid] = "; ".join(filter(None, (refused, users and f"workers: {users}"))) or "free"
        return states

    def _why(self, one: Demand, wish: Wish, number: int) -> str:
        """Return why a worker found no place, in a sentence."""
        devices = self.room.devices
        if not self._inventory.devices:
            return self._inventory.reason or "there is no GPU"
        if isinstance(wish, tuple):
            tenant = _tenant(one, self._number + number)
            refused = [(device, self._refusal(one, len(wish), device, tenant, named=True)) for device in wish]
            return "; ".join(f"workers[{number}] names {describe(device)}: {why}" for device, why in refused if why)
        if wish > len(devices):
            return f"a worker asks for {wish} GPUs, and {len(devices)} can be used"
        if one.needs.gpu_type and not any(same_type(device, one.needs.gpu_type) for device in devices):
            names = ", ".join(sorted({device.name for device in devices}))
            return f"gpu_type={one.needs.gpu_type!r} is none of those here: {names}"
        size = one.needs.gpu_memory
        if size and all(size > device.memory_total > 0 for device in devices):
            return f"gpu_memory={one.spec.resources['gpu_memory']!r} is more than any GPU has"
        if one.per_gpu:
            return "no GPU is left for it"
        return f"no room for worker {number + 1} of {len(one.wishes)}"


def _tenant(one: Demand, worker: int) -> Tenant:
    needs = one.needs
    return Tenant(worker, one.spec.name, needs.gpu_memory, needs.share, needs.exclusive)


def _count(there: Sequence[Tenant]) -> dict[str, int]:
    found: dict[str, int] = {}
    for tenant in there:
        found[tenant.service] = found.get(tenant.service, 0) + 1
    return found
