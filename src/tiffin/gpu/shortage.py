"""The error of a plan that cannot be: what was asked, found and free.

Owns its words and tables; pure. Bytes are shown in GiB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tiffin.config.parts import WorkersConfig
from tiffin.errors import PlacementError
from tiffin.gpu.demand import Demand
from tiffin.gpu.inventory import Device, Inventory
from tiffin.gpu.room import gib


def shortage(
    unserved: Demand,
    why: str,
    demands: Sequence[Demand],
    inventory: Inventory,
    states: Mapping[str, str],
    workers: WorkersConfig,
) -> PlacementError:
    """Return the error.

    Args:
        unserved: whose worker finds no place. why: in one sentence. demands: of all services, in their order.
        states: how each usable device is for it, by uuid; others are left out by the settings.
    """
    lines = [f"not enough GPUs for service {unserved.spec.name}: {why}", "asked"]
    lines += _table([("service", "workers", "GPUs each", "memory each", "type"), *map(_asked, demands)])
    if inventory.devices:
        lines.append("found")
        rows = [
            (
                *(str(device.index), device.name, device.uuid if device.parent else "", *_memory(device)),
                states.get(device.uuid, f"left out by --device {workers.device}"),
            )
            for device in inventory.devices
        ]
        lines += _table([("GPU", "name", "slice", "memory", "free", "state"), *rows])
    else:
        lines.append(f"found no GPU: {inventory.reason}")
    lines += [f"  {problem}" for problem in inventory.problems]
    cpu = "run on the CPU: --device cpu"
    if workers.device not in ("auto", "cuda"):
        cpu = f"allow more than --device {workers.device}, or {cpu}"
    return PlacementError("\n".join(lines), hint=f"{cpu}; or ask for less: --workers, resources")


def _asked(demand: Demand) -> tuple[str, ...]:
    needs = demand.needs
    if demand.per_gpu:
        count, each = "per GPU", str(demand.each)
    else:
        count = str(len(demand.wishes))
        sizes = [len(wish) if isinstance(wish, tuple) else wish for wish in demand.wishes]
        each = ", ".join(dict.fromkeys(map(str, sizes)))
        each = f"{needs.share:g}" if needs.share else each
        each = "-" if demand.open or not any(sizes) else each
    if needs.exclusive:
        each += ", exclusive"
    return demand.spec.name, count, each, gib(needs.gpu_memory) if needs.gpu_memory else "-", needs.gpu_type or "-"


def _memory(device: Device) -> tuple[str, str]:
    return (gib(device.memory_total), gib(device.memory_free)) if device.memory_total else ("the machine's", "")


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return rows as aligned lines; a column in which nothing stands is left out."""
    columns = [at for at in range(len(rows[0])) if any(row[at] for row in rows[1:])]
    widths = [max(len(row[at]) for row in rows) for at in columns]
    return [
        "  " + "  ".join(row[at].ljust(width) for at, width in zip(columns, widths, strict=True)).rstrip()
        for row in rows
    ]
