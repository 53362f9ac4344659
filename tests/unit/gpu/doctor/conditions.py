"""One made-up illness per line: the check that must find it, how bad, what it must show, and a command that mends it."""

from __future__ import annotations

from errno import EACCES, EPERM
from typing import NamedTuple

from tests.unit.gpu.doctor.machines import (
    DRIVER,
    GIB,
    LIBRARY,
    NO_FILE,
    PCI,
    RELEASES,
    VERSION,
    gpu,
    machine,
    right,
    working,
)
from tiffin.gpu.doctor import devices, floors, frameworks, hardware, health, parts, proving
from tiffin.gpu.doctor.check import Check
from tiffin.gpu.doctor.facts import Facts
from tiffin.gpu.doctor.finding import Level
from tiffin.gpu.doctor.nvml import Nvml, Occupant
from tiffin.gpu.doctor.packages import Packages
from tiffin.gpu.doctor.proof import DeviceProof, Proof
from tiffin.gpu.host import Output

NO_DRIVER = Nvml(error=NO_FILE)
NO_MODULE = {"nvml": NO_DRIVER, "without": (VERSION, "/proc/modules", "/dev/nvidia", LIBRARY)}
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


CONDITIONS = [
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
    Condition(
        devices.visible_devices,
        machine(environ={"CUDA_VISIBLE_DEVICES": ""}),
        "error",
        "CUDA_VISIBLE_DEVICES=''",
        "unset CUDA_",
    ),
    Condition(devices.visible_devices, machine(nvml=working()), "error", "NVML: 0 devices", "sudo dmesg"),
    Condition(
        devices.visible_devices,
        machine(nvml=working(gpu(0), gpu(1)), environ={"CUDA_VISIBLE_DEVICES": "1"}),
        "note",
        "CUDA_VISIBLE_DEVICES='1'",
    ),
    Condition(
        devices.gpu_lost,
        machine(nvml=working(gpu(), gpu(1, problem="GPU is lost", code=15))),
        "error",
        "GPU 1: GPU is lost (15)",
        "sudo nvidia-smi --gpu-reset -i 1",
    ),
    Condition(
        devices.capability, machine(nvml=working(gpu(capability=(2, 1)))), "error", "2.1", "CUDA_VISIBLE_DEVICES=-1"
    ),
    Condition(
        devices.mig,
        machine(nvml=working(gpu(mig=True))),
        "error",
        "MIG on, 0 instances",
        "sudo nvidia-smi mig -i 0 -cgi 19 -C",
    ),
    Condition(
        devices.mig,
        machine(nvml=working(gpu(mig=True), gpu(1))),
        "warning",
        "GPU 0: MIG on",
        "sudo nvidia-smi -i 0 -mig 0",
    ),
    Condition(
        devices.mig_visible, machine(environ={"CUDA_VISIBLE_DEVICES": "MIG-a,MIG-b"}), "note", "MIG-a,MIG-b", "per_gpu"
    ),
    Condition(
        devices.compute_mode,
        machine(nvml=working(gpu(compute_mode="exclusive"))),
        "warning",
        "compute mode exclusive",
        "sudo nvidia-smi -i 0 -c DEFAULT",
    ),
    Condition(
        devices.compute_mode,
        machine(nvml=working(gpu(compute_mode="prohibited"))),
        "error",
        "compute mode prohibited",
        "sudo nvidia-smi -i 0 -c DEFAULT",
    ),
    Condition(
        devices.gpu_busy,
        machine(nvml=working(gpu(memory_free=2 * GIB, occupants=(Occupant(pid=42, name="python3", memory=70 * GIB),)))),
        "warning",
        "python3 (pid 42) holds 71680 MiB",
        "ps -o pid,user,etime,args -p 42",
    ),
    Condition(
        devices.gpu_busy,
        machine(nvml=working(gpu(occupants=(Occupant(pid=42),)))),
        "note",
        "a process of the host (pid 42)",
    ),
    Condition(
        health.xid, machine(commands=fell_off(79)), "error", "Xid (PCI:0000:01:00): 79", "--gpu-reset -i 0000:01:00.0"
    ),
    *[
        Condition(health.xid, machine(commands=fell_off(number)), "error", f": {number}, pid", "nvidia-smi -q -d ECC")
        for number in (48, 64, 95)
    ],
    *[
        Condition(health.xid, machine(commands=fell_off(number)), "warning", f": {number}, pid", "sudo reboot")
        for number in (61, 62, 63, 74, 94, 119, 120, 7777)
    ],
    *[
        Condition(health.xid, machine(commands=fell_off(number)), "note", f": {number}, pid")
        for number in (13, 31, 43, 45)
    ],
    Condition(
        health.ecc, machine(nvml=working(gpu(ecc_uncorrected=2))), "warning", "2 uncorrected", "--gpu-reset -i 0"
    ),
    Condition(
        health.ecc, machine(nvml=working(gpu(repair_pending=True))), "warning", "a row waits", "--gpu-reset -i 0"
    ),
    Condition(health.ecc, machine(nvml=working(gpu(repair_failed=True))), "error", "could not be replaced", "RMA"),
    Condition(
        health.thermal, machine(nvml=working(gpu(throttled=0x40, temperature=90))), "warning", "90 °C", "-pl <watts>"
    ),
    Condition(health.thermal, machine(nvml=working(gpu(temperature=87))), "warning", "slows down at 87", "air flow"),
    Condition(health.power, machine(nvml=working(gpu(throttled=0x80))), "warning", "power brake", "power cables"),
    Condition(health.power, machine(nvml=working(gpu(throttled=0x04))), "note", "power cap"),
    Condition(
        health.persistence,
        machine(nvml=working(gpu(persistence=False))),
        "note",
        "mode off",
        "enable --now nvidia-persistenced",
    ),
    Condition(
        frameworks.cuda_version,
        machine(nvml=working(gpu(), driver="465.31", cuda="11.3")),
        "error",
        "driver 465.31, CUDA up to 11.3",
        "sudo ubuntu-drivers install --gpgpu",
    ),
    *[
        Condition(
            frameworks.driver_for_wheel,
            machine(nvml=working(gpu(), driver=driver, cuda="12.4"), packages=with_torch(cuda)),
            "error",
            f"torch 2.9.0 is built for CUDA {cuda}",
            f"cuda-compat-{cuda.replace('.', '-')}",
        )
        for driver, cuda in (("579.99", "13.0"), ("524.99", "12.8"), ("449.99", "11.8"))
    ],
    Condition(
        frameworks.cpu_wheel,
        machine(packages=with_torch("")),
        "warning",
        "torch 2.9.0, no CUDA",
        "pip install --no-cache",
    ),
    Condition(
        frameworks.cpu_wheel,
        machine(packages=Packages(versions={"onnxruntime": "1.22"}, builds={"onnxruntime": ""})),
        "warning",
        "onnxruntime 1.22, no CUDA",
        "pip install onnxruntime-gpu",
    ),
    Condition(
        frameworks.onnxruntime_both,
        machine(packages=Packages(versions={"onnxruntime": "1.22", "onnxruntime-gpu": "1.21"})),
        "error",
        "onnxruntime-gpu 1.21",
        "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu",
    ),
    Condition(
        frameworks.cudnn_mix,
        machine(packages=with_torch("12.8", **{"nvidia-cudnn-cu11": "8.9", "nvidia-cudnn-cu12": "9.10"})),
        "warning",
        "nvidia-cudnn-cu11 8.9",
        "pip uninstall -y nvidia-cudnn-cu11",
    ),
    Condition(
        frameworks.cudnn_mix,
        machine(packages=with_torch("13.0", **{"nvidia-cudnn-cu12": "9.10"})),
        "warning",
        "nvidia-cudnn-cu12 9.10",
        "'nvidia-cudnn-cu13>=9,<10'",
    ),
    Condition(
        frameworks.cudnn_mix,
        machine(packages=with_torch("12.8", **{"nvidia-cudnn-cu12": "9.10", "onnxruntime-gpu": "1.18.1"})),
        "warning",
        "nvidia-cudnn-cu12 9.10",
        "'nvidia-cudnn-cu12>=8,<9'",
    ),
    Condition(
        proving.kernel_image,
        machine(
            nvml=working(gpu(capability=(12, 0))),
            proof=Proof(engine="torch 2.6.0 (CUDA 12.4)", architectures=("sm_80", "sm_90")),
        ),
        "error",
        "sm_80 sm_90",
        "pip install --upgrade torch",
    ),
    Condition(
        proving.kernel_image,
        machine(nvml=working(gpu(capability=(5, 2))), proof=right()),
        "error",
        "sm_80 sm_90 compute_90",
        "older build",
    ),
    Condition(
        proving.proof,
        machine(proof=Proof(end="crashed", error="ended by SIGSEGV", last_lines=("Fatal Python error",))),
        "error",
        "child: Fatal Python error",
        "CUDA_LAUNCH_BLOCKING=1",
    ),
    Condition(
        proving.proof, machine(proof=Proof(end="timeout", error="no end within 120 s")), "error", "120 s", "CUDA_LAUNCH"
    ),
    Condition(
        proving.proof,
        machine(proof=Proof(engine="torch", devices=(DeviceProof(name="0 H100", error="RuntimeError: CUDA error"),))),
        "error",
        "0 H100: RuntimeError: CUDA error",
        "CUDA_LAUNCH_BLOCKING=1",
    ),
    Condition(
        proving.proof,
        machine(proof=Proof(engine="torch 2.8.0", error="no device")),
        "error",
        "no device",
        "CUDA_LAUNCH",
    ),
]
