"""Answers → values, by their media type and by what the method's schema says of its result.

Owns the reading of whole answers and of streams piece by piece; never receives one. numpy is imported where an array was answered.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import msgspec

from tiffin.client import tables
from tiffin.client.schema import Json, array_of, holds, is_json, is_list, kind_of
from tiffin.errors import Code, Error

_TABLE = 2  # msgpack's extension of tables, an Arrow stream
_REFERENCES = 16  # one after the other; a server's schema is not trusted to end

Failed = Callable[[bytes], Error]


class UnreadableError(ValueError):
    """An answer that is not what its media type says."""


def media_of(content_type: str) -> str:
    """Return a media type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


class Result:
    """What a method's schema says of its result, or of one item of its stream.

    Args:
        schema: JSON Schema. definitions: for its references.
    """

    def __init__(self, schema: Json, definitions: Mapping[str, Json]) -> None:
        self.schema = schema
        self._definitions = definitions
        self._deep = holds(schema, definitions, "array") or holds(schema, definitions, "bytes")

    def shaped(self, value: Any) -> Any:
        """Return decoded JSON as what the schema says it is: arrays of their lists, the bytes of base64, a table of rows."""
        return self._shaped(value, self.schema) if self._deep or kind_of(self.schema)[0] != "json" else value

    def _shaped(self, value: Any, schema: Json) -> Any:
        kind = kind_of(schema)[0]
        if value is None:
            return None
        if kind == "array":
            import numpy as np

            type = array_of(schema)
            return np.asarray(value, None if type.dtype in ("", "str") else type.dtype)
        if kind in ("bytes", "image", "file") and isinstance(value, str):
            return base64.b64decode(value, validate=True)
        if kind == "table":
            return tables.read_rows(value)
        return self._inside(value, schema)

    def _inside(self, value: Any, schema: Json) -> Any:
        """Return a value with the parts inside it shaped. A union is left alone: which variant it is cannot be known here."""
        found = schema
        for _step in range(_REFERENCES):
            if "$ref" not in found:
                break
            found = self._definitions.get(str(found["$ref"]).rpartition("/")[2], {})
        if is_json(value):
            fields, others = found.get("properties", {}), found.get("additionalProperties")
            schemas = {key: fields.get(key, others) for key in value}
            return {
                key: self._shaped(part, schemas[key]) if is_json(schemas[key]) else part for key, part in value.items()
            }
        if is_list(value):
            first = found.get("prefixItems", [])
            each = [*first, *[found.get("items")] * (len(value) - len(first))]
            return [self._shaped(part, one) if is_json(one) else part for part, one in zip(value, each, strict=False)]
        return value


def decode(result: Result, content_type: str, body: bytearray, *, pictures: bool = False) -> Any:
    """Return the value of a whole answer.

    Args:
        result: what the method gives. content_type: of the answer. body: all of it; an array becomes a view on it.
        pictures: give images as `PIL.Image` instead of bytes.

    Raises:
        UnreadableError: the body is not what its content type says.
    """
    media = media_of(content_type)
    try:
        if media == "application/json" or media.endswith("+json"):
            return result.shaped(msgspec.json.decode(body))
        if media == "application/x-npy":
            return _array(body)
        if media == "application/msgpack":
            return msgspec.msgpack.decode(body, ext_hook=_extension)
        if media == tables.ARROW:
            return tables.read_arrow(body)
        if media.startswith("image/") and pictures:
            return _picture(body)
        if media.startswith("text/"):
            return body.decode()
    except (msgspec.MsgspecError, RecursionError, Error, ValueError) as error:  # also of base64, UTF-8, pyarrow
        raise UnreadableError(f"it is not {media}: {error}") from error
    return bytes(body)


def _array(body: bytearray) -> Any:
    from tiffin.codecs.arrays import ArrayReader, owned
    from tiffin.spec.types import ArrayType

    view = ArrayReader(ArrayType(), "").binary(body)
    # A bytearray of our own is writable; only an order that this machine does not have needs a copy.
    return view if view.dtype.isnative and view.flags.c_contiguous and view.flags.writeable else owned(view)


def _extension(code: int, data: memoryview) -> Any:
    if code == _TABLE:
        return tables.read_arrow(bytes(data))
    from tiffin.codecs.arrays import own_hook

    return own_hook(code, data)


def _picture(body: bytearray) -> Any:
    try:
        from PIL import Image
    except ImportError:
        return bytes(body)
    return Image.open(io.BytesIO(body))


# -- streams -------------------------------------------------------------------------------------------------------------


class Items:
    """Reads the items of a stream as its bytes arrive.

    Args:
        result: what an item is. content_type: of the stream.
        failed: error event's data → the error to raise.
    """

    def __init__(self, result: Result, content_type: str, failed: Failed) -> None:
        self._result = result
        self._failed = failed
        self._media = media_of(content_type)
        self._text = kind_of(result.schema)[0] == "text"
        self._rest: list[bytes] = []
        self._event = b""
        self._data: list[bytes] = []
        self._decoder: Any = None

    def feed(self, data: bytes) -> Iterator[Any]:
        """Yield the items that are complete with these bytes.

        Raises:
            Error: the stream says that it failed.
            UnreadableError: an item is not what the media type says.
        """
        if self._media == "text/event-stream":
            for line in self._lines(data):
                yield from self._line(line)
        elif self._media in ("application/x-ndjson", "application/jsonl"):
            for line in self._lines(data):
                if line.strip():
                    yield self._json(line)
        elif self._media.startswith("text/"):
            text = self._decode_text(data, final=False)
            if text:
                yield text
        elif data:
            yield data

    def end(self) -> Iterator[Any]:
        """Yield what the end of the stream completes.

        Raises:
            UnreadableError: the stream ends within an item.
        """
        rest, self._rest = b"".join(self._rest).strip(), []
        if self._media == "text/event-stream" and (rest or self._data):
            raise UnreadableError("it ends within an event")
        if rest:
            yield self._json(rest)
        if self._decoder is not None:
            self._decode_text(b"", final=True)

    def _lines(self, data: bytes) -> list[bytes]:
        """Return the complete lines, without what ends them (LF, or CR and LF)."""
        if b"\n" not in data:
            self._rest.append(data)  # joined once, when the line is complete
            return []
        *lines, rest = b"".join((*self._rest, data)).split(b"\n")
        self._rest = [rest]
        return [line.removesuffix(b"\r") for line in lines]

    def _line(self, line: bytes) -> Iterator[Any]:
        if line:
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                self._data.append(value)
            elif name == b"event":
                self._event = value
            return
        event, lines = self._event, self._data
        self._event, self._data = b"", []
        if event == b"error":
            raise self._failed(b"\n".join(lines))
        if lines:
            data = b"\n".join(lines)
            yield self._str(data) if self._text else self._json(data)

    def _str(self, data: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise UnreadableError(f"an item is not UTF-8: {error}") from error

    def _json(self, data: bytes) -> Any:
        try:
            return self._result.shaped(msgspec.json.decode(data))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, binascii.Error) as error:
            raise UnreadableError(f"an item is not JSON: {error}: {data[:80]!r}") from error

    def _decode_text(self, data: bytes, *, final: bool) -> str:
        if self._decoder is None:
            import codecs

            self._decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            return cast("str", self._decoder.decode(data, final))
        except UnicodeDecodeError as error:
            raise UnreadableError(f"it is not UTF-8: {error}") from error


def unreadable(call: str, error: UnreadableError, request_id: str) -> Error:
    """Return the error for an answer that cannot be read."""
    return Error(f"{call}: the answer cannot be read: {error}", code=Code.BAD_OUTPUT, request_id=request_id)
