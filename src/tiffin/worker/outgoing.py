"""One method of another service, as a caller in a worker: Python arguments → requests, answers → Python values.

Owns the codecs for that direction; never sends. A batchable method is called with rows, as in plain Python; where its clients send
single rows (`one_row`) each row is a call of its own, so that they can join other callers' rows.
"""

from __future__ import annotations

import collections.abc
import inspect
import typing
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from tiffin.codecs.file_results import lowered
from tiffin.codecs.files import client_type, gives_files, takes_files
from tiffin.codecs.results import ResultCodec
from tiffin.codecs.table_results import cut, is_table
from tiffin.codecs.values import MethodCodec
from tiffin.errors import Error
from tiffin.frameworks.tensors import Convert, converter
from tiffin.messages.link import Media
from tiffin.service.depends import Callee
from tiffin.spec.service import MethodSpec, Param
from tiffin.spec.types import ANY, ArrayType, ListType, TableType, Type, one_row
from tiffin.worker.calls import Request
from tiffin.worker.file_answers import FileAnswers
from tiffin.worker.parts import join_parts

_ITERATORS = (
    collections.abc.Iterator,
    collections.abc.Iterable,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
)


class Outgoing:
    """See the module.

    Args:
        callee: the method.
    """

    def __init__(self, callee: Callee) -> None:
        self._callee = callee
        method = callee.method
        self._name = f"{callee.service}.{method.name}"
        signature = inspect.signature(callee.function)
        parameters = [*signature.parameters.values()][1:]
        self._signature = signature.replace(
            parameters=[parameter for parameter in parameters if parameter.name != method.context]
        )
        self._writer = ResultCodec(MethodSpec(name=method.name, route="/", returns=ANY))
        self._convert: Convert | None = None
        self._files: FileAnswers | None = None
        self._reader = self._result_codec()

    def requests(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Request]:
        """Return what to send for a call with these arguments: one request, or one for each row.

        Raises:
            TypeError: arguments that the method does not take or that cannot be sent.
        """
        arguments = self._signature.bind(*args, **kwargs).arguments
        method = self._callee.method
        if not method.batchable:
            return [self._request(arguments, 1)]
        batched = [param.name for param in method.params if param.batched]
        counts = {name: _rows(arguments[name], method.batch_dim) for name in batched}
        rows = counts[batched[0]]
        if any(count != rows for count in counts.values()):
            raise TypeError(f"{self._name}: arguments of one call have different numbers of rows: {counts}")
        if not method.one_row:
            return [self._request(arguments, rows)]
        dim = method.batch_dim
        return [
            self._request(
                {name: _row(value, index, dim) if name in counts else value for name, value in arguments.items()},
                1,
            )
            for index in range(rows)
        ]

    def result(self, values: Sequence[Any]) -> Any:
        """Return the call's result from the values that its requests were answered with."""
        method = self._callee.method
        if not (method.batchable and method.one_row):
            return values[0]
        if isinstance(method.returns, TableType) and values and all(map(is_table, values)):
            return join_parts(values, 0)
        if isinstance(method.returns, ArrayType):
            if method.returns.library:
                return join_parts([value[None] for value in values], method.batch_dim) if values else values
            import numpy as np  # loaded already: the method's annotations name it

            return np.stack([np.asarray(value) for value in values], axis=method.batch_dim) if values else np.empty(0)
        return list(values)

    def _request(self, arguments: dict[str, Any], rows: int) -> Request:
        callee = self._callee
        method = callee.method
        try:
            if takes_files(method):
                types = {param.name: client_type(method, param) for param in method.params}
                arguments = {name: lowered(types[name], part) for name, part in arguments.items()}
            value: Any = next(iter(arguments.values())) if method.whole_body else arguments
            body, media, _name = self._writer.encode(value, Media.MSGPACK)
        except (Error, OSError, TypeError, ValueError) as error:
            raise TypeError(f"{self._name}: an argument cannot be sent: {error.__cause__ or error}") from error
        return Request(callee.service, callee.index, method.name, rows, media, body, method.idempotent, self._read)

    def _read(self, media: int, body: bytes) -> Any:
        """Return the value of an answer, of the annotated type where it fits."""
        if self._files is not None:
            return self._files.read(media, body)
        if media == Media.TEXT:
            return body.decode()
        if media == Media.BYTES:
            return body
        try:
            result = self._reader.decode(media, body)["result"]
            return result if self._convert is None else self._convert(result)
        except Error:  # a method may return what its annotation does not say; plain Python would not mind either
            return msgspec.json.decode(body) if media == Media.JSON else _loose(body)

    def _result_codec(self) -> MethodCodec:
        """Return a codec that reads results as if they were the whole body of a call."""
        method = self._callee.method
        annotation = typing.get_type_hints(self._callee.function, include_extras=True).get("return", Any)
        if method.streams:
            annotation = _item(annotation)
        kind: Type = method.returns
        if method.batchable and method.one_row:
            if isinstance(kind, ListType):
                annotation = _item(annotation)
            kind = one_row(kind, method.batch_dim)
        if isinstance(kind, TableType):
            kind = TableType(library=kind.library)  # columns are the method's business; a row comes as a table of one
        if gives_files(kind):
            self._files = FileAnswers(kind, annotation, self._name)
            kind, annotation = ANY, Any
        if isinstance(kind, ArrayType):
            if kind.library:
                self._convert = converter(kind.library)
            kind = ArrayType()  # shape and element type are the method's business

        def taker(result: Any, /) -> None: ...

        taker.__annotations__ = {"result": annotation}
        spec = MethodSpec(
            name=method.name, route="/", params=(Param(name="result", type=kind),), whole_body=True, returns=ANY
        )
        return MethodCodec(spec, taker)


def _loose(body: bytes) -> Any:
    from tiffin.codecs.arrays import own_hook  # loads numpy, only where msgpack brings an extension or a surprise

    return msgspec.msgpack.Decoder(ext_hook=own_hook).decode(body)


def _item(annotation: Any) -> Any:
    """Return what an annotated iterator or list holds."""
    if hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    origin = typing.get_origin(annotation)
    return (*typing.get_args(annotation), Any)[0] if origin is list or origin in _ITERATORS else annotation


def _row(value: Any, index: int, dim: int) -> Any:
    """Return one row; of a table, a table of one."""
    if is_table(value):
        return cut(value, index, index + 1)
    return value[(*(slice(None),) * dim, index)] if dim else value[index]


def _rows(value: Any, dim: int) -> int:
    shape = getattr(value, "shape", None)
    return int(shape[dim]) if shape is not None else len(cast("Sequence[Any]", value))
