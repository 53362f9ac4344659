"""Everything that the doctor's checks look at, read once.

Owns the reading order and nothing else; never judges, never changes anything, never imports a framework, needs no root.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tiffin.gpu import inventory
from tiffin.gpu.containers import ContainerHost, read_containers
from tiffin.gpu.doctor.bus import PciDevice, devices_on_bus
from tiffin.gpu.doctor.driver import Driver, read_driver
from tiffin.gpu.doctor.nvml import Nvml, read_nvml
from tiffin.gpu.doctor.packages import Packages, read_packages
from tiffin.gpu.doctor.proof import Proof
from tiffin.gpu.doctor.system import System, read_system
from tiffin.gpu.host import Host
from tiffin.gpu.inventory import Inventory


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """One machine, as it was found.

    Attributes:
        host: for whatever only one check wants to read. system: kernel, distribution, what kind of machine it is.
        inventory: the devices that a service started here would get, or the reason why it gets none.
        nvml: what the driver's library says of every board, or how it failed. driver: versions of its parts on disk and in memory.
        pci: devices on the PCI bus. packages: Python packages that have to do with GPUs.
        kernel_log: lines of the kernel's log that speak of NVIDIA, None where it may not be read.
        containers: engines, NVIDIA's toolkit, CDI specifications.
        proof: what the computation in a child process gave, None before it was run.
    """

    host: Host
    system: System
    inventory: Inventory = Inventory()
    nvml: Nvml = Nvml()
    driver: Driver = Driver()
    pci: tuple[PciDevice, ...] = ()
    packages: Packages = Packages()
    kernel_log: tuple[str, ...] | None = None
    containers: ContainerHost = ContainerHost()
    proof: Proof | None = None

    @property
    def gpus(self) -> tuple[PciDevice, ...]:
        """NVIDIA's GPUs on the PCI bus."""
        return tuple(device for device in self.pci if device.nvidia_gpu)

    @property
    def has_gpu(self) -> bool:
        """Whether anything here is, or was meant for, an NVIDIA GPU: hardware, module, nodes or library."""
        return bool(
            self.gpus
            or self.nvml.boards
            or self.nvml.loaded
            or self.driver.module
            or self.driver.libraries
            or self.driver.nodes
            or self.system.wsl
            or self.system.jetson
        )


def take(
    host: Host,
    *,
    look: Callable[[Host], Nvml] = read_nvml,
    count: Callable[[], Inventory] = inventory.take,
    search: Callable[[], Packages] = read_packages,
) -> Facts:
    """Read a machine.

    Args:
        host: its files and programs. look, count, search: what is read otherwise than through files; tests give their own.
    """
    return Facts(
        host=host,
        system=read_system(host),
        inventory=count(),
        nvml=look(host),
        driver=read_driver(host),
        pci=devices_on_bus(host),
        packages=search(),
        kernel_log=_kernel_log(host),
        containers=read_containers(host),
    )


def _kernel_log(host: Host) -> tuple[str, ...] | None:
    """Return the kernel's lines about NVIDIA; journalctl may be read by groups that dmesg refuses."""
    for argv in (("dmesg",), ("journalctl", "-k", "-b", "--no-pager", "-q", "-o", "short-iso")):
        said = host.run(*argv)
        # A quiet journal may be one of which nothing may be read; an empty dmesg is a quiet kernel.
        if said is not None and said.status == 0 and (said.out or argv[0] == "dmesg"):
            lines = said.out.splitlines()
            return tuple(line for line in lines if "NVRM" in line or "nvidia" in line.lower() or "nouveau" in line)
    return None
