"""Cures in the order in which this machine's owner wants to read them: those of its own distribution first.

Owns the order and the names of the distributions; never runs anything.
"""

from __future__ import annotations

from tiffin.gpu.doctor.finding import Fix
from tiffin.gpu.doctor.system import Family

EVERYWHERE = "any system"
_NAMES: dict[Family, str] = {"debian": "Debian/Ubuntu", "rhel": "RHEL/Fedora", "arch": "Arch"}


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
