"""Side objects: what belongs beside a model, as a tokenizer, a vocabulary, a list of labels.

Owns how each kind is written and read; frameworks' own objects go through their rooms. Never unpickles.
"""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tiffin.errors import ModelError, NotFoundError, TrustError
from tiffin.store.draft import Draft
from tiffin.store.names import check_word, nearest
from tiffin.store.rooms import Room, claiming, room
from tiffin.store.store import Stored

FOLDER = "objects"


def write_sides(draft: Draft, objects: Mapping[str, Any], *, trusted: bool) -> tuple[dict[str, dict[str, str]], bool]:
    """Write side objects into a draft; return what the manifest says of them, and whether loading one runs code.

    Raises:
        ModelError: a name that cannot be; an object that nothing can write.
    """
    said: dict[str, dict[str, str]] = {}
    code = False
    for name, value in objects.items():
        check_word(name, "side object")
        said[name], one = _write(draft, name, value, trusted=trusted)
        code = code or one
    return said, code


def _write(draft: Draft, name: str, value: Any, *, trusted: bool) -> tuple[dict[str, str], bool]:
    place = f"{FOLDER}/{name}"
    if isinstance(value, Path):
        if value.is_dir():
            draft.copy_folder(value, place)
            return {"kind": "folder", "path": place}, False
        draft.copy(f"{place}{value.suffix}", value)
        return {"kind": "file", "path": f"{place}{value.suffix}"}, False
    if isinstance(value, str):
        draft.add(f"{place}.txt", value.encode())
        return {"kind": "text", "path": f"{place}.txt"}, False
    if isinstance(value, bytes | bytearray):
        draft.add(f"{place}.bin", bytes(value))
        return {"kind": "bytes", "path": f"{place}.bin"}, False
    if type(value).__module__ == "numpy" and type(value).__name__ == "ndarray" and not value.dtype.hasobject:
        buffer = io.BytesIO()
        importlib.import_module("numpy").save(buffer, value, allow_pickle=False)
        draft.add(f"{place}.npy", buffer.getvalue())
        return {"kind": "array", "path": f"{place}.npy"}, False
    owner = claiming(value)
    if owner is not None:
        return _by_framework(draft, place, owner, value, trusted=trusted)
    try:
        content = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        if json.loads(content) != value:  # a tuple, a key that is no text
            raise TypeError("JSON would change it")
    except (TypeError, ValueError, RecursionError) as error:
        if not trusted:
            raise ModelError(
                f"side object {name!r} of type {type(value).__qualname__} cannot be written without pickle ({error})",
                hint="make it text, bytes, JSON, a file's Path or a framework's object; or pass trusted=True to pickle it",
            ) from None
        return _by_framework(draft, place, room("pickle"), value, trusted=True)
    draft.add(f"{place}.json", content)
    return {"kind": "json", "path": f"{place}.json"}, False


def _by_framework(draft: Draft, place: str, owner: Room, value: Any, *, trusted: bool) -> tuple[dict[str, str], bool]:
    """Have a framework's room write an object of its own."""
    folder = draft.files / place
    folder.mkdir(parents=True)
    written = owner.write(value, folder, example=None, trusted=trusted, options={})
    said = {"framework": owner.name, "format": written.format, "options": json.dumps(written.options)}
    return {"kind": "framework", "path": place, **said}, written.code


def read_side(stored: Stored, name: str, device: str) -> Any:
    """Return a side object of a verified model; a file or folder as its Path.

    Raises:
        NotFoundError: there is none of that name. TrustError: it bears code and the model has no mark.
    """
    side = stored.manifest.objects.get(name)
    if side is None:
        known = list(stored.manifest.objects)
        raise NotFoundError(
            f"{stored.ref} has no side object {name!r}",
            hint=nearest(name, known) or (f"there are {', '.join(known)}" if known else "it has none"),
        )
    path = stored.folder / side["path"]
    kind = side.get("kind", "")
    if kind == "json":
        return json.loads(path.read_bytes())
    if kind == "text":
        return path.read_bytes().decode()
    if kind == "bytes":
        return path.read_bytes()
    if kind == "array":
        return importlib.import_module("numpy").load(path, allow_pickle=False)
    if kind in ("file", "folder"):
        return path
    if kind != "framework":
        raise ModelError(f"{stored.ref}: side object {name!r} is of a kind {kind!r} that this Tiffin does not know")
    owner = room(side.get("framework", ""))
    if owner.name == "pickle" and stored.trust is None:
        raise TrustError(f"{stored.ref}: side object {name!r} is a pickle and the model is not trusted")
    prefix = f"{side['path']}/"
    manifest = msgspec.structs.replace(
        stored.manifest,
        framework=owner.name,
        format=side.get("format", ""),
        options=json.loads(side.get("options", "{}")),
        objects={},
        example="",
        files=[
            msgspec.structs.replace(entry, path=entry.path.removeprefix(prefix))
            for entry in stored.manifest.files
            if entry.path.startswith(prefix)
        ],
    )
    return owner.read(stored._replace(folder=path, manifest=manifest), device, {})
