"""Files in results: images, paths and bytes → bytes with a media type, alone or inside other values.

Owns how a file among a method's results is written; never chooses between JSON and a form. Pillow is loaded by whoever made an
image, and by nobody else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, cast

import msgspec

from tiffin.codecs.multipart import OutPart
from tiffin.codecs.sniff import HEAD_BYTES, sniff, suffix
from tiffin.spec.types import DictType, FileType, ListType, StructType, TupleType, Type, UnionType, walk

OCTETS = "application/octet-stream"


class OutFile:
    """A file to be sent; not a tuple or record, which JSON would have a way of its own to write.

    Args:
        data: all of it. media: its type. name: of a path that a method returned, "" for the others.
    """

    __slots__ = ("data", "media", "name")

    def __init__(self, data: bytes, media: str, name: str = "") -> None:
        self.data = data
        self.media = media
        self.name = name


def out_file(file: FileType, value: Any) -> OutFile:
    """Return a file as it is sent.

    Args:
        file: what the annotation says; its media type, if it names one, is the file's. value: image, path or bytes.

    Raises:
        TypeError: it is none of these. OSError: the path cannot be read. ValueError: the image cannot be written so.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(cast("bytes", value))
        return OutFile(data, file.media or sniff(data[:HEAD_BYTES]) or OCTETS)
    if isinstance(value, PurePath):
        data = Path(value).read_bytes()
        return OutFile(data, file.media or sniff(data[:HEAD_BYTES]) or OCTETS, value.name)
    if of_pillow(value):
        from tiffin.codecs.images import write_image  # Pillow is loaded: the value is an image

        return OutFile(*write_image(value, file.media, "the result"))
    raise TypeError(f"{type(value).__name__} where the annotation says {file.form}: return an image, a path or bytes")


def of_pillow(value: Any) -> bool:
    """Say whether a value is an image, without loading Pillow."""
    return any(base.__module__ == "PIL.Image" and base.__name__ == "Image" for base in type(value).__mro__)


def image_file(value: Any) -> OutFile:
    """Return an image that no annotation speaks of, as PNG."""
    return out_file(FileType(form="image"), value)


def lowered(kind: Type, value: Any) -> Any:
    """Return a value with each file in it, where its type says that there is one, as an `OutFile`.

    Containers on the way are new lists and dicts; what has no file in it stays what it is. Rows that a batch was split into
    are taken where the type says a list of them.
    """
    if value is None or not any(isinstance(part, FileType) for part in walk(kind)):
        return value
    match kind:
        case FileType():
            return out_file(kind, value)
        case UnionType():
            inner = next(part for part in kind.variants if any(isinstance(deep, FileType) for deep in walk(part)))
            return lowered(inner, value)
        case ListType():
            many = isinstance(value, list | tuple | set | frozenset)
            return [lowered(kind.item, item) for item in cast("Any", value)] if many else lowered(kind.item, value)
        case TupleType():
            return [lowered(item, part) for item, part in zip(kind.items, value, strict=True)]
        case DictType():
            return {key: lowered(kind.value, part) for key, part in value.items()}
        case StructType():
            return _struct(kind, value)
        case _:
            return value


def _struct(kind: StructType, value: Any) -> Any:
    """Return the fields of a record, in the kind of container that it is in JSON."""
    found: dict[str, Any] = {}
    for field in kind.fields:
        attribute = field.attribute or field.name
        if isinstance(value, Mapping):
            if attribute not in value:
                continue
            part = cast("Any", value)[attribute]
        else:
            part = getattr(value, attribute)
        found[field.name] = lowered(field.type, part)
    return list(found.values()) if kind.array_like else found


def form_parts(value: Any, to_json: Callable[[Any], bytes]) -> Iterator[OutPart]:
    """Yield the parts of a form: one per key or index, one per file of a list; what is no file as text or JSON.

    Args:
        value: what `lowered` returned. to_json: writes what is no file.
    """
    for name, part in _fields(value):
        files = part if _all_files(part) else [part]
        for one in files:
            if isinstance(one, OutFile):
                yield OutPart(name, one.name or f"{name}{suffix(one.media)}", one.media, one.data)
            elif isinstance(one, str):
                yield OutPart(name, "", "text/plain; charset=utf-8", one.encode())
            else:
                yield OutPart(name, "", "application/json", to_json(one))


def _all_files(part: Any) -> bool:
    return bool(part) and isinstance(part, list) and {type(one) for one in cast("Sequence[Any]", part)} == {OutFile}


def _fields(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(str(key), part) for key, part in cast("Mapping[Any, Any]", value).items()]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, msgspec.Struct):
        return [(field.encode_name, getattr(value, field.name)) for field in msgspec.structs.fields(value)]
    if isinstance(value, list | tuple):
        return [(str(index), part) for index, part in enumerate(cast("Sequence[Any]", value))]
    raise TypeError(f"{type(value).__name__} has no fields that could be the parts of a form")
