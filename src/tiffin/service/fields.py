"""The fields of a user's record class, whichever library made it.

Owns the four kinds of such classes; never reads what an annotation means.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from typing import Any, cast

import msgspec

Fields = list[tuple[str, str, Any, bool]]


def fields_of(cls: type) -> Fields | None:
    """Return the fields of a dataclass, TypedDict, NamedTuple or msgspec.Struct; None for another class.

    Returns:
        For each field its name in JSON, its name in Python, its annotation and whether it is required.

    Raises:
        NameError: an annotation names what is not there.
    """
    for test, fields in _KINDS:
        if test(cls):
            return fields(cls)
    return None


def _dataclass_fields(cls: Any) -> Fields:
    hints = typing.get_type_hints(cls, include_extras=True)
    missing = dataclasses.MISSING
    return [
        (field.name, field.name, hints[field.name], field.default is missing and field.default_factory is missing)
        for field in dataclasses.fields(cls)
        if field.init
    ]


def _struct_fields(cls: Any) -> Fields:
    return [(field.encode_name, field.name, field.type, field.required) for field in msgspec.structs.fields(cls)]


def _typed_dict_fields(cls: Any) -> Fields:
    hints = typing.get_type_hints(cls, include_extras=True)
    return [(name, name, hint, name in cls.__required_keys__) for name, hint in hints.items()]


def _named_tuple_fields(cls: Any) -> Fields:
    hints = typing.get_type_hints(cls, include_extras=True)
    defaults = cast("dict[str, Any]", cls._field_defaults)
    return [(name, name, hints.get(name, Any), name not in defaults) for name in cls._fields]


_KINDS: list[tuple[Callable[[Any], bool], Callable[[Any], Fields]]] = [
    (lambda cls: issubclass(cls, msgspec.Struct), _struct_fields),
    (dataclasses.is_dataclass, _dataclass_fields),
    # A TypedDict is a dict that knows its required keys; a NamedTuple a tuple that knows its fields.
    (lambda cls: dict in cls.__mro__ and hasattr(cls, "__required_keys__"), _typed_dict_fields),
    (lambda cls: tuple in cls.__mro__ and hasattr(cls, "_fields"), _named_tuple_fields),
]
