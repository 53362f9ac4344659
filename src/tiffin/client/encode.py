"""Arguments → the body of one call, chosen by the method's schema.

Owns which media type is sent and which is asked for; never sends. Arrays go in binary: one alone as `.npy`, several in msgpack
(extension 1, as services speak among each other); files as multipart/form-data; the rest as JSON. JSON has no NaN: numbers that are
none go in msgpack, too. numpy is imported only when an array is among the arguments.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

import msgspec

from tiffin.client import tables
from tiffin.client.files import NamedFile, Piece, as_file, size_of
from tiffin.client.multipart import Part, multipart
from tiffin.client.schema import FILE_KINDS, Json, MethodSchema, ParamSchema, array_of, holds, is_text, kind_of
from tiffin.codecs.npy import NAMES, write_head
from tiffin.codecs.results import encode_json, encode_msgpack

JSON, NPY, MSGPACK = "application/json", "application/x-npy", "application/msgpack"
TEXT, BYTES, FORM = "text/plain", "application/octet-stream", "multipart/form-data"
SSE, NDJSON = "text/event-stream", "application/x-ndjson"


class Encoded(msgspec.Struct, frozen=True):
    """A body and what is said of it.

    Attributes:
        content_type: of the body. accept: what the answer should be. pieces: the body.
    """

    content_type: str
    accept: str
    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum(map(size_of, self.pieces))


class _BinaryNeeded(Exception):
    """JSON cannot say it, or not well."""


def encode(
    method: MethodSchema, arguments: Mapping[str, Any], definitions: Mapping[str, Json], accept: str = ""
) -> Encoded:
    """Return the body of a call.

    Args:
        method: what is called. arguments: by name. definitions: the schema's. accept: media type to ask for, "" for the best one.

    Raises:
        Error: INVALID_INPUT: an array that the method does not take, as the server would say it.
        TypeError: a value that cannot be sent.
        OSError: a file that cannot be read.
    """
    content_type, pieces = _body(method, arguments)
    return Encoded(content_type, accept or best_answer(method, definitions), tuple(pieces))


def best_answer(method: MethodSchema, definitions: Mapping[str, Json]) -> str:
    """Return the Accept header that loses nothing of the method's results."""
    gives = method.gives
    if method.streams:
        # Events carry the reason of an error; but only a line of JSON tells the text "5" from the number.
        exact = SSE if method.returns else NDJSON
        return exact if exact in gives else gives[0]
    if not any(media in gives for media in (JSON, TEXT, BYTES)):
        return "*/*"  # the method has one media type of its own
    if tables.ARROW in gives and _is_rows(method.returns) and tables.arrow_is_there():
        return f"{tables.ARROW}, {JSON};q=0.5"
    if kind_of(method.returns)[0] in FILE_KINDS and gives[0] not in (JSON, FORM):
        return "*/*"  # the file itself, of its own media type
    if NPY in gives and method.returns:
        return f"{NPY}, {JSON};q=0.5"
    if gives[0] in (TEXT, BYTES) and method.returns:
        return gives[0]
    binary = holds(method.returns, definitions, "array") or holds(method.returns, definitions, "bytes")
    # In msgpack a time would come as a datetime, where the schema says text.
    return f"{MSGPACK}, {JSON};q=0.5" if binary and not holds(method.returns, definitions, "time") else JSON


def _is_rows(schema: Json) -> bool:
    """Say whether a table has columns of its own: a column alone would come as a table, too."""
    return kind_of(schema)[0] == "table" and schema.get("items", schema).get("type") == "object"


def _body(method: MethodSchema, arguments: Mapping[str, Any]) -> tuple[str, Sequence[Piece]]:
    if method.whole_body and arguments:
        (value,) = arguments.values()
        raw = _raw(method, value)
        if raw is not None:
            return raw
    if FORM in method.takes and _fits_form(method, arguments):
        return multipart(_parts(method, arguments))
    values = {param.name: _value(param, arguments[param.name]) for param in method.params if param.name in arguments}
    alone = next(iter(values.values()), None) if len(method.params) == 1 else None
    if tables.ARROW in method.takes and tables.is_table(next(iter(arguments.values()), None)) and len(arguments) == 1:
        packed = tables.arrow_bytes(next(iter(arguments.values())))
        if packed is not None:
            return tables.ARROW, [packed]
    if NPY in method.takes and is_array(alone):
        return NPY, _npy(alone)
    content = next(iter(values.values())) if method.whole_body and values else values
    return _json_or_msgpack(content, binary=any(isinstance(one, bytes | bytearray) for one in values.values()))


def _json_or_msgpack(content: Any, *, binary: bool) -> tuple[str, Sequence[Piece]]:
    if not binary:
        try:
            body = _encode_json(content)
            if b"null" not in body or not _has_nan(content):
                return JSON, [body]
        except _BinaryNeeded:
            pass
    try:
        return MSGPACK, [encode_msgpack(content)]
    except OverflowError as error:
        raise TypeError("an integer of more than 64 bits cannot go together with arrays, bytes or NaN") from error


def _raw(method: MethodSchema, value: Any) -> tuple[str, Sequence[Piece]] | None:
    """Return the body of a method that takes plain text or bytes, None where the value is something else."""
    if TEXT in method.takes and isinstance(value, str):
        return f"{TEXT}; charset=utf-8", [value.encode()]
    if BYTES in method.takes:
        file = as_file(value, method.params[0].name)
        if file is not None:
            # A type that the server would read as text or JSON is not claimed: these are bytes.
            claimed = file.media.startswith(("image/", "audio/", "video/")) and method.takes[0] == BYTES
            return file.media if claimed else BYTES, [file.content]
    return None


def _fits_form(method: MethodSchema, arguments: Mapping[str, Any]) -> bool:
    """Say whether a form can hold the arguments: there are files, and no text that is None, for which a form has no word."""
    params = [param for param in method.params if param.name in arguments]
    files = any(kind_of(param.schema)[0] in FILE_KINDS for param in params)
    return files and not any(arguments[param.name] is None and is_text(param.schema) for param in params)


def _parts(method: MethodSchema, arguments: Mapping[str, Any]) -> Iterable[Part]:
    """Yield the parts of a form: files as they are, text as text, the rest as JSON."""
    for param in method.params:
        if param.name not in arguments:
            continue
        value = arguments[param.name]
        kind, many = kind_of(param.schema)
        if kind in FILE_KINDS:
            items = list(value) if many and _is_list(value) else [value]
            if not items or value is None:
                yield param.name, encode_json(value)  # what a form has no part for is said in JSON
            elif any(one is None for one in items):
                raise TypeError(f"{param.name}: None among the files of a list cannot be sent")
            else:
                for one in items:
                    yield param.name, _file(one, param.name)
        elif isinstance(value, str) and is_text(param.schema):
            yield param.name, value
        else:
            yield param.name, encode_json(_value(param, value))


def _file(value: Any, param: str) -> NamedFile | str:
    """Return a file's part; an address is sent as text, for servers that fetch files by URL.

    Raises:
        TypeError: it is no file.
    """
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        return value
    if is_array(value):
        value = _picture_of(value, param)
    file = as_file(value, param)
    if file is None:
        hint = f": a path is pathlib.Path({value!r})" if isinstance(value, str) else ""
        raise TypeError(
            f"{param} takes a path object, an open binary file, bytes or a picture, got {type(value).__name__}{hint}"
        )
    return file


def _picture_of(array: Any, param: str) -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise TypeError(
            f"{param}: an array becomes a picture with Pillow, which is not installed: pip install pillow"
        ) from error
    return Image.fromarray(array)


def _value(param: ParamSchema, value: Any) -> Any:
    """Return a value as the encoders take it: an array of the declared type, rows of a table, the bytes of a file."""
    kind, many = kind_of(param.schema)
    if kind == "array" and (is_array(value) or tables.is_table(value)):
        from tiffin.codecs.arrays import ArrayReader, as_array  # there is an array, so numpy is loaded already

        type = array_of(param.schema)
        return ArrayReader(type, param.name).conform(as_array(value))
    if tables.is_table(value):
        return tables.rows(value)
    if kind in FILE_KINDS:
        return [_bytes(one, param.name) for one in value] if many and _is_list(value) else _bytes(value, param.name)
    return value


def _bytes(value: Any, param: str) -> Any:
    """Return the bytes of a file, anything else as it is."""
    file = as_file(value, param)
    if file is None:
        return value
    content = file.content
    return bytes(content) if isinstance(content, bytes | memoryview) else b"".join(content.chunks())


def _npy(value: Any) -> Sequence[Piece]:
    """Return an array as the pieces of a `.npy` body, its elements without a copy.

    Raises:
        TypeError: its elements do not travel.
    """
    from tiffin.codecs.arrays import as_array, elements  # there is an array, so numpy is loaded already

    array = as_array(value)
    if array.dtype.str[1:] not in NAMES:
        raise TypeError(f"an array of {array.dtype} cannot be sent: numbers and booleans only")
    return [write_head(array.dtype.str, array.shape), elements(array)]


def is_array(value: Any) -> bool:
    """Say whether a value is an array or a tensor, and not a number of such a library."""
    return (
        hasattr(value, "__array__")
        and bool(getattr(value, "shape", ()))
        and not tables.is_table(value)
        and not hasattr(value, "getbands")
    )


def _is_list(value: Any) -> TypeGuard[Iterable[Any]]:
    return isinstance(value, list | tuple | set | frozenset)


def _is_mapping(value: Any) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def _json_hook(value: Any) -> Any:
    if tables.is_table(value):
        return tables.rows(value)
    if is_array(value):
        raise _BinaryNeeded
    return msgspec.Raw(encode_json(value))


_encode_json = msgspec.json.Encoder(enc_hook=_json_hook).encode


def _has_nan(value: Any) -> bool:
    """Say whether a number in there is none: JSON would make it null."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if _is_mapping(value):
        return any(map(_has_nan, value.values()))
    if _is_list(value):
        return any(map(_has_nan, value))
    if hasattr(value, "__struct_fields__") or hasattr(value, "__dataclass_fields__"):
        return _has_nan(msgspec.to_builtins(value, enc_hook=repr))
    return False
