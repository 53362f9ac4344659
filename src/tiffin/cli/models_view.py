"""How models are shown: tables on a terminal, plain columns in a pipe, JSON where asked for.

Owns the look; never reads the store. Control characters in names that somebody else gave are shown, not obeyed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec

from tiffin.cli.say import readable

if TYPE_CHECKING:
    from tiffin.store.inspection import Inspected
    from tiffin.store.manifest import Manifest, Signature
    from tiffin.store.model import Model
    from tiffin.store.usage import Total

_WIDE = 10_000


def size_text(size: int) -> str:
    """Return a size for people: "12.3 MB" (powers of 1000, as disks are sold)."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 1000 or unit == "TB":
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return ""


def plain(text: object) -> str:
    """Return text without control characters; those of a terminal would move the cursor or change colours."""
    return readable(str(text), kept="")


def show_json(value: Any) -> None:
    """Print JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Print a table; in a pipe columns are parted by two spaces or more, and nothing is cut off."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    table = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*[Text(plain(cell)) for cell in row])
    if terminal:
        Console(highlight=False).print(table)
        return
    console = Console(width=_WIDE, no_color=True, force_terminal=False, highlight=False)
    with console.capture() as capture:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in capture.get().rstrip().split("\n")))


def models_table(models: Sequence[Model], tags: dict[str, str]) -> None:
    """Print a line for each model. tags: of it, by its reference."""
    show_table(
        ("Model", "Tags", "Framework", "Size", "Created", "Trust"),
        [
            (
                model.ref,
                tags.get(model.ref, ""),
                f"{model.info.framework}/{model.info.format}",
                size_text(model.info.size),
                model.info.created[:19].replace("T", " "),
                "trusted" if model.info.code and model.trusted else "NOT TRUSTED" if model.info.code else "data",
            )
            for model in models
        ],
        right=("Size",),
    )


def model_card(model: Model, tags: str) -> None:
    """Print everything that is recorded of one model."""
    info = model.info
    rows: list[tuple[str, object]] = [
        ("model", model.ref),
        ("tags", tags or "-"),
        ("framework", f"{info.framework}/{info.format}"),
        ("code", _code(model)),
        ("saved with", ", ".join(f"{name} {version}" for name, version in info.versions.items()) or "-"),
        ("created", info.created),
        ("digest", info.digest),
        ("size", f"{size_text(info.size)} in {len(info.files)} files"),
    ]
    rows += [(f"method {name}", signature_text(signature)) for name, signature in info.signatures.items()]
    rows += [(f"object {name}", f"{side.get('kind')}, {side.get('path')}") for name, side in info.objects.items()]
    rows += [(f"label {name}", value) for name, value in info.labels.items()]
    rows += [(f"metadata {name}", value) for name, value in info.metadata.items()]
    width = max(len(name) for name, _value in rows)
    for name, value in rows:
        click.echo(f"{plain(name):{width}}  {plain(value)}")
    click.echo()
    show_table(
        ("File", "Size", "SHA-256"),
        [(entry.path, size_text(entry.size), entry.sha256) for entry in info.files],
        right=("Size",),
    )


def _code(model: Model) -> str:
    if not model.info.code:
        return "none: data alone"
    return (
        "loading runs code in the files; trusted here"
        if model.trusted
        else "loading runs code in the files: NOT TRUSTED"
    )


def signature_text(signature: Signature) -> str:
    """Return a signature in one line: "features float64 [*, 4] → output int64 [*]"."""
    sides = (", ".join(_value_text(value) for value in values) for values in (signature.inputs, signature.outputs))
    return " → ".join(side for side in sides if side) + ("" if signature.batch_dim is None else "  (batched)")


def _value_text(value: Any) -> str:
    if value.kind == "table":
        return f"{value.name} table [{', '.join(value.columns or {})}]"
    shape = "" if value.shape is None else f" [{', '.join('*' if size is None else str(size) for size in value.shape)}]"
    return f"{value.name} {value.dtype or value.kind}{shape}"


def usage_table(total: Total) -> None:
    """Print what takes room."""
    rows = [(one.ref, size_text(one.size), size_text(one.own)) for one in total.versions]
    show_table(("Model", "Size", "Not shared"), rows, right=("Size", "Not shared"))
    click.echo(f"{size_text(total.disk)} on disk, shared content counted once; gc would free {size_text(total.spare)}")


def inspection(found: Inspected, what: str) -> None:
    """Print what an inspection found."""
    for line in found.dangerous:
        click.echo(f"DANGEROUS  {plain(line)}")
    for line in found.runs:
        if line not in found.dangerous:
            click.echo(f"runs       {plain(line)}")
    for line in found.problems:
        click.echo(f"unread     {plain(line)}")
    for line in found.advice:
        click.echo(f"advice     {plain(line)}")
    verdict = (
        "data alone: loading it runs nothing"
        if found.clean
        else "loading it would run code: only for files of your own"
    )
    click.echo(f"{plain(what)}: {found.looked} files, {verdict}")


def manifest_json(manifest: Manifest, *, trusted: bool, tags: Sequence[str]) -> dict[str, Any]:
    """Return a model as JSON-able data."""
    return {**msgspec.to_builtins(manifest), "size": manifest.size, "trusted": trusted, "tags": list(tags)}
