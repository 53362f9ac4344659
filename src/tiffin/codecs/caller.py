"""The calling side of one method, for `depends()`: arguments → a msgpack body, a msgpack answer → the value.

Owns both translations; never sends anything. Arrays travel as msgpack's extension 1 and arrive as arrays of their own; results are
read by the method's return annotation, so that a dataclass or model arrives as one.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tiffin.codecs.fields import FAILURES, unpack_array
from tiffin.codecs.reasons import from_msgspec
from tiffin.codecs.results import encode_msgpack
from tiffin.errors import Code, Error
from tiffin.messages.link import Media
from tiffin.spec.service import MethodSpec, Param
from tiffin.spec.types import ANY, AnyType, ArrayType, Type, by_pydantic, walk

_STREAM_NAMES = ("Generator", "Iterator", "Iterable", "AsyncGenerator", "AsyncIterator", "AsyncIterable")


class CallerCodec:
    """See the module.

    Args:
        method: that is called. function: the same in the user's class; its annotations are read.
    """

    MEDIA = Media.MSGPACK

    def __init__(self, method: MethodSpec, function: Callable[..., Any]) -> None:
        self._method = method
        plain = inspect.unwrap(getattr(function, "__func__", function))
        hints = typing.get_type_hints(plain, include_extras=True)
        self._signature = inspect.signature(plain)
        self._read = _reader(method.returns, _result(hints.get("return", Any), streams=method.streams))

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[bytes, int]:
        """Return the body of a call, and the rows that it brings.

        Args:
            args, kwargs: as given to the method, without self and the context.

        Raises:
            TypeError: they do not fit the signature.
            Error: INVALID_INPUT: a value cannot be sent, or batched arguments bring different numbers of rows.
        """
        method = self._method
        given = self._bound(args, kwargs)
        rows = 1
        if method.batchable and not method.one_row:
            found = [(param.name, _rows(param, given[param.name], method.batch_dim)) for param in method.params]
            rows = found[0][1]
            for name, count in found:
                if count != rows or not count:
                    raise Error(
                        f"{method.name}: {name} brings {count} rows and {found[0][0]} {rows}", code=Code.INVALID_INPUT
                    )
        try:
            body = encode_msgpack(next(iter(given.values())) if method.whole_body else given)
        except Exception as error:
            raise Error(
                f"the arguments of {method.name} cannot be sent: {type(error).__name__}: {error}"[:500],
                code=Code.INVALID_INPUT,
            ) from error
        return body, rows

    def _bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        parameters = list(self._signature.parameters.values())[1:]
        own = self._signature.replace(
            parameters=[parameter for parameter in parameters if parameter.name != self._method.context]
        )
        return dict(own.bind(*args, **kwargs).arguments)

    def decode(self, media: int, body: bytes | memoryview) -> Any:
        """Return the value of an answer, or of one item of a stream.

        Args:
            media: number of its type, msgpack where `MEDIA` was asked for. body: all of it.

        Raises:
            Error: BAD_OUTPUT: it is not what the annotation says.
        """
        if media == Media.TEXT:
            return str(body, "utf-8")
        if media == Media.BYTES:
            return bytes(body)
        try:
            return self._read(body)
        except Error as error:
            raise self._bad(error.message) from error
        except FAILURES as error:
            raise self._bad(from_msgspec(error).message) from error

    def _bad(self, reason: str) -> Error:
        return Error(f"the answer of {self._method.name} is not of its annotated type: {reason}", code=Code.BAD_OUTPUT)


def _rows(param: Param, value: Any, dim: int) -> int:
    shape = getattr(value, "shape", None)
    if shape is None:
        return len(value)
    if len(shape) <= dim:
        raise Error(
            f"{param.name}: expected rows along dimension {dim}, got {len(shape)} dimensions", code=Code.INVALID_INPUT
        )
    return int(shape[dim])


def _result(annotation: Any, *, streams: bool) -> Any:
    """Return the annotation of the value, of one item where it is a stream."""
    if hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    if streams and getattr(typing.get_origin(annotation), "__name__", "") in _STREAM_NAMES:
        return (*typing.get_args(annotation), Any)[0]
    return annotation


def _reader(returns: Type, annotation: Any) -> Callable[[Any], Any]:
    """Return what reads an answer of that type."""
    if returns == ANY or any(isinstance(part, AnyType | ArrayType) for part in walk(returns)):
        return _any_reader(returns, annotation)
    if by_pydantic(returns):
        from pydantic import TypeAdapter, ValidationError  # only where the user's types need it

        adapter: Any = TypeAdapter(annotation)
        unpack = msgspec.msgpack.Decoder().decode

        def read(body: Any) -> Any:
            try:
                return adapter.validate_python(unpack(body))
            except ValidationError as error:
                raise Error(str(error), code=Code.BAD_OUTPUT) from error

        return read
    return msgspec.msgpack.Decoder(annotation).decode


def _any_reader(returns: Type, annotation: Any) -> Callable[[Any], Any]:
    """Return what reads an answer that may hold arrays."""
    if not any(isinstance(part, ArrayType) for part in walk(returns)) or isinstance(returns, ArrayType):
        return msgspec.msgpack.Decoder(ext_hook=unpack_array).decode
    from tiffin.codecs.arrays import inner_hook  # loads numpy, which the annotation has done

    return msgspec.msgpack.Decoder(annotation, ext_hook=unpack_array, dec_hook=inner_hook).decode
