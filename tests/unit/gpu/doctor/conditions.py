"""One made-up illness per entry, first half, machine and driver: the check that must find it, how bad, what it shows, its cure."""

from __future__ import annotations

from errno import EACCES, EPERM
from typing import Any, NamedTuple

from tests.unit.gpu.doctor.machines import (
    DRIVER,
    LIBRARY,
    NO_FILE,
    PCI,
    RELEASES,
    VERSION,
    gpu,
    machine,
    working,
)
from tiffin.gpu.doctor import floors, hardware, parts
from tiffin.gpu.doctor.check import Check
from tiffin.gpu.doctor.facts import Facts
from tiffin.gpu.doctor.finding import Level
from tiffin.gpu.doctor.nvml import Nvml, Occupant
from tiffin.gpu.doctor.packages import Packages
from tiffin.gpu.host import Output

NO_DRIVER = Nvml(error=NO_FILE)
NO_MODULE: dict[str, Any] = {"nvml": NO_DRIVER, "without": (VERSION, "/proc/modules", "/dev/nvidia", LIBRARY)}
MISMATCH = Nvml(loaded=True, error="Driver/library version mismatch", code=18)
IN_DOCKER = {"/.dockerenv": ""}
OTHER = "/sys/bus/pci/devices/0000:02:00.0"
WSL = {"/dev/dxg": "", "/proc/version": "Linux version 6.6.36.3-microsoft-standard-WSL2"}
WINDOWS_LIBRARY = "/usr/lib/wsl/lib/libnvidia-ml.so.580.1"


class Condition(NamedTuple):
    check: Check
    facts: Facts
    level: Level
    evidence: str
    fix: str = ""


def log(*lines: str) -> dict[str, Output | str]:
    return {"dmesg": "\n".join(lines)}


def fell_off(number: int) -> dict[str, Output | str]:
    return log(f"[99.1] NVRM: Xid (PCI:0000:01:00): {number}, pid=4711, name=python, something happened")


def with_torch(cuda: str, **more: str) -> Packages:
    return Packages(versions={"torch": "2.9.0", **more}, builds={"torch": cuda})


DRIVER_CONDITIONS = [
    Condition(floors.platform, machine(files={"/proc/sys/kernel/arch": "riscv64"}), "error", "riscv64", "x86_64"),
    Condition(floors.platform, machine(files={"/proc/sys/kernel/arch": "aarch64"}), "note", "aarch64"),
    Condition(
        floors.kernel,
        machine(files={"/proc/sys/kernel/osrelease": "2.6.32-754.el6"}),
        "error",
        "osrelease: 2.6.32",
        "sudo apt update && sudo apt full-upgrade",
    ),
    Condition(
        floors.glibc, machine(commands={"getconf GNU_LIBC_VERSION": "glibc 2.17"}), "warning", "2.17", "FROM python"
    ),
    Condition(
        floors.glibc, machine(commands={"getconf GNU_LIBC_VERSION": Output(1, "")}), "warning", "no answer", "FROM"
    ),
    Condition(floors.wsl, machine(files=WSL), "error", LIBRARY, "sudo apt purge '*nvidia*'"),
    Condition(
        floors.wsl,
        machine(files=WSL, without=(LIBRARY,), nvml=NO_DRIVER),
        "error",
        "NVML: libnvidia-ml",
        "wsl --update",
    ),
    Condition(floors.wsl, machine(files=WSL | {WINDOWS_LIBRARY: ""}, without=(LIBRARY,)), "note", "/dev/dxg: there"),
    Condition(floors.jetson, machine(files={"/etc/nv_tegra_release": "# R36 (release)"}), "note", "# R36 (release)"),
    Condition(hardware.gpu_on_bus, machine(without=(PCI,), nvml=MISMATCH), "error", "no device of vendor", "lspci -nn"),
    Condition(
        hardware.nouveau,
        machine(links={f"{PCI}/driver": "x/nouveau"}, files={"/proc/modules": "nouveau 1 0 -"}, without=(VERSION,)),
        "error",
        f"{PCI}/driver: nouveau",
        "sudo update-initramfs -u",
    ),
    Condition(
        hardware.nouveau,
        machine(files={"/etc/os-release": RELEASES["arch"], "/proc/modules": "nouveau 1 0 -"}, without=(VERSION,)),
        "error",
        "/proc/modules: nouveau",
        "sudo mkinitcpio -P",
    ),
    Condition(
        hardware.vfio,
        machine(
            files={f"{OTHER}/vendor": "0x8086", f"{OTHER}/device": "0x1234", f"{OTHER}/class": "0x020000"},
            links={
                f"{PCI}/driver": "x/vfio-pci",
                f"{PCI}/iommu_group": "../kernel/iommu_groups/14",
                f"{OTHER}/iommu_group": "../kernel/iommu_groups/14",
            },
        ),
        "error",
        "IOMMU group 14, with 0000:02:00.0 (8086:1234)",
        "echo 0000:01:00.0 | sudo tee /sys/bus/pci/drivers/vfio-pci/unbind",
    ),
    Condition(
        hardware.iommu_group,
        machine(
            files={f"{OTHER}/vendor": "0x8086", f"{OTHER}/device": "0x1234", f"{OTHER}/class": "0x020000"},
            links={f"{PCI}/iommu_group": "x/14", f"{OTHER}/iommu_group": "x/14"},
        ),
        "note",
        "group 14: 0000:01:00.0 with 0000:02:00.0 (8086:1234)",
        "ACS",
    ),
    Condition(
        hardware.display,
        machine(nvml=working(gpu(occupants=(Occupant(pid=900, name="Xorg", draws=True),)))),
        "note",
        "Xorg (pid 900) draws",
        "sudo systemctl isolate multi-user.target",
    ),
    Condition(
        parts.kernel_module, machine(**NO_MODULE), "error", f"{VERSION}: missing", "sudo ubuntu-drivers install --gpgpu"
    ),
    Condition(
        parts.kernel_module,
        machine(**NO_MODULE, files={"/etc/os-release": RELEASES["debian"]}),
        "error",
        f"{VERSION}: missing",
        "sudo apt install nvidia-driver ",
    ),
    Condition(
        parts.kernel_module,
        machine(**NO_MODULE, files={"/etc/os-release": RELEASES["rhel"]}),
        "error",
        f"{VERSION}: missing",
        "sudo dnf module install nvidia-driver:open-dkms",
    ),
    Condition(
        parts.kernel_module,
        machine(**NO_MODULE, files={"/etc/os-release": RELEASES["arch"]}),
        "error",
        f"{VERSION}: missing",
        "sudo pacman -Syu nvidia-open-dkms",
    ),
    Condition(
        parts.kernel_module,
        machine(**NO_MODULE, commands={"dkms status": f"nvidia/{DRIVER}: added\n"}),
        "error",
        "/lib/modules/6.8.0-45-generic/build: missing",
        "sudo apt install linux-headers-$(uname -r)",
    ),
    Condition(
        parts.kernel_module,
        machine(
            **NO_MODULE,
            commands={"modinfo -F version nvidia": f"{DRIVER}\n", "mokutil --sb-state": "SecureBoot enabled\n"},
        ),
        "error",
        "SecureBoot enabled",
        "sudo mokutil --import",
    ),
    Condition(
        parts.kernel_module,
        machine(**NO_MODULE, commands={"modinfo -F version nvidia": f"{DRIVER}\n"}),
        "error",
        f"modinfo nvidia: {DRIVER}",
        "sudo modprobe nvidia",
    ),
    Condition(parts.kernel_module, machine(**NO_MODULE, files=IN_DOCKER), "error", "missing", "sudo modprobe nvidia"),
    Condition(
        parts.driver_library,
        machine(nvml=NO_DRIVER, without=(LIBRARY,)),
        "error",
        NO_FILE,
        "libnvidia-compute-580-server",
    ),
    Condition(parts.driver_library, machine(nvml=NO_DRIVER), "error", f"{LIBRARY}: {DRIVER}", "sudo ldconfig"),
    Condition(
        parts.driver_library,
        machine(nvml=NO_DRIVER, without=(LIBRARY,), files=IN_DOCKER),
        "error",
        NO_FILE,
        "docker run --device nvidia.com/gpu=all",
    ),
    Condition(parts.driver_mismatch, machine(nvml=MISMATCH), "error", "mismatch (18)", "sudo reboot"),
    Condition(
        parts.driver_mismatch,
        machine(nvml=Nvml(loaded=True, error="x", code=9), files={LIBRARY[:-9] + "580.95.05": ""}, without=(LIBRARY,)),
        "error",
        ": 580.95.05",
        "sudo rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && sudo modprobe nvidia",
    ),
    Condition(
        parts.device_nodes,
        machine(without=("/dev/nvidia",)),
        "error",
        "/dev/nvidiactl: missing",
        "sudo nvidia-modprobe -c0 -u",
    ),
    Condition(
        parts.device_nodes,
        machine(without=("/dev/nvidia0",), files=IN_DOCKER),
        "error",
        "/dev/nvidia0: missing",
        "--gpus all",
    ),
    Condition(
        parts.permission,
        machine(errors={"/dev/nvidiactl": EACCES}),
        "error",
        "open /dev/nvidiactl: EACCES",
        "sudo usermod -aG video,render $USER",
    ),
    Condition(
        parts.permission,
        machine(errors={"/dev/nvidia0": EPERM}, files=IN_DOCKER),
        "error",
        "open /dev/nvidia0: EPERM",
        "docker run --device nvidia.com/gpu=all",
    ),
    Condition(
        parts.uvm,
        machine(without=("/dev/nvidia-uvm",)),
        "error",
        "/dev/nvidia-uvm: missing",
        "sudo nvidia-modprobe -u -c=0",
    ),
    Condition(
        parts.nvml, machine(nvml=Nvml(loaded=True, error="Unknown Error", code=999)), "error", "(999)", "nvidia-smi"
    ),
    Condition(
        parts.nvml,
        machine(nvml=Nvml(loaded=True, error="Unknown Error", code=999), files=IN_DOCKER),
        "error",
        "Unknown Error (999)",
        "docker run --device nvidia.com/gpu=all",
    ),
]
