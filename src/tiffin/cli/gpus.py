"""`tiffin gpus`: the devices, what they do now, and which workers sit where.

Owns the table's look; what stands in it is `gpu.overview`'s. On a terminal it has lines and colours, in a pipe it is plain columns.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click
import msgspec

from tiffin.gpu import inventory, live, occupants
from tiffin.gpu.nvml import NoDriver, opened
from tiffin.gpu.overview import DeviceView, Overview, Stranger, Tenant, overview

if TYPE_CHECKING:
    from rich.console import RenderableType

_GIB = 1 << 30
_UUID_LENGTH = 12  # "GPU-" and eight digits: enough for CUDA_VISIBLE_DEVICES, too
_NAME_LENGTH = 40
_WIDE = 10_000
_DEVICES = ("GPU", "Name", "UUID", "Use", "Memory", "Temp", "Power", "CC", "Mode")
_LEFT_OUT = ((112, "UUID"), (98, "CC"), (92, "Mode"), (80, "Power"))  # below so many columns there is no room for these
_TENANTS = ("GPU", "Who is there", "PID", "Memory")
_RIGHT = ("Use", "Memory", "Temp", "Power", "PID")


@click.command("gpus")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: one object, with --watch one per line.")
@click.option(
    "--watch",
    "every_s",
    metavar="[SECONDS]",
    type=click.FloatRange(min=0.1),
    is_flag=False,
    flag_value=2.0,
    help="Look again every so many seconds (2), until Ctrl-C.",
)
def command(*, as_json: bool, every_s: float | None) -> None:
    """Show the GPUs, what they do now, and which workers sit where."""
    if every_s is None:
        _print(gather(), as_json=as_json)
        return
    try:
        if not as_json and sys.stdout.isatty():
            _follow(every_s)
        while True:
            _print(gather(), as_json=as_json, line=True)
            sys.stdout.flush()
            time.sleep(every_s)
    except KeyboardInterrupt:
        return


def gather() -> Overview:
    """Look at the machine."""
    try:
        with opened():  # once for both looks: starting the driver may take a second
            found, look = inventory.take({}), live.look()
    except NoDriver:
        found, look = inventory.take({}), live.Look()
    return overview(found, look, occupants.find(), os.environ)


def _print(shown: Overview, *, as_json: bool, line: bool = False) -> None:
    if as_json:
        text = msgspec.json.encode(shown)
        click.echo((text if line else msgspec.json.format(text, indent=2)).decode())
        return
    from rich.console import Console

    if sys.stdout.isatty():
        console = Console(highlight=False)
        console.print(render(shown, width=console.width))
        return
    click.echo(plain(shown) + ("\n" if line else ""))


def _follow(every_s: float) -> None:
    """Keep one table on the terminal up to date."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    with Live(render(gather(), width=console.width), console=console, auto_refresh=False) as screen:
        while True:
            time.sleep(every_s)
            screen.update(render(gather(), width=console.width), refresh=True)


def plain(shown: Overview) -> str:
    """Return the tables for a pipe: no colour, nothing cut off."""
    from rich.console import Console

    console = Console(width=_WIDE, no_color=True, force_terminal=False, highlight=False)
    with console.capture() as capture:
        console.print(render(shown, width=_WIDE, lines=False))
    return "\n".join(line.rstrip() for line in capture.get().rstrip().split("\n"))


def render(shown: Overview, *, width: int, lines: bool = True) -> RenderableType:
    """Return what to show: a headline, a table of devices, one of who is on them, and the notes.

    Args:
        shown: the overview. width: characters of a line; what does not fit in is left out. lines: whether tables have lines.
    """
    from rich.console import Group
    from rich.text import Text

    if not shown.devices:
        return Text(f"no GPU to use: {shown.reason}")
    numbers = _numbers(shown.devices)
    devices: list[dict[str, str]] = [
        dict(zip(_DEVICES, (number, *_cells(one)), strict=True))
        for number, one in zip(numbers, shown.devices, strict=True)
    ]
    columns = [name for name in _DEVICES if not any(name == out and width < least for least, out in _LEFT_OUT)]
    parts: list[RenderableType] = [Text(f"driver {shown.driver}, CUDA {shown.cuda}")]
    if shown.reason:
        parts.append(Text(shown.reason, style="yellow"))
    parts.append(_table(columns, devices, lines=lines))
    for number, device in zip(numbers, shown.devices, strict=True):
        if device.problem:
            parts.append(Text(f"GPU {number} {device.problem.removeprefix(f'GPU {number} ')}", style="red"))
    tenants: list[dict[str, str]] = [
        dict(zip(_TENANTS, (number, *row), strict=True))
        for number, device in zip(numbers, shown.devices, strict=True)
        for row in (*map(_tenant, device.workers), *map(_stranger, device.processes))
    ]
    if tenants:
        parts += [Text(""), _table(_TENANTS, tenants, lines=lines)]
    return Group(*parts, *(Text(f"note: {note}", style="yellow") for note in shown.notes))


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, str]], *, lines: bool) -> RenderableType:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD if lines else None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in _RIGHT else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(escape(row[column]) for column in columns))
    return table


def _numbers(devices: Sequence[DeviceView]) -> list[str]:
    """Return what each is called: a board by its number, its slices "0/0", "0/1"."""
    slices: Counter[int] = Counter()
    numbers: list[str] = []
    for device in devices:
        numbers.append(f"{device.index}/{slices[device.index]}" if device.parent else str(device.index))
        slices[device.index] += bool(device.parent)
    return numbers


def _cells(device: DeviceView) -> tuple[str, ...]:
    name = device.name.removeprefix("NVIDIA ")
    if device.problem:
        return (name, device.uuid[:_UUID_LENGTH], *["-"] * 4, "", "lost")
    return (
        "  MIG" + name.partition(" MIG")[2] if device.parent else name,
        device.uuid[:_UUID_LENGTH],
        _with_unit(device.utilization_percent, "%"),
        _memory(device.memory_used_bytes, device.memory_total_bytes),
        _with_unit(device.temperature_celsius, "°C"),
        _power(device.power_watts, device.power_limit_watts),
        "" if device.parent else device.capability,
        "MIG" if device.mig else "" if device.parent else device.compute_mode,
    )


def _with_unit(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.0f} {unit}"


def _memory(used: int | None, total: int | None) -> str:
    if used is None or not total:
        return "-"
    return f"{used / _GIB:.1f} / {total / _GIB:.1f} GiB"


def _power(watts: float | None, limit: float | None) -> str:
    if watts is None:
        return "-"
    return f"{watts:.0f} W" if limit is None else f"{watts:.0f} / {limit:.0f} W"


def _tenant(tenant: Tenant) -> tuple[str, str, str]:
    own = " (own count)" if tenant.source == "worker" else ""
    return f"{tenant.service} worker {tenant.worker}", str(tenant.pid), _size(tenant.memory_bytes) + own


def _stranger(stranger: Stranger) -> tuple[str, str, str]:
    program, blank, rest = stranger.name.partition(" ")
    name = (program.rpartition("/")[2] + blank + rest)[:_NAME_LENGTH]  # the folder says little and takes the room
    return name or "another process", str(stranger.pid), _size(stranger.memory_bytes)


def _size(size: int | None) -> str:
    return "-" if size is None else f"{size / _GIB:.1f} GiB"
