"""Results → bodies, in the worker: one value, the parts of a batch, the items of a stream.

Owns how a value is written in each media type and how rows are told apart again; never runs a method. JSON has no NaN and no
infinity: both are written as null (msgpack and `.npy` carry them). numpy, torch and pydantic values are known by what they can do,
so that none of these libraries is loaded here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import accumulate
from pathlib import PurePath
from typing import Any, TypeGuard, cast

import msgspec
from msgspec import Raw

from tiffin.codecs.file_results import OutFile, image_file, of_pillow
from tiffin.codecs.npy import NAMES, write_head
from tiffin.codecs.table_results import cut, is_table, json_value, row_count, table_body, table_extension
from tiffin.errors import Code, Error, Failed
from tiffin.messages.link import Media
from tiffin.spec.service import MethodSpec
from tiffin.spec.types import TupleType, table_of

Encoded = tuple[bytes, int, str]
_JSON, _NPY, _MSGPACK, _TEXT, _BYTES, _SSE, _NDJSON = range(7)
_TABLES = {
    name.partition(";")[0]: Media.NAMES.index(name) for name in (Media.NAMES[8], Media.NAMES[9], Media.NAMES[10])
}
_PLAIN: tuple[Any, ...] = (str, bytes, int, float)
_LINE = re.compile(rb"\r\n|\r|\n")


class ResultCodec:
    """See the module.

    Args:
        method: whose results.
    """

    def __init__(self, method: MethodSpec) -> None:
        self.method = method
        self._name = method.media
        table = table_of(method.returns)
        self._by_columns = table is not None and table.orient == "columns"

    # -- one value ---------------------------------------------------------------------------------------------------------

    def encode(self, value: Any, accept: int) -> Encoded:
        """Return body, media number and, where the method fixes it, the media type's name.

        Args:
            value: what the method returned. accept: media number that was asked for, -1 for the value's own.

        Raises:
            Error: BAD_OUTPUT: it cannot be written.
        """
        try:
            if is_table(value):
                return self._encode_table(value, accept)
            if accept == _JSON and not self._name:
                return (_json(value), _JSON, "")
            return self._encode_as(on_host(value), accept)
        except Error:
            raise
        except Exception as error:  # wall: the user's own types write themselves here
            raise self._bad(error) from error

    def _encode_table(self, value: Any, accept: int) -> Encoded:
        media = _TABLES.get(self._name, _JSON) if self._name else accept
        if media in _TABLES.values():
            return (table_body(value, media), media, self._name)
        if media == _MSGPACK:
            return (encode_msgpack(value), _MSGPACK, "")
        return (_json(json_value(value, columns=self._by_columns, single=self.method.one_row)), _JSON, self._name)

    def _encode_as(self, value: Any, accept: int) -> Encoded:
        own = accept < 0 or bool(self._name)
        if type(value) is str and (own or accept == _TEXT):
            return (value.encode(), _TEXT, self._name)
        if _is_bytes(value) and (own or accept in (_BYTES, _TEXT)):
            return (bytes(value), _BYTES, self._name)
        if own and not self._name and of_pillow(value):
            file = image_file(value)
            return (file.data, _BYTES, file.media)
        if accept == _MSGPACK and not self._name:
            return (encode_msgpack(value), _MSGPACK, "")
        if accept == _NPY and not self._name and hasattr(value, "__array__"):
            return (_npy(value), _NPY, "")
        return (_json(value), _JSON, self._name)

    def _bad(self, error: Exception) -> Error:
        if isinstance(error, RecursionError):
            reason = "nested too deep, or contains itself"
        else:
            reason = f"{type(error).__name__}: {error}"[:500]
        return Error(f"method {self.method.name!r} returned what cannot be sent: {reason}", code=Code.BAD_OUTPUT)

    # -- the parts of a batch ----------------------------------------------------------------------------------------------

    def split(self, result: Any, counts: Sequence[int]) -> list[Any]:
        """Return each call's part of the result of a batch: its rows, or the one row alone where clients send single rows.

        Args:
            result: array with rows along the batch dimension, list, or dict or tuple of these. counts: rows of each call.

        Raises:
            Error: BAD_OUTPUT: not as many rows as went in.
        """
        ends = list(accumulate(counts))
        result = on_host(result)
        return self._split(result, [*zip([0, *ends], ends, strict=False)], ends[-1] if ends else 0)

    def _split(self, result: Any, spans: list[tuple[int, int]], total: int) -> list[Any]:
        if _is_dict(result):
            columns = {key: self._split(part, spans, total) for key, part in result.items()}
            return [{key: column[index] for key, column in columns.items()} for index in range(len(spans))]
        if _is_tuple(result) and self._is_columns(result, total):
            parts = [self._split(part, spans, total) for part in result]
            return [tuple(each) for each in zip(*parts, strict=True)]
        dim = self.method.batch_dim
        single = self.method.one_row
        if _is_rows(result):
            self._check_rows(len(result), total)
            return (
                [result[start] for start, _ in spans] if single else [list(result[start:end]) for start, end in spans]
            )
        if is_table(result):
            self._check_rows(row_count(result), total)
            return [cut(result, start, end) for start, end in spans]
        shape = getattr(result, "shape", None)
        if shape is None or len(shape) <= dim:
            raise Error(
                f"method {self.method.name!r} returned {type(result).__name__}, from which {total} rows cannot be told apart: "
                "return an array, a list, or a dict or tuple of these",
                code=Code.BAD_OUTPUT,
            )
        self._check_rows(int(shape[dim]), total)
        table: Any = result
        before = (slice(None),) * dim
        if single:
            return [table[(*before, start)] for start, _ in spans]
        return [table[(*before, slice(start, end))] for start, end in spans]

    def _is_columns(self, result: tuple[Any, ...], total: int) -> bool:
        """Say whether a tuple holds columns, each with all rows, and is not itself the rows."""
        if isinstance(self.method.returns, TupleType):
            return True
        return (
            bool(result)
            and all(
                isinstance(part, list | dict) or len(getattr(part, "shape", ())) > self.method.batch_dim
                for part in result
            )
            and (len(result) != total or all(_length(part) == total for part in result))
        )

    def _check_rows(self, rows: int, total: int) -> None:
        if rows != total:
            raise Error(
                f"method {self.method.name!r} got {total} rows and returned {rows}: return one for each, in order",
                code=Code.BAD_OUTPUT,
            )

    def encode_batch(self, result: Any, counts: Sequence[int], accepts: Sequence[int]) -> list[Encoded | Error]:
        """Return each call's body, or why it has none (a row that is `tiffin.Failed`, a row that cannot be written).

        Args:
            result: as in `split`. counts: rows of each call. accepts: media number that each asked for, -1 for the value's own.

        Raises:
            Error: BAD_OUTPUT: not as many rows as went in; nobody has an answer.
        """
        result = on_host(result)
        plain = not any(accept > 0 for accept in accepts) and not self._name
        if plain and is_table(result):
            try:
                result = json_value(result, columns=self._by_columns)  # all rows at once, as below
            except Error:
                raise
            except Exception as error:  # wall: a table holds objects of the user's
                raise self._bad(error) from error
        if plain and self.method.batch_dim == 0 and hasattr(result, "tolist") and getattr(result, "shape", None):
            # All rows become Python objects at once: many small conversions would cost several times as much.
            rows: list[Any] = result.tolist()
            total = sum(counts)
            self._check_rows(len(rows), total)
            if self.method.one_row:
                return [(_json(row), _JSON, "") for row in rows]
            if len(counts) == total:
                return [(_json([row]), _JSON, "") for row in rows]
            ends = accumulate(counts)
            return [(_json(rows[end - count : end]), _JSON, "") for end, count in zip(ends, counts, strict=True)]
        parts = self.split(result, counts)
        return [self._encode_part(part, accept) for part, accept in zip(parts, accepts, strict=True)]

    def _encode_part(self, part: Any, accept: int) -> Encoded | Error:
        failed = _failed(part)
        if failed is not None:
            return failed.error
        try:
            return self.encode(part, accept)
        except Error as error:
            return error

    # -- the items of a stream ---------------------------------------------------------------------------------------------

    def encode_item(self, item: Any, media: int) -> bytes:
        """Return one item of a stream: an event (SSE), a line (NDJSON), a packed value (msgpack), or its plain text or bytes.

        Args:
            item: str and bytes as they are, anything else as JSON. media: number of the stream's media type.

        Raises:
            Error: BAD_OUTPUT: it cannot be written.
        """
        try:
            if media == _MSGPACK:
                return encode_msgpack(item)
            if media == _NDJSON:
                return _json(item) + b"\n"
            data: bytes
            if isinstance(item, str):
                data = item.encode()
            elif _is_bytes(item):
                data = bytes(item) if media != _SSE else _json(item)
            else:
                data = _json(item)
            if media != _SSE:
                return data
            if b"\n" in data or b"\r" in data:
                return b"".join(b"data: %b\n" % line for line in _LINE.split(data)) + b"\n"
            return b"data: %b\n\n" % data
        except Exception as error:  # wall: the user's own types write themselves here
            raise self._bad(error) from error


def _is_bytes(value: Any) -> TypeGuard[bytes]:
    return isinstance(value, bytes | bytearray | memoryview)


def _is_dict(value: Any) -> TypeGuard[dict[Any, Any]]:
    return isinstance(value, dict)


def _is_tuple(value: Any) -> TypeGuard[tuple[Any, ...]]:
    return isinstance(value, tuple)


def _is_rows(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple)


def _failed(part: Any) -> Failed | None:
    """Return the first failed row of a call's part."""
    if isinstance(part, Failed):
        return part
    columns = list(part.values()) if _is_dict(part) else part
    if _is_rows(columns):
        for row in columns:
            if isinstance(row, Failed):
                return row
            if not isinstance(part, list) and isinstance(row, list):
                found = _failed(row)
                if found is not None:
                    return found
    return None


def _length(part: Any) -> int:
    if _is_dict(part):
        return len(next(iter(part.values()), ()))
    shape = getattr(part, "shape", None)
    return len(part) if shape is None else int(shape[0])


def on_host(value: Any) -> Any:
    """Return a value whose tensors are where they can be written: on the CPU, without gradients, in one copy each.

    Args:
        value: a tensor, or a dict or tuple of columns; anything else is returned as it is.
    """
    if _is_dict(value):
        return {key: on_host(part) for key, part in value.items()}
    if _is_tuple(value) and type(value) is tuple:
        return tuple(on_host(part) for part in value)
    tensor: Any = value
    if hasattr(tensor, "detach") and hasattr(tensor, "cpu"):  # PyTorch
        return tensor.detach().cpu()
    if hasattr(tensor, "numpy") and hasattr(tensor, "shape") and not hasattr(tensor, "tolist"):  # TensorFlow
        return tensor.numpy()
    return tensor


def _plain(value: Any) -> Any:
    """Return what msgspec can write instead of a value that it does not know (JSON and msgpack).

    Raises:
        TypeError: nobody knows how to write it.
    """
    if is_table(value):
        return json_value(value)
    if isinstance(value, OutFile):
        return value.data
    value = on_host(value)
    if hasattr(value, "tolist"):  # numpy, torch, pandas' series, jax
        return value.tolist()
    if isinstance(value, str | bytes | int | float):  # subclasses, such as torch.__version__
        return next(base for base in type(value).__mro__ if base in _PLAIN)(value)
    if isinstance(value, Mapping):
        return dict(cast("Any", value))
    if isinstance(value, Sequence | AbstractSet):
        return list(cast("Any", value))
    if isinstance(value, PurePath):
        return str(value)
    if of_pillow(value):
        return image_file(value).data
    if hasattr(value, "__pydantic_serializer__"):
        return value.__pydantic_serializer__.to_python(value, mode="json", by_alias=True)
    raise TypeError(
        f"{type(value).__name__} is no type that can be written; return JSON types, arrays, dataclasses or models"
    )


def _json_hook(value: Any) -> Any:
    serializer = getattr(value, "__pydantic_serializer__", None)
    return _plain(value) if serializer is None else Raw(serializer.to_json(value, by_alias=True))


def _msgpack_hook(value: Any) -> Any:
    if is_table(value):
        return table_extension(value)
    if hasattr(value, "__array__") and len(getattr(value, "shape", ())):
        from tiffin.codecs.arrays import as_array, extension  # the value is an array: numpy is loaded already

        return extension(as_array(value))
    serializer = getattr(value, "__pydantic_serializer__", None)
    return _plain(value) if serializer is None else serializer.to_python(value, by_alias=True)


encode_json = msgspec.json.Encoder(enc_hook=_json_hook).encode
_json = encode_json

encode_msgpack = msgspec.msgpack.Encoder(enc_hook=_msgpack_hook).encode


def _npy(value: Any) -> bytes:
    """Return an array as a `.npy` body.

    Raises:
        TypeError: its elements are neither numbers nor booleans.
    """
    from tiffin.codecs.arrays import as_array, elements  # the value is an array: numpy is loaded already

    array = as_array(value)
    if array.dtype.str[1:] not in NAMES:
        raise TypeError(f"an array of {array.dtype} cannot be written as .npy")
    return b"".join((write_head(array.dtype.str, array.shape), elements(array)))
