"""The type grammar: what a parameter accepts and a method returns, as data that every room can read.

Owns the union `Type` and walks over it; never holds a Python class of the user and never checks a value. Lengths are counts of
items, characters (str) or decoded bytes (bytes).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Union

import msgspec


class _Base(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=True):
    """Encodes as ``{"kind": …}`` plus what differs from the defaults."""


class AnyType(_Base, frozen=True, tag="any"):
    """Whatever JSON can say."""


class NullType(_Base, frozen=True, tag="null"):
    """None."""


class BoolType(_Base, frozen=True, tag="bool"):
    """True or false."""


class IntType(_Base, frozen=True, tag="int"):
    """An integer of any size within the bounds."""

    ge: int | None = None
    gt: int | None = None
    le: int | None = None
    lt: int | None = None
    multiple_of: int | None = None


class FloatType(_Base, frozen=True, tag="float"):
    """A 64-bit float within the bounds; integers are accepted."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    multiple_of: float | None = None


class StrType(_Base, frozen=True, tag="str"):
    """Text. `format` names what the worker reads from it (date-time, uuid, …); the front checks only that it is text."""

    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    format: str = ""


class BytesType(_Base, frozen=True, tag="bytes"):
    """Bytes: base64 within JSON, raw as a whole body or in msgpack."""

    min_length: int | None = None
    max_length: int | None = None


class ListType(_Base, frozen=True, tag="list"):
    """Any number of items; `unique` for sets, which lose repeated items."""

    item: Type
    min_length: int | None = None
    max_length: int | None = None
    unique: bool = False


class TupleType(_Base, frozen=True, tag="tuple"):
    """A list of exactly these items."""

    items: tuple[Type, ...]


class DictType(_Base, frozen=True, tag="dict"):
    """An object with any keys. JSON keys are text; `key` says what is read from it."""

    key: Type
    value: Type
    min_length: int | None = None
    max_length: int | None = None


class Field(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One field of a `StructType`: its name in JSON, and in Python where that differs."""

    name: str
    type: Type
    required: bool = True
    attribute: str = ""


class StructType(_Base, frozen=True, tag="struct"):
    """An object with these fields (dataclass, TypedDict, msgspec.Struct, NamedTuple as array).

    Attributes:
        name: unique among the structs around it; a `RefType` inside names it.
        fields: in order. forbid_unknown: further keys are an error instead of ignored.
        tag_field, tag: key and value that tell it from others in a union, "" and None for none.
        array_like: JSON array with the fields in order.
    """

    name: str
    fields: tuple[Field, ...]
    forbid_unknown: bool = False
    tag_field: str = ""
    tag: str | int | None = None
    array_like: bool = False
    doc: str = ""


class RefType(_Base, frozen=True, tag="ref"):
    """The struct of that name around it: recursion."""

    name: str


class LiteralType(_Base, frozen=True, tag="literal"):
    """One of these values (Literal, Enum)."""

    values: tuple[str | int | bool | None, ...]


class UnionType(_Base, frozen=True, tag="union"):
    """One of these."""

    variants: tuple[Type, ...]


class ArrayType(_Base, frozen=True, tag="array"):
    """An array: nested lists in JSON, or `.npy`.

    Attributes:
        dtype: numpy's name of it, little-endian ("float32"); "" for any without Python objects.
        shape: sizes of all dimensions as the method sees them, None for any size; None for any shape.
        library: whose tensor the method gets, on the worker's device: "torch", "tensorflow"; "" for a numpy array.
    """

    dtype: str = ""
    shape: tuple[int | None, ...] | None = None
    library: Literal["", "torch", "tensorflow"] = ""


class TableType(_Base, frozen=True, tag="table"):
    """A table: rows or columns in JSON, CSV, Parquet or an Arrow stream.

    Attributes:
        library: whose table the method gets: "pandas" (DataFrame), "series" (one column of it), "arrow" (Table), "batch"
            (RecordBatch).
        columns: name and element type ("" for any) of each, in the order that the method sees; empty for any columns.
        orient: how JSON answers are written: a list of row objects, or an object of columns.
        missing: values may be missing, where the element type has a way to say so.
        single: one row, as a client sends it to a batchable method that says so: an object, or a series' value.
    """

    library: Literal["pandas", "series", "arrow", "batch"] = "pandas"
    columns: tuple[tuple[str, str], ...] = ()
    orient: Literal["records", "columns"] = "records"
    missing: bool = True
    single: bool = False


class FileType(_Base, frozen=True, tag="file"):
    """A file: base64 within JSON, a part of its own in multipart, or the raw body.

    Attributes:
        form: what the method gets or gives: a PIL.Image.Image, a pathlib.Path, or the bytes.
        media: fnmatch pattern of the media types that are taken ("image/*"); of a result the one it has. "" for any.
        min_length, max_length: of its bytes.
    """

    form: Literal["image", "path", "bytes"]
    media: str = ""
    min_length: int | None = None
    max_length: int | None = None


class OpaqueType(_Base, frozen=True, tag="opaque"):
    """Checked in the worker only, whose rules the front cannot or should not repeat.

    Attributes:
        schema: JSON Schema, for people and clients; the front never checks by it.
        validator: who reads it in the worker. Where any part of a parameter says pydantic, all of it is read by pydantic.
    """

    schema: dict[str, Any] = {}
    validator: Literal["pydantic", "msgspec"] = "pydantic"


Type = Union[  # noqa: UP007 - msgspec resolves the name in forward references at run time
    AnyType,
    NullType,
    BoolType,
    IntType,
    FloatType,
    StrType,
    BytesType,
    ListType,
    TupleType,
    DictType,
    StructType,
    RefType,
    LiteralType,
    UnionType,
    ArrayType,
    TableType,
    FileType,
    OpaqueType,
]

ANY = AnyType()


def parts(type: Type) -> tuple[Type, ...]:
    """Return the types directly inside a type."""
    match type:
        case ListType():
            return (type.item,)
        case TupleType():
            return type.items
        case DictType():
            return (type.key, type.value)
        case StructType():
            return tuple(field.type for field in type.fields)
        case UnionType():
            return type.variants
        case _:
            return ()


def walk(type: Type) -> Iterator[Type]:
    """Yield a type and all types inside it, outer first."""
    yield type
    for part in parts(type):
        yield from walk(part)


def by_pydantic(type: Type) -> bool:
    """Say whether the worker reads a value of this type with pydantic."""
    return any(isinstance(part, OpaqueType) and part.validator == "pydantic" for part in walk(type))


def table_of(type: Type) -> TableType | None:
    """Return the table that a type is, or is where it is not None; None where it is anything else."""
    if isinstance(type, UnionType) and len(type.variants) == 2 and NullType() in type.variants:
        type = next((variant for variant in type.variants if not isinstance(variant, NullType)), type)
    return type if isinstance(type, TableType) else None


def one_row(type: Type, batch_dim: int = 0) -> Type:
    """Return the type of one row of a batched type: a list's item, the array without its batch dimension, a table's row."""
    if isinstance(type, TableType):
        return msgspec.structs.replace(type, single=True)
    if isinstance(type, ListType):
        return type.item
    if isinstance(type, ArrayType) and type.shape is not None:
        return msgspec.structs.replace(type, shape=type.shape[:batch_dim] + type.shape[batch_dim + 1 :])
    return type
