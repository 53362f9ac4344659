"""Bytes ↔ values of one method, in the worker: the bodies of calls become arguments, results become bodies.

Owns the decoders compiled from a method's annotations and the joining of several calls' rows; never runs the method. Arrays that a
method gets are its own: one copy per call, or one for all calls of a batch (counted in `copies`).
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, TypeGuard

import msgspec
from msgspec import UNSET

from tiffin.codecs.check import no_rows, unequal_rows
from tiffin.codecs.copies import copies
from tiffin.codecs.fields import FAILURES, FieldReader, hooks, text, text_reader
from tiffin.codecs.grammar import body_struct
from tiffin.codecs.reasons import from_msgspec, invalid
from tiffin.codecs.results import ResultCodec
from tiffin.codecs.uploads import Incoming
from tiffin.errors import Code, Error
from tiffin.messages.link import Media
from tiffin.spec.service import MethodSpec

__all__ = ["DecodedBatch", "MethodCodec", "copies"]

Body = bytes | bytearray | memoryview
Member = tuple[int, Body] | tuple[int, Body, Incoming]
_JSON, _NPY, _MSGPACK, _TEXT, _BYTES = Media.JSON, Media.NPY, Media.MSGPACK, Media.TEXT, Media.BYTES
_TABLES = (Media.CSV, Media.PARQUET, Media.ARROW)


class DecodedBatch(msgspec.Struct):
    """The calls of one batch, joined.

    Attributes:
        arguments: by name, the rows of the good members one after the other.
        counts: rows of each good member, in their order.
        errors: by index of the member, why it is not among them.
        rest: indices of members whose rows are of another shape or element type than the first one's, so that no array can
            hold both: decode and run them after these.
    """

    arguments: dict[str, Any]
    counts: list[int]
    errors: dict[int, Error]
    rest: list[int]


class MethodCodec(ResultCodec):
    """See the module.

    Args:
        method: as data. function: the same in the user's code, bound or not; its annotations are read.
    """

    def __init__(self, method: MethodSpec, function: Callable[..., Any]) -> None:
        super().__init__(method)
        hints = typing.get_type_hints(inspect.unwrap(getattr(function, "__func__", function)), include_extras=True)
        empty = inspect.Parameter.empty
        self._fields = [FieldReader(method, param, hints.get(param.name, empty)) for param in method.params]
        self._whole = method.whole_body
        self._names = () if method.whole_body else tuple(param.name for param in method.params)
        self._array = self._fields[0].array if len(self._fields) == 1 else None
        self._table = self._fields[0].table if len(self._fields) == 1 else None
        self._tables = any(field.table is not None for field in self._fields)
        self._default = not method.whole_body and not any(field.required for field in self._fields)
        class_hook, ext_hook = hooks(method.params)
        fields = self._fields
        self._json = msgspec.json.Decoder(self._shape([field.json for field in fields]), dec_hook=class_hook).decode
        self._packed = msgspec.msgpack.Decoder(
            self._shape([field.packed for field in fields]), dec_hook=class_hook, ext_hook=ext_hook
        ).decode
        self._lax: Callable[[Body], Any] | None = None
        if any(field.lax is not None for field in fields):
            lax = [field.json if field.lax is None else field.lax for field in fields]
            self._lax = msgspec.json.Decoder(self._shape(lax), dec_hook=class_hook).decode
        self._text = text_reader(hints.get(fields[0].name, Any)) if method.whole_body else None
        self._unpack = self._unpacker()
        self._after = _steps((field.name, field.after) for field in fields)
        self._after_lax = _steps((field.name, field.after_lax or field.after) for field in fields)
        self._after_packed = _steps((field.name, field.after_packed) for field in fields)
        self._after_view = _steps((field.name, field.after_view or field.after_packed) for field in fields)
        self._after_rows = _steps((field.name, field.after_rows or field.after) for field in fields)
        # One array with rows along dimension 0, or one table of declared types: the common batch.
        self._simple = method.batchable and len(fields) == 1 and fields[0].joined is not None and method.batch_dim == 0

    def _shape(self, types: list[Any]) -> Any:
        """Return the msgspec type of a body whose parameters have these types."""
        return types[0] if self._whole else body_struct(self.method, types)

    def _unpacker(self) -> Callable[[Any], dict[str, Any]]:
        """Return what makes arguments by name of a decoded body."""
        fields = self._fields
        names = [field.name for field in fields]
        if self._whole:
            return lambda value: {names[0]: value}
        if len(fields) == 1 and fields[0].required:
            name = names[0]
            return lambda value: {name: value.p0}
        if all(field.required for field in fields):
            return lambda value: dict(zip(names, _tuple_of(value), strict=True))
        return lambda value: {
            name: part for name, part in zip(names, _tuple_of(value), strict=True) if part is not UNSET
        }

    # -- one call ----------------------------------------------------------------------------------------------------------

    def decode(
        self,
        media: int,
        body: Body,
        incoming: Incoming | None = None,  # noqa: ARG002
        *,
        rows: bool = False,
    ) -> dict[str, Any]:
        """Return the arguments of one call, by name; those that the client left out are not there.

        Args:
            media: number of the body's type. body: all of it; nothing of it is kept. incoming: for methods with files.
            rows: arrays and tables as they are joined with others' rows.

        Raises:
            Error: INVALID_INPUT with path and reason.
        """
        if media != _JSON:
            return self._other(media, body, views=rows)
        if not body and self._default:
            return {}
        after = self._after_rows if rows else self._after
        try:
            value = self._json(body)
        except FAILURES as error:
            if self._lax is None:
                raise from_msgspec(error, fields=self._names) from error
            try:
                value = self._lax(body)
            except FAILURES as lax_error:
                raise from_msgspec(lax_error, fields=self._names) from lax_error
            after = self._after_lax
        arguments = self._unpack(value)
        return arguments if not after else _finished(arguments, after)

    def _other(self, media: int, body: Body, *, views: bool) -> dict[str, Any]:
        """Return the arguments of a call whose body is not JSON; arrays as views on it where asked for."""
        if media == _NPY and self._array is not None:
            view = self._array.binary(body)
            return {self._fields[0].name: view if views else self._array.own(view)}
        if media in _TABLES and self._table is not None:
            table = self._table.binary(media, body)
            return {self._fields[0].name: table if views else self._table.build(table)}
        if media == _MSGPACK:
            try:
                value = self._packed(body)
            except FAILURES as error:
                raise from_msgspec(error, fields=self._names) from error
            return _finished(self._unpack(value), self._after_view if views else self._after_packed)
        if self._text is not None and media in (_TEXT, _BYTES):
            return {self._fields[0].name: self._text(text(body) if media == _TEXT else bytes(body))}
        raise invalid("", f"a body of type {Media.NAMES[media]} cannot be read here")

    # -- calls of one batch ------------------------------------------------------------------------------------------------

    def decode_batch(self, members: Sequence[Member]) -> DecodedBatch:
        """Return the joined arguments of the calls of a batchable method; a bad one is left out, with its error.

        Args:
            members: media number and body of each call, and what else is known of it where the method takes files.
        """
        if self._simple:
            batch = self._join_lists(members)
            if batch is not None:
                return batch
        errors: dict[int, Error] = {}
        rest: list[int] = []
        good: list[dict[str, Any]] = []
        counts: list[int] = []
        wanted: Any = None
        fresh = False
        read = self._reader(members)
        for index, member in enumerate(members):
            try:
                arguments = read(index)
                rows = self._rows(arguments)
                key = self._key(arguments)
            except Error as error:
                errors[index] = error
                continue
            except Exception as error:
                errors[index] = Error(
                    f"reading the input failed: {type(error).__name__}: {error}"[:500], code=Code.METHOD_FAILED
                )
                continue
            if good and key != wanted:
                rest.append(index)
                continue
            if good and self._tables and sum(counts) + rows > self.method.max_batch_size:
                # The front cannot count the rows of CSV, Parquet and Arrow: what is too much at once runs afterwards.
                rest += range(index, len(members))
                break
            wanted = key
            fresh = member[0] == _JSON and not self._tables
            good.append(arguments)
            counts.append(rows)
        if len(good) == 1 and fresh:
            return DecodedBatch(good[0], counts, errors, rest)
        return DecodedBatch(self._joined(good), counts, errors, rest)

    def _reader(self, members: Sequence[Member]) -> Callable[[int], dict[str, Any]]:
        """Return what gives the arguments of one call of a batch, by its index; arrays may be views on its body."""

        def read(index: int) -> dict[str, Any]:
            media, body = members[index][:2]
            return self.decode(media, body, rows=True)

        return read

    def _join_lists(self, members: Sequence[Member]) -> DecodedBatch | None:
        """Return the batch where all bodies are good JSON for one array or table, made at once; None where one is special."""
        decode, whole, single = self._json, self._whole, self.method.one_row
        rows: list[Any] = []
        counts: list[int] = []
        try:
            for media, body, *_ in members:
                if media != _JSON:
                    return None
                value = decode(body) if whole else decode(body).p0
                if single:
                    rows.append(value)
                    counts.append(1)
                elif _is_list(value) and value:
                    rows += value
                    counts.append(len(value))
                else:
                    return None
        except FAILURES:
            return None
        field = self._fields[0]
        array = None if field.joined is None else field.joined.try_lists(rows, exact=True)
        return None if array is None else DecodedBatch({field.name: array}, counts, {}, [])

    def _rows(self, arguments: dict[str, Any]) -> int:
        """Return the rows of one call's arguments; single rows are wrapped in place."""
        dim = self.method.batch_dim
        first = -1
        for field in self._fields:
            value = arguments[field.name]
            if self.method.one_row:
                arguments[field.name] = [value] if field.rows is None else field.rows.wrapped(value, dim)
                first = 1
                continue
            rows = len(value) if field.rows is None else field.rows.rows(value, dim)
            if first < 0:
                first = rows
            if rows != first:
                raise unequal_rows(self._fields[0].path, first, field.path, rows)
            if not rows:
                raise no_rows(field.path)
        return first

    def _key(self, arguments: dict[str, Any]) -> list[Any]:
        """Return what calls must have in common to be joined."""
        dim = self.method.batch_dim
        return [field.rows.key(arguments[field.name], dim) for field in self._fields if field.rows is not None]

    def _joined(self, good: list[dict[str, Any]]) -> dict[str, Any]:
        if not good:
            return {}
        arguments: dict[str, Any] = {}
        for field in self._fields:
            parts = [each[field.name] for each in good]
            if field.rows is None:
                arguments[field.name] = list(chain.from_iterable(parts))
            else:
                arguments[field.name] = field.rows.join(parts, self.method.batch_dim)
        return arguments


_Steps = tuple[tuple[str, Callable[[Any], Any]], ...]
_tuple_of = msgspec.structs.astuple


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _steps(pairs: Iterable[tuple[str, Callable[[Any], Any] | None]]) -> _Steps:
    return tuple((name, step) for name, step in pairs if step is not None)


def _finished(arguments: dict[str, Any], steps: _Steps) -> dict[str, Any]:
    for name, step in steps:
        if name in arguments:
            arguments[name] = step(arguments[name])
    return arguments
