"""The machine's NUMA nodes: which CPU cores each has, and next to which one a board sits.

Owns the reading of /sys; never pins anything. With one node only there is nothing to choose: no nodes, -1 for every board.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiffin.gpu.nvml import ask

_SYS = Path("/sys")
_SCOPE_NODE = 0  # NVML_AFFINITY_SCOPE_NODE, which an older nvidia-ml-py does not name
_MASK_BITS = 64


def nodes(sys: Path = _SYS) -> dict[int, tuple[int, ...]]:
    """Return the CPU cores of each node that has any; empty where that is one node or none."""
    found: dict[int, tuple[int, ...]] = {}
    for folder in sys.glob("devices/system/node/node[0-9]*"):
        try:
            cores = cpu_list((folder / "cpulist").read_text())
        except (OSError, ValueError):
            continue
        if cores:  # memory alone is a node too, for example that of a board
            found[int(folder.name[4:])] = cores
    return dict(sorted(found.items())) if len(found) > 1 else {}


def node_of(nvml: Any, handle: Any, bus: str, known: Mapping[int, object], sys: Path = _SYS) -> int:
    """Return the node that a board is next to, -1 where that is not known.

    Args:
        nvml, handle: to ask where /sys does not say. bus: PCI address as NVML writes it, "00000000:01:00.0"; "" for unknown.
        known: nodes that have CPU cores.
    """
    if not known:
        return -1
    try:
        node = int((sys / "bus/pci/devices" / sys_name(bus) / "numa_node").read_text())
    except (OSError, ValueError):
        node = -1
    if node not in known:
        # Not nvmlDeviceGetNumaNodeId: that is the node of a board's own memory, where boards are nodes.
        masks = ask(nvml, "nvmlDeviceGetMemoryAffinity", handle, 1 + max(known) // _MASK_BITS, _SCOPE_NODE) or ()
        near = [at for at in known if at // _MASK_BITS < len(masks) and masks[at // _MASK_BITS] >> at % _MASK_BITS & 1]
        node = near[0] if len(near) == 1 else -1
    return node


def sys_name(bus: str) -> str:
    """Return a PCI address as the kernel writes it: "00000000:3B:00.0" → "0000:3b:00.0".

    Raises:
        ValueError: it is none.
    """
    domain, _, rest = bus.partition(":")
    return f"{int(domain, 16):04x}:{rest.lower()}"


def cpu_list(text: str) -> tuple[int, ...]:
    """Read the kernel's way to write core numbers: "0-3,8" → 0, 1, 2, 3, 8.

    Raises:
        ValueError: it is none.
    """
    cores: list[int] = []
    for part in text.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            cores += range(int(first), int(last or first) + 1)
    return tuple(cores)
