"""The type grammar → msgspec types that accept at least what the worker accepts.

Owns what the front can check; never imports numpy, pydantic or user code. Where in doubt a part is `Raw`: its JSON is read over,
the worker validates it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import UNSET, Meta, Raw

from tiffin.codecs.urls import MAX_URL
from tiffin.spec.service import MethodSpec
from tiffin.spec.types import (
    AnyType,
    ArrayType,
    BoolType,
    BytesType,
    DictType,
    Field,
    FileType,
    FloatType,
    IntType,
    ListType,
    LiteralType,
    NullType,
    OpaqueType,
    RefType,
    StrType,
    StructType,
    TableType,
    TupleType,
    Type,
    UnionType,
)

_INT64 = 2**63

# The same objects, but built from values: type checkers would read the brackets as annotations.
_LIST: Any = list
_TUPLE: Any = tuple
_DICT: Any = dict
_UNION: Any = Union


def front_type(type: Type) -> Any:
    """Return the msgspec type by which the front checks JSON of a type."""
    match type:
        case AnyType() | OpaqueType() | RefType():
            return Raw
        case NullType():
            return None
        case BoolType():
            return bool
        case IntType():
            return bounded(int, **_bounds(type))
        case FloatType():
            return bounded(float, **_bounds(type))
        case StrType():
            return bounded(str, min_length=type.min_length, max_length=type.max_length, pattern=type.pattern)
        case FileType():
            # A URL may stand for a file that is shorter than the URL; the worker counts the bytes.
            most = None if type.max_length is None else max(_base64_length(type.max_length), MAX_URL)
            return bounded(str, max_length=most)
        case BytesType():
            return bounded(bytes, min_length=type.min_length, max_length=type.max_length)
        case LiteralType():
            return Literal[type.values]
        case ArrayType():
            return array_type(type, element(type.dtype))
        case StructType():
            return _struct(type)
        case UnionType():
            return _union(type)
        case _:
            return _container(type)


def _base64_length(size: int) -> int:
    """Return the most characters that so many bytes have in base64."""
    return (size + 2) // 3 * 4


def bounded(base: Any, **bounds: Any) -> Any:
    """Return a type with those bounds that are not None."""
    bounds = {name: bound for name, bound in bounds.items() if bound is not None}
    return Annotated[base, Meta(**bounds)] if bounds else base


def element(dtype: str) -> Any:
    """Return the msgspec type of one element in JSON; "" takes numbers and booleans.

    Integers may be written as integral floats (3.0): the worker looks at the fraction.
    """
    if not dtype:
        return bool | int | float
    if dtype == "bool":
        return bool
    if dtype.startswith("str"):
        return str
    if dtype.startswith("float"):
        return float
    low, high = int_range(dtype)
    return _UNION[strict_int(dtype), bounded(float, ge=float(low), le=float(high))]


def strict_int(dtype: str) -> Any:
    """Return the msgspec type of one integer of an array, written as an integer."""
    low, high = int_range(dtype)
    return bounded(int, ge=low, le=high if high < _INT64 else None)


def int_range(dtype: str) -> tuple[int, int]:
    """Return the smallest and largest value of an integer type such as "uint8"."""
    bits = int(dtype.lstrip("uint"))
    return (0, 2**bits - 1) if dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def array_type(type: ArrayType, of: Any) -> Any:
    """Return nested lists of `of` as deep as the array has dimensions; `Raw` where that is not known."""
    if type.shape is None:
        return Raw
    nested = of
    for size in reversed(type.shape):
        nested = bounded(_LIST[nested], min_length=size, max_length=size)
    return nested


def rows_type(type: Type, batch_dim: int) -> Any:
    """Return nested lists just deep enough to count rows, `Raw` below."""
    nested: Any = Raw
    if isinstance(type, TableType) and type.library != "series":
        return _UNION[_LIST[Raw], _DICT[str, _LIST[Raw]]]
    for _ in range(batch_dim + 1 if isinstance(type, ArrayType) else 1):
        nested = _LIST[nested]
    return nested


def body_struct(method: MethodSpec, types: list[Any]) -> Any:
    """Return the msgspec type of a JSON object with a method's named parameters."""
    fields = [
        Field(name=param.name, type=param.type, required=param.required, attribute=f"p{index}")
        for index, param in enumerate(method.params)
    ]
    return _define("Body", fields, types, forbid_unknown_fields=True)


def _define(name: str, fields: list[Field], types: list[Any], **options: Any) -> Any:
    return msgspec.defstruct(
        name,
        [
            (field.attribute, kind) if field.required else (field.attribute, kind, UNSET)
            for field, kind in zip(fields, types, strict=True)
        ],
        rename={field.attribute: field.name for field in fields},
        kw_only=True,
        **options,
    )


def _struct(type: StructType) -> Any:
    if type.array_like:
        return list[Raw]
    fields = [
        Field(name=field.name, type=field.type, required=field.required, attribute=f"f{index}")
        for index, field in enumerate(type.fields)
    ]
    tags = {"tag": type.tag, "tag_field": type.tag_field} if type.tag is not None else {}
    name = "".join(char if char.isalnum() else "_" for char in type.name) or "Struct"
    return _define(
        name,
        fields,
        [front_type(field.type) for field in type.fields],
        forbid_unknown_fields=type.forbid_unknown,
        **tags,
    )


def _union(type: UnionType) -> Any:
    variants = [front_type(variant) for variant in type.variants]
    if any(variant is Raw for variant in variants) or bounded_union(type.variants):
        return Raw
    union = _UNION[tuple(variants)]
    try:
        msgspec.json.Decoder(union)
    except TypeError:
        return Raw  # msgspec cannot tell these apart
    return union


def bounded_union(variants: Sequence[Type]) -> bool:
    """Say whether a union is one that msgspec must not be given.

    msgspec 0.22 frees the decoder of such a union wrongly and brings the process down: a pattern beside a list or dict, any
    bound beside a tuple of fixed length.
    """
    bounds = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern")
    bounded = any(getattr(variant, name, None) is not None for variant in variants for name in bounds)
    return bounded and any(
        isinstance(variant, ListType | DictType | TupleType | ArrayType)
        or (isinstance(variant, StructType) and variant.array_like)
        for variant in variants
    )


def _container(type: Type) -> Any:
    match type:
        case ListType():
            items = _LIST[front_type(type.item)]
            # A set's bounds count what is left of it.
            return items if type.unique else bounded(items, min_length=type.min_length, max_length=type.max_length)
        case TupleType():
            return _TUPLE[tuple(front_type(item) for item in type.items)]
        case DictType():
            return bounded(
                _DICT[_key(type.key), front_type(type.value)], min_length=type.min_length, max_length=type.max_length
            )
        case _:
            return Raw


def _key(type: Type) -> Any:
    return front_type(type) if isinstance(type, StrType | IntType | LiteralType) else str


def _bounds(type: IntType | FloatType) -> dict[str, Any]:
    """Return the bounds that msgspec can take."""
    names = ("ge", "gt", "le", "lt", "multiple_of")
    bounds = {name: getattr(type, name) for name in names}
    if isinstance(type, IntType):
        return {name: bound for name, bound in bounds.items() if bound is not None and -_INT64 <= bound < _INT64}
    return bounds
