"""Who has the GPUs: are they on the bus, and is it NVIDIA's driver that holds them.

Owns what sysfs says; never looks at the driver's own parts.
"""

from __future__ import annotations

from tiffin.gpu.doctor.bus import PciDevice
from tiffin.gpu.doctor.facts import Facts
from tiffin.gpu.doctor.finding import Finding, Fix
from tiffin.gpu.doctor.fixes import anywhere, by_family
from tiffin.gpu.doctor.verdict import fine, skip

NO_GPU = "no NVIDIA GPU here (nothing on the PCI bus, no driver): services run on the CPU; nothing to mend"
_BRIDGE = 0x06


def gpu_on_bus(facts: Facts) -> Finding:
    """Looks for NVIDIA's GPUs on the PCI bus."""
    if facts.gpus:
        seen = [f"/sys/bus/pci/devices/{one.address}: {one.ids}, driver {one.driver or 'none'}" for one in facts.gpus]
        count = len(facts.gpus)
        return fine("gpu-on-bus", f"{count} NVIDIA GPU{'s' if count > 1 else ''} on the PCI bus", *seen)
    if facts.nvml.boards or facts.system.wsl or facts.system.jetson:
        return fine(
            "gpu-on-bus", "the GPU is not on a PCI bus that this system shows", "/sys/bus/pci/devices: no NVIDIA GPU"
        )
    if not facts.has_gpu:
        return fine("gpu-on-bus", NO_GPU)
    parts = [*facts.driver.libraries, *(f"/dev/{node}" for node in facts.driver.nodes)]
    return Finding(
        check="gpu-on-bus",
        level="error",
        title="parts of NVIDIA's driver are here, but no NVIDIA GPU is on the PCI bus",
        evidence=("/sys/bus/pci/devices: no device of vendor 0x10de, class 0x03", *parts[:4]),
        cause="the machine has no GPU (a cloud type without), it is off in the BIOS, or the hypervisor does not pass it on",
        fixes=anywhere(
            "lspci -nn | grep -i nvidia  # to see it with your own eyes",
            "# cloud: choose a machine type with a GPU; virtual machine: pass the GPU through; own machine: seat, power, BIOS",
            "echo 1 | sudo tee /sys/bus/pci/rescan  # if it has just been attached",
        ),
    )


def nouveau(facts: Facts) -> Finding:
    """Looks for nouveau, the kernel's own driver, which keeps NVIDIA's from taking the GPU."""
    held = [one.address for one in facts.gpus if one.driver == "nouveau"]
    if not held and ("nouveau" not in facts.driver.modules or facts.driver.module):
        return fine("nouveau", "nouveau is not in the way", "/proc/modules: nouveau holds no GPU")
    seen = [f"/sys/bus/pci/devices/{address}/driver: nouveau" for address in held]
    blacklist = (
        r"printf 'blacklist nouveau\noptions nouveau modeset=0\n' | sudo tee /etc/modprobe.d/blacklist-nouveau.conf"
    )
    return Finding(
        check="nouveau",
        level="error",
        title="nouveau holds the GPU" if held else "nouveau is loaded",
        evidence=("/proc/modules: nouveau", *seen),
        cause="nouveau cannot run CUDA, and NVIDIA's module cannot take a GPU that it holds: services run on the CPU",
        fixes=by_family(
            facts.system.family,
            debian=(blacklist, "sudo update-initramfs -u", "sudo reboot"),
            rhel=(blacklist, "sudo dracut --force", "sudo reboot"),
            arch=(blacklist, "sudo mkinitcpio -P", "sudo reboot"),
        ),
    )


def vfio(facts: Facts) -> Finding:
    """Looks for GPUs that vfio-pci keeps for virtual machines, and what shares their IOMMU group."""
    held = [one for one in facts.gpus if one.driver == "vfio-pci"]
    if not held:
        return fine("vfio", "no GPU is kept for virtual machines")
    commands: list[str] = [
        "grep -rn vfio /etc/modprobe.d /etc/default/grub  # remove the GPU's ids there, or it comes back"
    ]
    for one in held:
        commands += [
            f"echo {one.address} | sudo tee /sys/bus/pci/drivers/vfio-pci/unbind",
            f"echo | sudo tee /sys/bus/pci/devices/{one.address}/driver_override",
            f"sudo modprobe nvidia && echo {one.address} | sudo tee /sys/bus/pci/drivers_probe",
        ]
    everything = len(held) == len(facts.gpus)
    return Finding(
        check="vfio",
        level="error" if everything else "warning",
        title=f"vfio-pci holds {len(held)} of {len(facts.gpus)} GPUs for virtual machines",
        evidence=tuple(
            f"/sys/bus/pci/devices/{one.address}/driver: vfio-pci; IOMMU group {one.group or 'none'}"
            + "".join(f", with {other.address} ({other.ids})" for other in _group(facts, one))
            for one in held
        ),
        cause="a GPU that is passed through belongs to the guest: serve inside the guest, or take it back from vfio-pci",
        fixes=(
            *anywhere(*commands),
            Fix("with driverctl", tuple(f"sudo driverctl unset-override {one.address}" for one in held)),
        ),
    )


def iommu_group(facts: Facts) -> Finding:
    """Looks which devices share an IOMMU group with a GPU: they can be passed to a virtual machine only together."""
    grouped = [one for one in facts.gpus if one.group]
    if not grouped:
        return skip("iommu-group", "no GPU is in an IOMMU group", "/sys/bus/pci/devices/*/iommu_group: none")
    shared = [(one, [other for other in _group(facts, one) if _foreign(one, other)]) for one in grouped]
    mixed = [(one, others) for one, others in shared if others]
    if not mixed:
        return fine(
            "iommu-group",
            "each GPU has its IOMMU group for itself",
            *(f"/sys/bus/pci/devices/{one.address}/iommu_group: {one.group}" for one in grouped),
        )
    return Finding(
        check="iommu-group",
        level="note",
        title="a GPU shares its IOMMU group with other devices",
        evidence=tuple(
            f"group {one.group}: {one.address} with " + ", ".join(f"{other.address} ({other.ids})" for other in others)
            for one, others in mixed
        ),
        cause="of no consequence for services here; a virtual machine can be given the whole group only",
        fixes=anywhere("# for passthrough: another slot, or ACS switched on in the BIOS, parts the group"),
    )


def display(facts: Facts) -> Finding:
    """Looks for a desktop (Xorg, a compositor) on a GPU: it takes memory and time from services."""
    drawing = [(board, one) for board in facts.nvml.boards for one in board.occupants if one.draws]
    if not drawing:
        return fine("display", "no desktop draws on a GPU")
    return Finding(
        check="display",
        level="note",
        title="a desktop draws on GPU " + ", ".join(sorted({str(board.index) for board, _one in drawing})),
        evidence=tuple(
            f"NVML, GPU {board.index}: {one.name or 'a process'} (pid {one.pid}) draws" for board, one in drawing
        ),
        cause="its memory is not free for models, and long kernels make the screen stutter",
        fixes=anywhere(
            "sudo systemctl isolate multi-user.target  # now: closes the desktop with everything in it",
            "sudo systemctl set-default multi-user.target  # at every start",
        ),
    )


def _group(facts: Facts, gpu: PciDevice) -> list[PciDevice]:
    return [one for one in facts.pci if gpu.group and one.group == gpu.group and one.address != gpu.address]


def _foreign(gpu: PciDevice, other: PciDevice) -> bool:
    """Tell whether a device is neither a function of the GPU's own card nor a bridge, which stays with the host."""
    return gpu.address.rpartition(".")[0] != other.address.rpartition(".")[0] and other.kind >> 16 != _BRIDGE
