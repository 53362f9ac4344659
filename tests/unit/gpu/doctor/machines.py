"""Made-up machines for the tests of the doctor: a healthy one, and changes that make it ill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tests.unit.gpu.test_visible import board as device
from tiffin.gpu.doctor.examine import examine
from tiffin.gpu.doctor.facts import Facts, take
from tiffin.gpu.doctor.finding import Finding
from tiffin.gpu.doctor.nvml import Board, Nvml
from tiffin.gpu.doctor.packages import Packages
from tiffin.gpu.doctor.proof import DeviceProof, Proof
from tiffin.gpu.doctor.register import ROOMS
from tiffin.gpu.host import Output
from tiffin.gpu.inventory import Inventory, visible
from tiffin.testing import FakeHost

GIB = 1 << 30
DRIVER = "580.65.06"
PCI = "/sys/bus/pci/devices/0000:01:00.0"
VERSION = "/proc/driver/nvidia/version"
LIBRARY = f"/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.{DRIVER}"
NO_FILE = "libnvidia-ml.so.1: cannot open shared object file: No such file or directory"

RELEASES = {
    "debian": 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "ubuntu": 'ID=ubuntu\nID_LIKE=debian\nPRETTY_NAME="Ubuntu 24.04.1 LTS"\n',
    "rhel": 'ID="rocky"\nID_LIKE="rhel centos fedora"\nPRETTY_NAME="Rocky Linux 9.4"\n',
    "arch": 'ID=arch\nPRETTY_NAME="Arch Linux"\n',
}
FILES = {
    "/etc/os-release": RELEASES["ubuntu"],
    "/proc/sys/kernel/osrelease": "6.8.0-45-generic\n",
    "/proc/sys/kernel/arch": "x86_64\n",
    "/proc/modules": "nvidia_uvm 1 0 - Live 0x0\nnvidia 1 1 - Live 0x0\n",
    VERSION: f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {DRIVER}  Release Build\nGCC version: gcc 12\n",
    f"{PCI}/vendor": "0x10de\n",
    f"{PCI}/device": "0x2330\n",
    f"{PCI}/class": "0x030200\n",
    LIBRARY: "",
    "/dev/nvidia0": "",
    "/dev/nvidiactl": "",
    "/dev/nvidia-uvm": "",
    "/dev/nvidia-uvm-tools": "",
}
LINKS = {f"{PCI}/driver": "../../../../bus/pci/drivers/nvidia"}
COMMANDS: dict[str, Output | str] = {"getconf GNU_LIBC_VERSION": "glibc 2.39\n", "dmesg": "[1.0] nvidia: loading\n"}
PACKAGES = Packages(versions={"torch": "2.8.0", "nvidia-cudnn-cu12": "9.10.2.21"}, builds={"torch": "12.8"})


def gpu(index: int = 0, **changes: Any) -> Board:
    """Return a healthy H100."""
    facts: dict[str, Any] = {
        "uuid": f"GPU-{index}{index}",
        "name": "NVIDIA H100 80GB HBM3",
        "bus": f"00000000:0{index + 1}:00.0",
        "memory_total": 80 * GIB,
        "memory_free": 80 * GIB,
        "capability": (9, 0),
        "persistence": True,
        "temperature": 34,
        "slowdown_at": 87,
        "ecc_uncorrected": 0,
    }
    return Board(index=index, **(facts | changes))


def working(*boards: Board, driver: str = DRIVER, cuda: str = "13.0") -> Nvml:
    """Return what NVML says where it works."""
    return Nvml(loaded=True, driver=driver, cuda=cuda, boards=boards)


def machine(
    *,
    files: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
    links: Mapping[str, str] | None = None,
    commands: Mapping[str, Output | str] | None = None,
    errors: Mapping[str, int] | None = None,
    environ: Mapping[str, str] | None = None,
    nvml: Nvml | None = None,
    packages: Packages = PACKAGES,
    proof: Proof | None = None,
) -> Facts:
    """Return the facts of a healthy machine, an Ubuntu with one H100, with changes.

    Args:
        files, links, commands: added. without: beginnings of paths that are not there. nvml: what the driver's library says.
    """
    host = FakeHost(
        {path: text for path, text in (FILES | dict(files or {})).items() if not path.startswith(tuple(without))},
        links={path: to for path, to in (LINKS | dict(links or {})).items() if not path.startswith(tuple(without))},
        commands=COMMANDS | dict(commands or {}),
        errors=errors,
        environ=environ,
    )
    said = working(gpu()) if nvml is None else nvml
    usable = [one for one in said.boards if not one.problem and not (one.mig and not one.slices)]
    devices = tuple(device(one.index, name=one.name, uuid=one.uuid) for one in usable)
    seen = visible(Inventory(devices=devices, reason="" if devices else "no device"), host.environ)
    found = take(host, look=lambda _host: said, count=lambda: seen, search=lambda: packages)
    return msgspec.structs.replace(found, proof=proof)


def right() -> Proof:
    """Return what the child says where all is well."""
    done = DeviceProof(name="0 NVIDIA H100 80GB HBM3", time_ms=11.3)
    return Proof(engine="torch 2.8.0 (CUDA 12.8)", devices=(done,), architectures=("sm_80", "sm_90", "compute_90"))


def examined(facts: Facts, proof: Proof | None = None) -> tuple[Finding, ...]:
    """Return all findings of a machine, without those of the container checks, which have golden outputs of their own."""
    rooms = [room for room in ROOMS if room[0] != "containers"]
    return examine(facts, prove=lambda: right() if proof is None else proof, rooms=rooms)
