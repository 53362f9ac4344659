"""What a machine must be for GPU services: processor, kernel, C library; and the two kinds of machine with a driver of their own.

Owns the floors; never looks at a GPU.
"""

from __future__ import annotations

import re

from tiffin.gpu.doctor.facts import Facts
from tiffin.gpu.doctor.finding import Finding, Fix
from tiffin.gpu.doctor.fixes import anywhere, by_family
from tiffin.gpu.doctor.verdict import fine, skip

_KERNEL = (3, 10)
_GLIBC = (2, 28)
_WINDOWS = "/usr/lib/wsl/lib/"


def numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, "6.1.0-18-amd64" → (6, 1, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def platform(facts: Facts) -> Finding:
    """Looks whether the processor is one that GPU builds of the frameworks exist for: x86_64, or aarch64."""
    machine = facts.system.machine
    seen = (f"uname -m: {machine or 'not known'}",)
    if machine in ("x86_64", ""):
        return fine("platform", "Linux on x86_64" if machine else "Linux; the processor is not known", *seen)
    if machine == "aarch64":
        return Finding(
            check="platform",
            level="note",
            title="Linux on aarch64",
            evidence=seen,
            cause="fewer packages have GPU builds for aarch64 than for x86_64: a plain pip install may bring a build for the CPU",
        )
    return Finding(
        check="platform",
        level="error",
        title=f"{machine} is no processor that GPU builds exist for",
        evidence=seen,
        cause="PyTorch, TensorFlow and ONNX Runtime have GPU builds for x86_64 and aarch64: services here run on the CPU",
        fixes=anywhere("# serve on a machine with an x86_64 processor"),
    )


def kernel(facts: Facts) -> Finding:
    """Looks whether the kernel is 3.10 or newer."""
    release = facts.system.kernel
    seen = f"/proc/sys/kernel/osrelease: {release or 'not known'}"
    if not release or numbers(release)[:2] >= _KERNEL:
        return fine("kernel", f"kernel {release}", seen)
    return Finding(
        check="kernel",
        level="error",
        title=f"kernel {release} is older than 3.10",
        evidence=(seen,),
        cause="neither NVIDIA's driver nor its container toolkit runs on it",
        fixes=by_family(
            facts.system.family,
            debian=("sudo apt update && sudo apt full-upgrade", "sudo reboot"),
            rhel=("sudo dnf upgrade kernel", "sudo reboot"),
            arch=("sudo pacman -Syu linux", "sudo reboot"),
        ),
    )


def glibc(facts: Facts) -> Finding:
    """Looks whether the C library is glibc 2.28 or newer, which today's wheels are built against."""
    version = facts.system.glibc
    seen = f"getconf GNU_LIBC_VERSION: {version or 'no answer'}"
    if version and numbers(version) >= _GLIBC:
        return fine("glibc", f"glibc {version}", seen)
    if not version:
        title = "the C library is not glibc, as far as one can tell"
        cause = (
            "GPU builds of the frameworks exist for glibc only (not for musl, Alpine's): pip finds none, or an old one"
        )
    else:
        title = f"glibc {version} is older than 2.28"
        cause = "today's wheels of PyTorch and ONNX Runtime are built against glibc 2.28: pip falls back to old ones, or finds none"
    image = Fix("in a container", ("# Dockerfile: FROM python:3.12-slim  (Debian, a new glibc)",))
    return Finding(
        check="glibc",
        level="warning",
        title=title,
        evidence=(seen, f"distribution: {facts.system.name or 'not known'}"),
        cause=cause,
        fixes=(image, *anywhere("# upgrade to Debian 10, Ubuntu 20.04, RHEL 8 or newer")),
    )


def wsl(facts: Facts) -> Finding:
    """Looks, under WSL2, whether the driver is the Windows side's and no Linux driver stands in its way."""
    if not facts.system.wsl:
        return skip("wsl", "not under WSL2")
    linux = [path for path in facts.driver.libraries if not path.startswith(_WINDOWS)]
    seen = [f"/dev/dxg: {'there' if facts.host.exists('/dev/dxg') else 'missing'}"]
    if linux:
        return Finding(
            check="wsl",
            level="error",
            title="a Linux driver is installed inside WSL2",
            evidence=(*seen, *(f"{path} ({facts.driver.libraries[path]})" for path in linux)),
            cause="under WSL2 the driver is the one of Windows; libraries of a Linux driver hide its own, and CUDA finds no device",
            fixes=by_family(
                facts.system.family,
                debian=("sudo apt purge '*nvidia*' 'libcuda1*' && sudo apt autoremove", "wsl.exe --shutdown"),
                rhel=("sudo dnf remove '*nvidia*'", "wsl.exe --shutdown"),
                arch=("sudo pacman -Rns nvidia-utils", "wsl.exe --shutdown"),
            ),
        )
    if not facts.nvml.boards:
        return Finding(
            check="wsl",
            level="error",
            title="WSL2 shows no GPU",
            evidence=(*seen, f"NVML: {facts.nvml.error or 'no boards'}"),
            cause="Windows has no NVIDIA driver that supports WSL2, or this is WSL1: services run on the CPU",
            fixes=(
                Fix(
                    "Windows",
                    ("# install NVIDIA's driver for Windows; nothing is to be installed in Linux", "wsl --update"),
                ),
                Fix("Windows, PowerShell", ("wsl --set-version <distribution> 2", "wsl --shutdown")),
            ),
        )
    return Finding(
        check="wsl",
        level="note",
        title=f"WSL2 with Windows' driver {facts.nvml.driver}",
        evidence=tuple(seen),
        cause="never install a Linux driver here; NVML shows no processes under WSL2, so a busy GPU is seen by its memory only",
    )


def jetson(facts: Facts) -> Finding:
    """Looks whether this is a Jetson board, whose driver and wheels come with JetPack."""
    if not facts.system.jetson:
        return skip("jetson", "not a Jetson board")
    return Finding(
        check="jetson",
        level="note",
        title="a Jetson board",
        evidence=(f"/etc/nv_tegra_release: {facts.system.jetson}",),
        cause="it shares the host's memory and has JetPack's driver: take JetPack's wheels; checks of a PCI driver are left out",
    )
