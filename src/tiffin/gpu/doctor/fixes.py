"""Cures in the order in which this machine's owner wants to read them, and the commands that several checks share.

Owns the order, the names of the distributions and of their driver packages; never runs anything.
"""

from __future__ import annotations

from tiffin.gpu.doctor.finding import Fix
from tiffin.gpu.doctor.system import Family, System

EVERYWHERE = "any system"
_NAMES: dict[Family, str] = {"debian": "Debian/Ubuntu", "rhel": "RHEL/Fedora", "arch": "Arch"}

# What `docker run` must be told for a container to see the GPUs.
IN_CONTAINER = (
    "docker run --device nvidia.com/gpu=all …  # CDI: Docker 25 and newer, podman",
    "docker run --gpus all …  # older Docker",
)


def by_family(
    family: Family, *, debian: tuple[str, ...], rhel: tuple[str, ...], arch: tuple[str, ...]
) -> tuple[Fix, ...]:
    """Return one cure per distribution, this machine's first.

    Args:
        family: this machine's. debian, rhel, arch: commands, one a line.
    """
    commands: dict[Family, tuple[str, ...]] = {"debian": debian, "rhel": rhel, "arch": arch}
    order = sorted(commands, key=lambda one: one != family)  # stable: the others keep their order
    return tuple(Fix(_NAMES[one], commands[one]) for one in order)


def anywhere(*commands: str) -> tuple[Fix, ...]:
    """Return the one cure that is the same on every distribution."""
    return (Fix(EVERYWHERE, commands),)


def recreate_container() -> tuple[Fix, ...]:
    """Return how to start a container that sees the GPUs; nothing inside a container can mend it."""
    return (Fix("on the host", IN_CONTAINER),)


def install_driver(system: System) -> tuple[Fix, ...]:
    """Return how to install or update NVIDIA's driver.

    Args:
        system: Debian's own packages are older than Ubuntu's, so the two differ.
    """
    ubuntu = "sudo ubuntu-drivers install --gpgpu  # Ubuntu; or by name: sudo apt install nvidia-driver-580-server"
    debian = (
        "sudo apt install nvidia-driver  # Debian, with contrib and non-free in its sources; drivers 535 (12), 550 (13)"
    )
    newest = "sudo apt install nvidia-open  # newer, from NVIDIA's CUDA repository; GPUs before Turing: cuda-drivers"
    own = {"ubuntu": (ubuntu,), "debian": (debian, newest)}.get(system.id, (ubuntu, debian, newest))
    return by_family(
        system.family,
        debian=("sudo apt update && sudo apt install linux-headers-$(uname -r)", *own, "sudo reboot"),
        rhel=(
            "sudo dnf install kernel-devel-$(uname -r) kernel-headers",
            "sudo dnf module install nvidia-driver:open-dkms  # RHEL 8 and 9, NVIDIA's CUDA repository",
            "sudo dnf install nvidia-open  # RHEL 10 and Fedora, the same repository; GPUs before Turing: cuda-drivers",
            "sudo reboot",
        ),
        arch=(
            "sudo pacman -Syu nvidia-open-dkms nvidia-utils linux-headers",
            "# GPUs before Turing: nvidia-580xx-dkms from the AUR instead",
            "sudo reboot",
        ),
    )
