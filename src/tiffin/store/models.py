"""`tiffin.models`: save what you trained with one line, find it by name and version, load it on the right device with one line.

Owns the public functions over the one store of this user, in TIFFIN_HOME (`~/.tiffin`). Never loads what its recorded digest does
not fit, and never what bears code without a trust mark.
"""

from __future__ import annotations

import builtins
import importlib
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tiffin.errors import ModelError
from tiffin.store import exchange, foreign, oci
from tiffin.store.digests import Progress, silent
from tiffin.store.draft import Draft
from tiffin.store.examples import write_example
from tiffin.store.manifest import Manifest, Signature
from tiffin.store.model import Model, VersionWarning, installed_versions
from tiffin.store.names import Ref, parse_ref
from tiffin.store.rooms import claiming, room
from tiffin.store.sides import write_sides
from tiffin.store.store import Store

__all__ = [
    "Model",
    "VersionWarning",
    "convert",
    "create",
    "delete",
    "export",
    "get",
    "import_",
    "list",
    "load",
    "pull",
    "push",
    "save",
    "tag",
    "trust",
    "untag",
]


def home() -> Path:
    """Return the folder of this user's stores: TIFFIN_HOME, else `~/.tiffin`."""
    given = os.environ.get("TIFFIN_HOME")
    return Path(given).absolute() if given else Path("~/.tiffin").expanduser()


def store() -> Store:
    """Return the store in `home()`."""
    return Store(home())


def save(
    name: str,
    value: Any,
    *,
    framework: str | None = None,
    labels: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    objects: Mapping[str, Any] | None = None,
    example: Any = None,
    signatures: Mapping[str, Signature] | None = None,
    trusted: bool = False,
    progress: Progress = silent,
    **options: Any,
) -> Model:
    """Save what you trained; return it as it is in the store.

    Args:
        name: "digits" (gets a new version) or "digits:v3". value: the model object, or the Path of a file or folder.
        framework: which room writes it; by default the one whose object it is. labels: text → text. metadata: anything JSON.
        objects: side objects by name: text, JSON, bytes, numpy arrays, Paths, frameworks' own (a tokenizer, a scaler).
        example: one input, or a dict of inputs by name, with rows along axis 0: recorded, and the signature read from it.
        signatures: method → how it is called, where an example does not say it. trusted: allow formats that bear code (pickle).
        options: of the framework's own `save`.

    Raises:
        ModelError: the name cannot be or is taken, no framework knows the object, the disk refuses.
        TrustError: it can only be written in a format that bears code.
    """
    ref = parse_ref(name)
    owner = room(framework) if framework else claiming(value)
    if owner is None:
        if isinstance(value, str | Path) and Path(value).exists():
            owner = room("folder")
        else:
            raise ModelError(
                f"no framework knows how to save a {type(value).__module__}.{type(value).__qualname__}",
                hint="name one: framework='pickle', trusted=True pickles any object",
            )
    with store().draft() as draft:
        written = owner.write(value, draft.files, example=example, trusted=trusted, options=options)
        said, code = write_sides(draft, objects or {}, trusted=trusted)
        place = write_example(draft, example)
        manifest = Manifest(
            name=ref.name,
            version=ref.version,
            created="",
            framework=owner.name,
            format=written.format,
            code=written.code or code,
            options=written.options,
            versions=installed_versions(written.distributions),
            labels=dict(labels or {}),
            metadata=dict(metadata or {}),
            signatures={**written.signatures, **(signatures or {})},
            objects=said,
            example=place,
            files=[],
        )
        return Model(store().commit(draft, manifest, "saved here", progress))


@contextmanager
def create(
    name: str,
    *,
    framework: str = "folder",
    format: str = "folder",
    labels: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Generator[Draft]:
    """Make a model of files that you write yourself, into `draft.files`; it is in the store when the `with` ends without an error.

    Args:
        name: as for `save`. framework, format, options: who loads it; by default `load` returns the folder.

    Raises:
        ModelError: the name cannot be or is taken, a link or device is among the files, the disk refuses.
    """
    ref = parse_ref(name)
    with store().draft() as draft:
        yield draft
        manifest = Manifest(
            name=ref.name,
            version=ref.version,
            created="",
            framework=framework,
            format=format,
            options=dict(options or {}),
            labels=dict(labels or {}),
            metadata=dict(metadata or {}),
            files=[],
        )
        store().commit(draft, manifest, "saved here")


def get(ref: str) -> Model:
    """Return a model by "name", "name:version", "name:tag" or "name:latest".

    Raises:
        NotFoundError: there is none; near names are said.
    """
    return Model(store().find(parse_ref(ref)))


def load(ref: str, *, device: str | None = None, **options: Any) -> Any:
    """Return the object of a model: short for `get(ref).load(…)`."""
    return get(ref).load(device=device, **options)


def list(name: str | None = None) -> builtins.list[Model]:
    """Return all models, or all versions of one name; by name, the newest last."""
    here = store()
    names = here.names() if name is None else [parse_ref(name).name]
    return [Model(stored) for one in names for stored in here.versions(one)]


def delete(ref: str) -> Model:
    """Remove a version and the tags that point to it.

    Raises:
        NotFoundError: there is none. ModelError: no version or tag was named.
    """
    named(ref)
    return Model(store().delete(parse_ref(ref)))


def named(ref: str) -> Model:
    """Return a model whose version was named: what removes something does not guess.

    Raises:
        NotFoundError: there is none. ModelError: no version or tag was named.
    """
    found = get(ref)
    if ":" not in ref:
        raise ModelError(f"{ref!r} names no version", hint=f"say which: {found.ref}, or {ref}:latest")
    return found


def tag(ref: str, tag: str) -> Model:
    """Give a version a further name, or move that name to it: `tag("digits:v3", "prod")`, then `get("digits:prod")`."""
    return Model(store().tag(parse_ref(ref), tag))


def untag(name: str, tag: str) -> None:
    """Remove a tag."""
    store().untag(parse_ref(name).name, tag)


def trust(ref: str) -> Model:
    """Say that code in this model may run on this machine. The mark holds for exactly this content, and never travels.

    Raises:
        DamagedError: a file is not what was recorded.
    """
    return Model(store().trust(parse_ref(ref), "tiffin models trust"))


def import_(
    source: str | os.PathLike[str],
    name: str | None = None,
    *,
    trusted: bool = False,
    progress: Progress = silent,
) -> Model:
    """Take a model into the store; nothing in it is executed.

    Args:
        source: an archive or folder made by `export`; a file or folder of a framework (.onnx, .safetensors, .keras, a SavedModel, a
            Hugging Face folder, an MLflow model, …); a URL of an archive; "hf://owner/model".
        name: "name" or "name:version"; needed where the source has none of its own. trusted: code in it may run here.

    Raises:
        ModelError: it is none of these, or the version exists with other content. DamagedError: it is altered or cut short.
        TrustError: it bears code and `trusted` was not given. ConfigError: what is needed for this source is not installed.
    """
    text = os.fspath(source)
    ref = parse_ref(name) if name else None
    reason = "import --trust" if trusted else ""
    here = store()
    if text.startswith("hf://"):
        return Model(foreign.import_hub(here, text.removeprefix("hf://"), ref, reason, progress))
    if "://" in text:
        return Model(exchange.import_url(here, text, ref, reason, progress))
    path = Path(text)
    if path.is_dir() and exchange.is_exported(path):
        return Model(exchange.import_folder(here, path, ref, reason, progress))
    if path.is_file() and path.suffix == exchange.SUFFIX:
        with path.open("rb") as file:
            return Model(exchange.import_archive(here, file, str(path), ref, reason, progress))
    if not path.exists():
        raise ModelError(
            f"{text!r} does not exist", hint="give a file, a folder, a URL or hf://owner/model", exit_code=66
        )
    return Model(foreign.import_path(here, path, ref, reason, progress))


def convert(ref: str, to: str, **options: Any) -> Any:
    """Convert a model to "onnx", "safetensors" or "torchscript", check it against the original and measure both.

    Args:
        options: name, opset, dynamic_axes, quantize="int8", example, tolerance: see `tiffin.frameworks.conversion.convert`.
    """
    return importlib.import_module("tiffin.frameworks.conversion").convert(ref, to, **options)


def export(ref: str, target: str | os.PathLike[str], *, progress: Progress = silent) -> str:
    """Write a model to an archive (".tar", or a folder that is there), a new folder (ends in "/") or a URL; return where."""
    return exchange.export(store().find(parse_ref(ref)), os.fspath(target), progress)


def push(ref: str, place: str, *, plain_http: bool = False, progress: Progress = silent) -> str:
    """Upload a model to an OCI registry, "host/repository:tag"; return the artifact's digest."""
    return oci.push(store().find(parse_ref(ref)), oci.parse_place(place), plain=plain_http, progress=progress)


def pull(
    place: str,
    name: str | None = None,
    *,
    trusted: bool = False,
    plain_http: bool = False,
    progress: Progress = silent,
) -> Model:
    """Download a model from an OCI registry; what a broken try has fetched is not fetched again."""
    ref: Ref | None = parse_ref(name) if name else None
    reason = "pull --trust" if trusted else ""
    return Model(oci.pull(store(), oci.parse_place(place), ref, reason, plain=plain_http, progress=progress))
