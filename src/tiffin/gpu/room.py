"""The devices while workers are put on them: who is where, who else fits, and how many bytes each may use.

Owns the tenants of every device and the arithmetic of memory; pure. Never chooses for whom room is made. Bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tiffin.gpu.inventory import Device

# What a process's CUDA context, its libraries' kernels and the allocator's rounding take beside the tensors, on current boards.
RESERVE_BYTES = 512 * 2**20
LEAST_BYTES = 2**30  # less than this is no room for a model: sharing that would leave a worker less is refused
BUSY_SHARE = (
    0.5  # a board of which others hold more memory than this is not free, unless it is named or a size is asked for
)


class Tenant(NamedTuple):
    """One worker on one device.

    Attributes:
        worker: number of the worker within the plan. service: its name.
        size: bytes that it declared, 0 for none. share: part of the device's free memory, 0.0 for none. alone: exclusive.
    """

    worker: int
    service: str
    size: int = 0
    share: float = 0.0
    alone: bool = False

    @property
    def declared(self) -> bool:
        """Whether it says how much memory it needs."""
        return bool(self.size or self.share)

    def cost(self, device: Device) -> int:
        """Return the least bytes that it takes from a device that others use, too; its context is included."""
        if self.share:
            return int(device.memory_free * self.share)
        return (self.size or LEAST_BYTES) + RESERVE_BYTES


class Room:
    """See the module.

    Args:
        devices: those that may be used, in their order.
    """

    def __init__(self, devices: Iterable[Device]) -> None:
        self.devices = tuple(devices)
        self._tenants: dict[str, tuple[Tenant, ...]] = {device.uuid: () for device in self.devices}

    def tenants(self, device: Device) -> tuple[Tenant, ...]:
        """Return who is on a device."""
        return self._tenants[device.uuid]

    def snapshot(self) -> dict[str, tuple[Tenant, ...]]:
        """Return what `restore` takes."""
        return dict(self._tenants)

    def restore(self, snapshot: dict[str, tuple[Tenant, ...]]) -> None:
        """Undo everything since `snapshot`."""
        self._tenants = dict(snapshot)

    def add(self, device: Device, tenant: Tenant) -> None:
        """Put a worker on a device; ask `refusal` first."""
        self._tenants[device.uuid] += (tenant,)

    def refusal(self, device: Device, tenant: Tenant, *, named: bool) -> str:
        """Return why a worker cannot be put on a device, in a few words; "" where it can.

        Args:
            named: the device was asked for by name: that others use it is known then.
        """
        there = self._tenants[device.uuid]
        if device.compute_mode == "prohibited":
            return "its compute mode prohibits any process"
        if there and device.compute_mode == "exclusive":
            return f"its compute mode allows one process, which is {there[0].service}'s"
        if there and (tenant.alone or any(one.alone for one in there)):
            return f"taken by {there[0].service}" + ("" if tenant.alone else ", exclusively")
        if not device.memory_total:  # it shares the machine's memory: there is nothing to be divided
            return ""
        if tenant.declared:
            if tenant.size > device.memory_total:
                return f"smaller than {gib(tenant.size)}"
            if tenant.share and self.busy(device) and not named:
                return "busy"
        elif not named and self.busy(device):
            return "busy"
        if tenant.share and tenant.cost(device) < LEAST_BYTES + RESERVE_BYTES:
            return f"{tenant.share:g} of what is free there is too little"
        if sum(one.share for one in (*there, tenant)) > 1 + 1e-9:
            return "its shares are given away"
        if there or tenant.declared:
            needed = sum(one.cost(device) for one in (*there, tenant))
            if needed > device.memory_free:
                return "too full" if there else f"less than {gib(tenant.cost(device))} free"
        return ""

    @staticmethod
    def busy(device: Device) -> bool:
        """Tell whether others hold most of a device's memory."""
        return device.memory_free < device.memory_total * (1 - BUSY_SHARE)

    def budget(self, device: Device, worker: int) -> int:
        """Return how many bytes of a device a worker may use; 0: no limit, the device is its own."""
        there = self._tenants[device.uuid]
        mine = next(one for one in there if one.worker == worker)
        if not device.memory_total or (len(there) == 1 and not mine.declared):
            return 0
        if mine.size:
            return mine.size
        if mine.share:
            return mine.cost(device) - RESERVE_BYTES
        others = [one for one in there if not one.declared]
        left = device.memory_free - sum(one.cost(device) for one in there if one.declared)
        return left // len(others) - RESERVE_BYTES


def gib(size: int) -> str:
    """Return bytes for people, "39.5 GiB"."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def same_type(device: Device, wanted: str) -> bool:
    """Tell whether a device is of a kind: every word of it but the maker's is a word of the device's name.

    "nvidia-a100-80gb" is an "NVIDIA A100-SXM4-80GB"; "nvidia-a10" is no "NVIDIA A10G".
    """
    return _words(wanted) <= _words(device.name)


def _words(name: str) -> set[str]:
    cleaned = "".join(letter if letter.isalnum() else " " for letter in name.lower())
    return set(cleaned.split()) - {"nvidia", "tesla", "geforce"}
