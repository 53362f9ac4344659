"""A method's Python signature → the parameters and the result of its `MethodSpec`.

Owns the rules of which signatures can be served; never runs a method.
"""

from __future__ import annotations

import collections.abc
import inspect
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

from tiffin.errors import SpecError
from tiffin.service.annotations import type_of
from tiffin.service.files import result_media
from tiffin.service.markers import ContentType
from tiffin.spec.service import Kind, Param
from tiffin.spec.types import ANY, AnyType, ArrayType, ListType, TableType, Type

_ABC = collections.abc
_SYNC = (_ABC.Generator, _ABC.Iterator)
_ASYNC = (_ABC.AsyncGenerator, _ABC.AsyncIterator, _ABC.AsyncIterable)
_STREAMS = (*_SYNC, *_ASYNC, _ABC.Iterable)


class Signature(NamedTuple):
    """The parts of a `MethodSpec` that come from Python's signature; fields as there."""

    kind: Kind
    params: tuple[Param, ...]
    whole_body: bool
    context: str
    returns: Type
    media: str


def read_signature(
    function: Callable[..., Any],
    name: str,
    *,
    context_type: type | None = None,
    batchable: bool = False,
    batch_dim: int = 0,
    one_row: bool = False,
) -> Signature:
    """Read a method as it stands in its class, with ``self`` first.

    Args:
        function: the plain function. name: "Class.method", for errors.
        context_type: class whose parameter gets the call's context and is no field of the body.
        batchable, batch_dim, one_row: as given to ``@tiffin.api``.

    Raises:
        SpecError: it cannot be served; the message names the parameter and the reason.
    """
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise SpecError(f"{name}: {error}", hint="import that name where the service is defined") from error
    except TypeError as error:
        raise SpecError(f"{name}: an annotation is not a type: {error}") from error
    if one_row and not batchable:
        raise SpecError(f"{name}: one_row=True needs batchable=True")
    if batch_dim < 0:
        raise SpecError(f"{name}: batch_dim={batch_dim} is negative", hint="count dimensions from 0")
    context = ""
    params: list[Param] = []
    whole = 0
    for parameter in _without_self(function, name):
        where = f"parameter {parameter.name!r} of {name}"
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise SpecError(f"{where}: *args and **kwargs cannot be served", hint="name every parameter")
        annotation = hints.get(parameter.name, inspect.Parameter.empty)
        if _is_context(annotation, context_type):
            if context:
                raise SpecError(f"{where}: {context!r} is the context already")
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise SpecError(f"{where}: the context cannot be positional-only", hint="put it after the slash")
            context = parameter.name
            continue
        whole += parameter.kind is parameter.POSITIONAL_ONLY
        params.append(_param(parameter, annotation, where, batchable=batchable, batch_dim=batch_dim))
    if whole and len(params) != 1:
        raise SpecError(
            f"{name}: a positional-only parameter takes the whole body and must be the only one, found {len(params)}",
            hint="remove the slash to make all of them named fields",
        )
    if batchable and not params:
        raise SpecError(f"{name}: a batchable method needs a parameter that carries rows")
    kind = _kind(function, hints.get("return"))
    if batchable and kind in ("generator", "async_generator"):
        raise SpecError(f"{name}: a generator cannot be batchable: its items are no rows")
    returns, media = _returns(hints.get("return", Any), name, kind, batchable=batchable)
    return Signature(kind, tuple(params), bool(whole), context, returns, media)


def _without_self(function: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        raise SpecError(f"{name}: a method takes self first")
    return parameters[1:]


def _is_context(annotation: Any, context_type: type | None) -> bool:
    if context_type is None:
        return False
    return annotation is context_type or context_type in typing.get_args(annotation)


def _param(parameter: inspect.Parameter, annotation: Any, where: str, *, batchable: bool, batch_dim: int) -> Param:
    found = type_of(annotation, where)
    required = parameter.default is parameter.empty
    if batchable:
        if not required:
            raise SpecError(
                f"{where}: a batchable method's parameter cannot have a default: calls with and without it could not be joined",
                hint="give the value in the service, or make the method batchable=False",
            )
        found = _batched(found, annotation, where, batch_dim)
    return Param(name=parameter.name, type=found, required=required, batched=batchable)


def _batched(found: Type, annotation: Any, where: str, batch_dim: int) -> Type:
    """Return the type of rows, or refuse what carries none."""
    if isinstance(found, AnyType):
        found = ListType(item=ANY)
    if isinstance(found, ArrayType):
        if found.shape is not None and (len(found.shape) <= batch_dim or found.shape[batch_dim] is not None):
            raise SpecError(
                f"{where}: dimension {batch_dim} of Shape{found.shape!r} carries the rows of a batch and must be free",
                hint="write None there, for example Shape(None, 64)",
            )
        return found
    if isinstance(found, TableType):
        if batch_dim:
            raise SpecError(f"{where}: a table has its rows along dimension 0, batch_dim={batch_dim} needs np.ndarray")
        return found
    if not isinstance(found, ListType) or found.unique or _origin(annotation) is tuple:
        raise SpecError(
            f"{where}: all parameters of a batchable method carry rows (besides the context): a list, np.ndarray or a table",
            hint="annotate list[…], np.ndarray or pd.DataFrame, or make the method batchable=False",
        )
    if batch_dim:
        raise SpecError(f"{where}: a list has its rows along dimension 0, batch_dim={batch_dim} needs np.ndarray")
    if found.min_length is not None or found.max_length is not None:
        raise SpecError(f"{where}: the number of rows cannot be bounded by the type", hint="use max_batch_size")
    return found


def _origin(annotation: Any) -> Any:
    base = getattr(annotation, "__origin__", annotation) if hasattr(annotation, "__metadata__") else annotation
    return typing.get_origin(base) or base


def _kind(function: Callable[..., Any], returns: Any) -> Kind:
    if inspect.isasyncgenfunction(function):
        return "async_generator"
    if inspect.iscoroutinefunction(function):
        return "async"
    origin = _origin(returns)
    if origin in _ASYNC:
        return "async_generator"  # a plain method that hands on another one's stream
    return "generator" if inspect.isgeneratorfunction(function) or origin in _SYNC else "sync"


def _returns(annotation: Any, name: str, kind: Kind, *, batchable: bool) -> tuple[Type, str]:
    """Return the type of the result (of one item of a stream), and its fixed media type or ""."""
    media = ""
    if kind in ("generator", "async_generator") and _origin(annotation) in _STREAMS:
        media = _media(annotation)
        base = annotation.__origin__ if hasattr(annotation, "__metadata__") else annotation
        annotation = (*typing.get_args(base), Any)[0]
    media = media or _media(annotation)
    found = type_of(annotation, f"result of {name}", "serialization")
    media = result_media(found, media, f"result of {name}")
    if batchable and media:
        raise SpecError(f"result of {name}: rows of a batch cannot have a fixed media type")
    return found, media


def _media(annotation: Any) -> str:
    names = [extra.name for extra in getattr(annotation, "__metadata__", ()) if isinstance(extra, ContentType)]
    return names[-1] if names else ""
