"""`tiffin models`: the store from the command line.

Owns the commands' arguments; what they do is `tiffin.models`' matter, how it looks `models_view`'s. Nothing in a model is executed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tiffin.cli import models_view as view
from tiffin.cli.progress import Bar, working

if TYPE_CHECKING:
    from tiffin.store.model import Model

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_name = click.option("--name", metavar="NAME[:VERSION]", help="Name it gets; by default its own.")
_trust = click.option(
    "--trust",
    is_flag=True,
    help="Code in it may run on this machine: needed for pickles and other formats that bear code.",
)
_plain = click.option(
    "--plain-http", is_flag=True, help="Talk HTTP without TLS; done anyway for a registry on this machine."
)


@click.group("models")
def command() -> None:
    """Save, find, inspect, exchange and convert trained models."""


@command.command("list")
@click.argument("name", required=False)
@_json
def list_(*, name: str | None, as_json: bool) -> None:
    """List all models, or the versions of NAME; the newest last."""
    from tiffin.store import models

    found = models.list(name)
    if name is not None and not found:
        models.get(name)  # says what is near
    if as_json:
        view.show_json([_data(model) for model in found])
    elif found:
        view.models_table(found, _tags_by_ref(found))
    else:
        click.echo(f"no models in {models.home()}: tiffin models import, or tiffin.models.save in Python", err=True)


@command.command("get")
@click.argument("ref")
@_json
def get(*, ref: str, as_json: bool) -> None:
    """Show everything that is recorded of REF: name, name:version or name:tag. Loads nothing."""
    from tiffin.store import models

    model = models.get(ref)
    if as_json:
        view.show_json(_data(model))
    else:
        view.model_card(model, _tags_by_ref([model]).get(model.ref, ""))


@command.command("inspect")
@click.argument("ref")
@_json
def inspect(*, ref: str, as_json: bool) -> int:
    """List what loading REF would execute, without loading it; REF is a model, or a file or folder on disk.

    Exit status 0 where it is data alone, 77 where it is not.
    """
    from tiffin.store import models
    from tiffin.store.inspection import inspect as look

    path = Path(ref)
    found = look(path if path.exists() else models.get(ref).path)
    if as_json:
        view.show_json(found)
    else:
        view.inspection(found, ref)
    return 0 if found.clean else 77


@command.command("delete")
@click.argument("refs", nargs=-1, required=True, metavar="REF...")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def delete(*, refs: tuple[str, ...], yes: bool) -> None:
    """Delete versions: name:version, name:tag or name:latest. Tags that point to them go with them."""
    from tiffin.store import models

    found = [models.named(ref) for ref in refs]
    if not yes and not click.confirm(f"delete {', '.join(model.ref for model in found)}?"):
        raise click.Abort
    for ref in refs:
        click.echo(f"deleted {models.delete(ref).ref}")


@command.command("tag")
@click.argument("ref")
@click.argument("tag")
@click.option("--remove", is_flag=True, help="Remove the tag from the name instead; REF is the model's name.")
def tag(*, ref: str, tag: str, remove: bool) -> None:
    """Give REF the further name TAG, or move that name to it: tiffin models tag digits:v3 prod."""
    from tiffin.store import models

    if remove:
        models.untag(ref.partition(":")[0], tag)
        click.echo(f"removed the tag {tag}")
    else:
        click.echo(f"{models.tag(ref, tag).ref} is {ref.partition(':')[0]}:{tag}")


@command.command("trust")
@click.argument("ref")
def trust(*, ref: str) -> None:
    """Say that code in REF may run on this machine: exactly this content, nothing that is changed later."""
    from tiffin.store import models

    click.echo(f"{models.trust(ref).ref} is trusted here")


@command.command("export")
@click.argument("ref")
@click.argument("target", default=".")
def export(*, ref: str, target: str) -> None:
    """Write REF to TARGET: an archive (name.tar, or a folder that exists), a new folder (ends in /), or a URL (s3://bucket/models/)."""
    from tiffin.store import models

    with Bar() as bar:
        click.echo(models.export(ref, target, progress=bar))


@command.command("import")
@click.argument("source")
@_name
@_trust
def import_(*, source: str, name: str | None, trust: bool) -> None:
    """Take a model into the store; nothing in it is executed.

    SOURCE is an archive or folder that was exported; a file or folder of a framework (.onnx, .safetensors, .keras, .pt2, .skops, a
    SavedModel, a Hugging Face folder, an MLflow model, …); a URL of an archive; or hf://owner/model.
    """
    from tiffin.store import models

    with Bar() as bar:
        model = models.import_(source, name, trusted=trust, progress=bar)
    click.echo(model.ref)


@command.command("push")
@click.argument("ref")
@click.argument("place")
@_plain
def push(*, ref: str, place: str, plain_http: bool) -> None:
    """Upload REF to an OCI registry: PLACE is host/repository, with :tag or the version as its tag. Log in with docker or oras."""
    from tiffin.store import models

    with Bar() as bar:
        click.echo(models.push(ref, place, plain_http=plain_http, progress=bar))


@command.command("pull")
@click.argument("place")
@_name
@_trust
@_plain
def pull(*, place: str, name: str | None, trust: bool, plain_http: bool) -> None:
    """Download a model from an OCI registry: host/repository:tag or @sha256:…. A pull that was cut off goes on where it ended."""
    from tiffin.store import models

    with Bar() as bar:
        model = models.pull(place, name, trusted=trust, plain_http=plain_http, progress=bar)
    click.echo(model.ref)


@command.command("convert")
@click.argument("ref")
@click.option(
    "--to",
    required=True,
    metavar="FORMAT",
    type=click.Choice(["onnx", "safetensors", "torchscript"]),
    help="onnx, safetensors or torchscript.",
)
@click.option("--name", metavar="NAME", help="Name of the new model; by default REF's with the format behind it.")
@click.option("--opset", metavar="N", type=int, help="ONNX operator set. [default: 17]")
@click.option(
    "--dynamic-axis",
    "dynamic_axes",
    metavar="INPUT:AXIS",
    multiple=True,
    help="Axis that may vary besides axis 0. Repeatable.",
)
@click.option(
    "--quantize",
    metavar="KIND",
    type=click.Choice(["int8"]),
    help="int8: smaller, and faster where the processor has VNNI.",
)
@click.option(
    "--tolerance", default=1e-4, metavar="X", help="Largest relative difference that is taken. [default: 0.0001]"
)
@_json
def convert(*, ref: str, to: str, as_json: bool, **options: Any) -> None:
    """Convert REF, check the result against it on example rows, and measure both.

    From PyTorch, Lightning, transformers, scikit-learn, Keras and TensorFlow. The original stays as it is.
    """
    from tiffin.frameworks import conversion

    with working(f"converting {ref}, checking, measuring"):
        made = conversion.convert(ref, to, **options)
    if as_json:
        view.show_json(made)
        return
    times = [f"{rows} row{'s' if rows > 1 else ''}" for rows in conversion.ROWS]
    columns = ("Format", "Size", *times, *(f"faster, {text}" for text in times))
    view.show_table(columns, conversion.table(made), right=columns[1:])
    same = "" if made.agreement is None else f", the same class in {made.agreement:.1%} of {made.rows} rows"
    click.echo(f"largest difference {made.difference:.3g}{same}")
    click.echo(f"processor: {', '.join(made.cpu) or 'no vector instructions that matter are known'}", err=True)
    click.echo(made.ref)


@command.command("du")
@_json
def du(*, as_json: bool) -> None:
    """Show what takes room: each version, and what of it no other version shares."""
    from tiffin.store import models
    from tiffin.store.usage import usage

    total = usage(models.store())
    if as_json:
        view.show_json(
            {
                "models": [one._asdict() for one in total.versions],
                "disk_bytes": total.disk,
                "spare_bytes": total.spare,
            }
        )
    else:
        view.usage_table(total)


@command.command("gc")
def gc() -> None:
    """Free what nobody uses: content of deleted versions, downloads that were cut off, what crashed commands left."""
    from tiffin.store import models
    from tiffin.store.usage import collect

    click.echo(f"freed {view.size_text(collect(models.store()))}")


def _tags_by_ref(found: list[Model]) -> dict[str, str]:
    """Return the tags of models by their references, "latest" for the newest of each name."""
    from tiffin.store import models

    here = models.store()
    tags: dict[str, list[str]] = {}
    for name in {model.name for model in found}:
        versions = here.versions(name)
        if versions:
            tags[versions[-1].ref] = ["latest"]
        for tag, version in here.tags(name).items():
            tags.setdefault(f"{name}:{version}", []).append(tag)
    return {ref: ", ".join(names) for ref, names in tags.items()}


def _data(model: Model) -> object:
    tags = _tags_by_ref([model]).get(model.ref, "")
    return view.manifest_json(model.info, trusted=model.trusted, tags=tags.split(", ") if tags else [])
