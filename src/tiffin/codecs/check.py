"""The front's check of a body: refuses only what the worker would refuse, and counts rows.

Owns decoders compiled from one method's spec; never imports numpy, pydantic or user code, and keeps nothing of a body.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.msgpack import Ext

from tiffin.codecs.form_check import FormCheck
from tiffin.codecs.grammar import body_struct, front_type, rows_type
from tiffin.codecs.npy import check_type, read_ext, read_head
from tiffin.codecs.reasons import from_msgspec, invalid
from tiffin.errors import Error
from tiffin.messages.link import Media
from tiffin.spec.service import MethodSpec, Param
from tiffin.spec.types import ArrayType, TableType, one_row

LARGE_BYTES = 262_144
"""JSON above this is only skimmed for its rows: a loop that serves all clients must not decode it."""

Body = bytes | bytearray | memoryview
_JSON, _NPY, _MSGPACK = Media.JSON, Media.NPY, Media.MSGPACK
_FAILURES = (msgspec.MsgspecError, RecursionError, UnicodeError)


class Checker:
    """See the module.

    Args:
        method: whose bodies are checked.
    """

    __slots__ = ("_array", "_counts", "_empty", "_form", "_json", "_large", "_msgpack", "_names", "_path", "_rows")

    def __init__(self, method: MethodSpec) -> None:
        params = method.params
        counting = method.batchable and not method.one_row
        self._empty = not method.whole_body and not any(param.required for param in params)
        self._names = () if method.whole_body else tuple(param.name for param in params)
        self._path = "" if method.whole_body or not params else params[0].name
        full = [_param_type(method, param) for param in params]
        skim = [rows_type(param.type, method.batch_dim) if counting and param.batched else Raw for param in params]
        packed = [_packed_type(param, method.batch_dim) if counting and param.batched else Raw for param in params]
        if counting:
            # The rows of an array whose depth is not known: deep enough to count.
            full = [skim[index] if kind is Raw else kind for index, kind in enumerate(full)]
        if method.whole_body:
            shapes = [full[0], skim[0], packed[0]]
        else:
            shapes = [body_struct(method, types) for types in (full, skim, packed)]
        self._json: Callable[[Body], Any] = msgspec.json.Decoder(shapes[0]).decode
        self._large: Callable[[Body], Any] = msgspec.json.Decoder(shapes[1]).decode
        self._msgpack: Callable[[Body], Any] = msgspec.msgpack.Decoder(shapes[2]).decode
        self._counts = [
            _Count(param, None if method.whole_body else f"p{index}", method.batch_dim)
            for index, param in enumerate(params)
            if counting and param.batched
        ]
        self._rows: Callable[[Any], int] | None = self._equal_rows if self._counts else None
        if len(self._counts) == 1:
            self._rows = self._counts[0].rows
        self._array = _client_array(method)
        self._form = FormCheck(method)

    def check(self, media: int, body: Body) -> int:
        """Check a body other than `.npy`.

        Args:
            media: its number. body: all of it.

        Returns:
            The rows it brings, 1 where the method is not batchable.

        Raises:
            Error: INVALID_INPUT with the path and the reason of what is wrong.
        """
        try:
            if media == _JSON:
                if not body and self._empty:
                    return 1
                value = self._json(body) if len(body) <= LARGE_BYTES else self._large(body)
            elif media == _MSGPACK:
                value = self._msgpack(body)
            elif media == _NPY:
                return self.check_npy(body, len(body))
            else:
                return 1  # text and bytes as a whole body: nothing to count; CSV and the like: the worker counts
        except _FAILURES as error:
            if not body:
                raise invalid("", "the body is empty") from error
            if bytes(body[:6]) == b"\x93NUMPY":  # what a client gets that names no content type
                raise invalid("", "not JSON but .npy: send it with content-type application/x-npy") from error
            raise from_msgspec(error, fields=self._names) from error
        return 1 if self._rows is None else self._rows(value)

    def check_npy(self, head: Body, total: int) -> int:
        """Check a `.npy` body.

        Args:
            head: its beginning, 10,012 bytes at least or all of it. total: size of the body in bytes.

        Returns:
            The rows it brings, 1 where the method is not batchable.

        Raises:
            Error: INVALID_INPUT.
        """
        if self._array is None:
            raise invalid(self._path, "no array is expected here")
        found = read_head(head, total, self._path)
        check_type(found, self._array, self._path)
        if not self._counts:
            return 1
        return self._counts[0].of_shape(found.shape)

    def check_file(self, media: int, body: Body, content_type: str) -> int:
        """Check a form, or a body that is a file; see `FormCheck`."""
        return self._form.check(media, body, content_type)

    def _equal_rows(self, value: Any) -> int:
        first = self._counts[0]
        rows = first.rows(value)
        for count in self._counts[1:]:
            other = count.rows(value)
            if other != rows:
                raise unequal_rows(first.path, rows, count.path, other)
        return rows


class _Count:
    """Counts the rows of one batched parameter."""

    __slots__ = ("_attribute", "_depth", "_table", "path")

    def __init__(self, param: Param, attribute: str | None, batch_dim: int) -> None:
        self._attribute = attribute
        self._depth = batch_dim if isinstance(param.type, ArrayType) else 0
        self._table = isinstance(param.type, TableType)
        self.path = "" if attribute is None else param.name

    def rows(self, value: Any) -> int:
        if self._attribute is not None:
            value = getattr(value, self._attribute)
        if type(value) is Ext:
            return self._packed(value)
        for _ in range(self._depth):
            value = value[0] if value else value
        if self._table and hasattr(value, "values"):
            value = next(iter(value.values()), ())  # a table's columns
        return len(value) or self._none()

    def of_shape(self, shape: tuple[int, ...]) -> int:
        if len(shape) <= self._depth:
            raise invalid(
                self.path, f"expected an array with rows along dimension {self._depth}, got {len(shape)} dimensions"
            )
        return shape[self._depth] or self._none()

    def _packed(self, value: Ext) -> int:
        if value.code == 2 and self._table:
            return 1  # a table: the worker counts
        if value.code != 1:
            raise invalid(self.path, f"msgpack extension {value.code} is not known")
        return self.of_shape(read_ext(memoryview(value.data), self.path)[0].shape)

    def _none(self) -> int:
        raise no_rows(self.path)


def no_rows(path: str) -> Error:
    """Return the error for an argument without rows."""
    return invalid(path, "expected one row at least, got none")


def unequal_rows(path: str, rows: int, other_path: str, other: int) -> Error:
    """Return the error for two arguments of one call that bring different numbers of rows."""
    return invalid(other_path, f"expected {rows} rows as in {path}, got {other}")


def _param_type(method: MethodSpec, param: Param) -> Any:
    batched = method.one_row and param.batched
    return front_type(one_row(param.type, method.batch_dim) if batched else param.type)


def _packed_type(param: Param, batch_dim: int) -> Any:
    nested = rows_type(param.type, batch_dim)
    return Ext | nested if isinstance(param.type, ArrayType | TableType) else nested


def _client_array(method: MethodSpec) -> ArrayType | None:
    """Return the type of a `.npy` body, None where the method has not exactly one array."""
    if len(method.params) != 1:
        return None
    param = method.params[0]
    kind = one_row(param.type, method.batch_dim) if method.one_row and param.batched else param.type
    return kind if isinstance(kind, ArrayType) else None
