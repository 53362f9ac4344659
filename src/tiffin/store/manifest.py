"""What is recorded of a model: `model.json`, and the trust mark beside it.

Owns the structs and the digest over them; never reads a file. Sizes in bytes, times as RFC 3339 in UTC.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from tiffin.errors import DamagedError, ModelError
from tiffin.store.names import check_paths, check_word

FORMAT = 1
_KIND = re.compile(r"[\w\[\], :+-]{0,60}\Z", re.ASCII)
MANIFEST_BYTES = 16_777_216  # a manifest above this is refused: nobody writes such a one by hand


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One file. path: inside the model, with "/". size: bytes. sha256: of its content (hex)."""

    path: str
    size: int
    sha256: str


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One input or output of a signature.

    Attributes:
        name: as the method's parameter, or as the graph calls it. kind: "tensor", "table" or "text".
        dtype: numpy's name, "" unknown. shape: sizes, None for a free one; None where the rank is unknown.
        columns: of a table, name → dtype.
    """

    name: str
    kind: str = "tensor"
    dtype: str = ""
    shape: list[int | None] | None = None
    columns: dict[str, str] | None = None


class Signature(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a model is called.

    Attributes:
        inputs, outputs: in order. batch_dim: axis along which rows may be joined, None where they may not.
        call: the model's own name of what is called: "forward", "predict", a pipeline's task; "" for the object itself.
    """

    inputs: list[Value]
    outputs: list[Value] = []
    batch_dim: int | None = None
    call: str = ""


def free_rows(values: list[Value]) -> int | None:
    """Return 0, the axis of the rows, where axis 0 of all values is free, so that rows may be joined; else None."""
    return 0 if values and all(value.shape and value.shape[0] is None for value in values) else None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a model. Everything but `name`, `version`, `created`, `digest` and `seal` is part of the digest.

    Attributes:
        name, version, created: which. digest: sha256 over what the model is (hex). seal: sha256 over all of the manifest (hex).
        framework: room that loads it: "torch", "onnx", …. format: of the files: "state_dict", "torchscript", ….
        code: loading runs code that is in the files.
        options: what the room needs to load it. versions: distribution → version it was saved with.
        labels: text → text. metadata: anything JSON. signatures: method → how it is called.
        objects: side object → its file or folder, and how it is read ("json", "text", "skops", "folder", …).
        example: file with example inputs (.npz), "" for none. files: all of them, by path.
    """

    format_version: int = FORMAT
    name: str
    version: str
    created: str
    digest: str = ""
    seal: str = ""
    framework: str
    format: str
    code: bool = False
    options: dict[str, Any] = {}
    versions: dict[str, str] = {}
    labels: dict[str, str] = {}
    metadata: dict[str, Any] = {}
    signatures: dict[str, Signature] = {}
    objects: dict[str, dict[str, str]] = {}
    example: str = ""
    files: list[FileEntry]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def content_digest(self) -> str:
        """Return the sha256 (hex) over what the model is; equal for the same content under two names."""
        data = msgspec.to_builtins(self)
        for name in ("name", "version", "created", "digest", "seal"):
            del data[name]
        return _hash(data)

    def sealed(self) -> Manifest:
        """Return it with its files sorted, digest and seal filled in."""
        ordered = msgspec.structs.replace(self, files=sorted(self.files, key=lambda file: file.path), seal="")
        whole = msgspec.structs.replace(ordered, digest=ordered.content_digest())
        return msgspec.structs.replace(whole, seal=_hash(msgspec.to_builtins(whole)))


def _check_time(text: str, where: str) -> None:
    """Refuse a time that is none, or that is to come: it would be the newest for ever."""
    try:
        created = datetime.fromisoformat(text)
    except ValueError:
        created = None
    if created is None or created.tzinfo is None or created > datetime.now(UTC) + timedelta(days=1):
        raise ModelError(f"{where}: model.json: created {text[:60]!r} is no time that has been")


def _hash(data: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(data, order="sorted")).hexdigest()


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """The mark that a code-bearing model may be loaded here. It stays on this machine.

    Attributes:
        digest: of the manifest that is trusted; any other is not. at: when. how: "saved here", "import --trust", ….
    """

    digest: str
    at: str
    how: str


def encode(manifest: Manifest) -> bytes:
    """Return the text of `model.json`."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def decode(content: bytes, where: str) -> Manifest:
    """Read and check a `model.json`.

    Args:
        content: the file. where: it came from, for errors.

    Raises:
        ModelError: it is none, or names something outside the model. DamagedError: its digest is another.
    """
    if len(content) > MANIFEST_BYTES:
        raise ModelError(f"{where}: model.json of {len(content):,} bytes is too large to be one")
    try:
        found = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise ModelError(f"{where}: model.json cannot be read: {error}") from None
    if found.format_version > FORMAT:
        raise ModelError(
            f"{where}: written by a newer Tiffin (format {found.format_version}, this one reads {FORMAT})",
            hint="upgrade Tiffin",
        )
    check_word(found.name, "model name")
    check_word(found.version, "version")
    check_word(found.framework.replace("_", "-"), "framework")
    check_word(found.format.replace("_", "-"), "format")
    _check_time(found.created, where)
    for signature in found.signatures.values():
        for value in [*signature.inputs, *signature.outputs]:
            kinds = [value.dtype, value.kind, *(value.columns or {}).values()]
            if not all(_KIND.match(kind) for kind in kinds):
                raise ModelError(f"{where}: model.json: {value.name!r} has an element type that is none: {kinds!r}")
    check_paths(file.path for file in found.files)
    paths = {file.path for file in found.files}
    for file in found.files:
        if file.size < 0 or len(file.sha256) != 64 or not set(file.sha256) <= set("0123456789abcdef"):
            raise ModelError(f"{where}: model.json: {file.path!r} has no size or digest")
    if found.example and found.example not in paths:
        raise ModelError(f"{where}: model.json names an example {found.example!r} that is no file of the model")
    for name, side in found.objects.items():
        place = side.get("path", "")
        if place not in paths and not any(path.startswith(f"{place}/") for path in paths):
            raise ModelError(
                f"{where}: model.json: side object {name!r} is at {place!r}, which is no file of the model"
            )
    if found != found.sealed() or content != encode(found):
        raise DamagedError(
            f"{where}: model.json was altered: it is not what its seal {found.seal[:12]}… says",
            hint="import the model again",
        )
    return found
