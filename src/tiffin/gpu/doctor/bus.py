"""The devices on the PCI bus, from sysfs. Owns the reading; never judges."""

from __future__ import annotations

import msgspec

from tiffin.gpu.host import Host

_FOLDER = "/sys/bus/pci/devices"
_NVIDIA = 0x10DE
_DISPLAY = 0x03  # VGA, 3D and other display controllers


class PciDevice(msgspec.Struct, frozen=True, kw_only=True):
    """One function of a device.

    Attributes:
        address: "0000:01:00.0". vendor, device: PCI ids. kind: class code, 24 bits. driver: module that has it, "" none.
        group: number of its IOMMU group, "" without an IOMMU.
    """

    address: str
    vendor: int
    device: int
    kind: int
    driver: str = ""
    group: str = ""

    @property
    def nvidia_gpu(self) -> bool:
        """Whether this is a GPU of NVIDIA's; its sound and USB functions are none."""
        return self.vendor == _NVIDIA and self.kind >> 16 == _DISPLAY

    @property
    def ids(self) -> str:
        """Vendor and device as lspci shows them, "10de:2330"."""
        return f"{self.vendor:04x}:{self.device:04x}"


def devices_on_bus(host: Host) -> tuple[PciDevice, ...]:
    """Return all devices on the PCI bus, by address."""
    return tuple(
        PciDevice(
            address=address,
            vendor=_number(host, address, "vendor"),
            device=_number(host, address, "device"),
            kind=_number(host, address, "class"),
            driver=host.link(f"{_FOLDER}/{address}/driver").rpartition("/")[2],
            group=host.link(f"{_FOLDER}/{address}/iommu_group").rpartition("/")[2],
        )
        for address in host.list(_FOLDER)
    )


def _number(host: Host, address: str, name: str) -> int:
    try:
        return int((host.read(f"{_FOLDER}/{address}/{name}") or "0").strip(), 16)
    except ValueError:
        return 0
