"""Python annotations → the type grammar, with the reason where one cannot be served.

Owns what an annotation means and which library reads it in the worker; never checks a value. pydantic and numpy are only looked at
where the user's code has loaded them. Rule: where a pydantic model or constraint appears anywhere in a parameter, or where msgspec
refuses the type, pydantic reads the whole parameter by its own (lax) rules and the front does not check it; else msgspec, strict.
"""

from __future__ import annotations

import collections.abc
import datetime as dt
import decimal
import enum
import inspect
import sys
import types
import typing
import uuid
from typing import Any, Literal, TypeVar, Union

import msgspec

from tiffin.codecs.files import gives_files
from tiffin.codecs.grammar import bounded_union
from tiffin.codecs.npy import NAMES
from tiffin.errors import SpecError
from tiffin.service.columns import Columns
from tiffin.service.fields import fields_of
from tiffin.service.files import check_files, file_class, with_media
from tiffin.service.libraries import check_table, table_class, tensor_class, with_columns
from tiffin.service.markers import ContentType, DType, Shape
from tiffin.spec.types import (
    ANY,
    ArrayType,
    BoolType,
    BytesType,
    DictType,
    Field,
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
    walk,
)

Mode = Literal["validation", "serialization"]

_SCALARS: dict[Any, Type] = {
    Any: ANY,
    object: ANY,
    inspect.Parameter.empty: ANY,
    None: NullType(),
    types.NoneType: NullType(),
    bool: BoolType(),
    int: IntType(),
    float: FloatType(),
    str: StrType(),
    bytes: BytesType(),
    bytearray: BytesType(),
    dt.datetime: StrType(format="date-time"),
    dt.date: StrType(format="date"),
    dt.time: StrType(format="time"),
    dt.timedelta: StrType(format="duration"),
    uuid.UUID: StrType(format="uuid"),
    decimal.Decimal: OpaqueType(schema={"anyOf": [{"type": "string"}, {"type": "number"}]}, validator="msgspec"),
}
_ABC = collections.abc
_LISTS = (list, _ABC.Sequence, _ABC.MutableSequence, _ABC.Collection, _ABC.Iterable)
_SETS = (set, frozenset, _ABC.Set, _ABC.MutableSet)
_DICTS = (dict, _ABC.Mapping, _ABC.MutableMapping)
_QUALIFIERS = ("Required", "NotRequired", "ReadOnly", "Final", "ClassVar")


def type_of(annotation: Any, where: str, mode: Mode = "validation") -> Type:
    """Return the type that an annotation stands for.

    Args:
        annotation: resolved (no text in it). where: what carries it, for the error: ``"parameter 'x' of Digits.predict"``.
        mode: "validation" for what comes in, "serialization" for what goes out.

    Raises:
        SpecError: it cannot be served; the message names `where` and the reason.
    """
    reader = _Reader(where)
    found = reader.read(annotation)
    if gives_files(found):
        check_files(found, f"{where}: {_name(annotation)}", reader.pydantic, result=mode == "serialization")
        return found
    if mode == "validation" and not isinstance(found, ArrayType):
        for part in walk(found):
            if isinstance(part, ArrayType) and part.library:
                raise reader.refuse(
                    f"{_name(annotation)}: a tensor must be a parameter of its own, not part of another one",
                    "annotate np.ndarray there, or make it a parameter",
                )
    if mode == "validation":
        check_table(found, where, _name(annotation))
    if reader.pydantic:
        return _by_pydantic(annotation, found, reader, mode)
    try:
        msgspec.json.Decoder(annotation)  # results are read by it as well, where another service calls the method
    except (TypeError, ValueError, RecursionError) as error:
        return _by_pydantic(annotation, found, reader, mode, str(error))
    return found


class _Reader:
    """One walk over an annotation.

    Attributes:
        pydantic: what in it needs pydantic, "" for nothing. meta: whether msgspec's own constraints appear.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.pydantic = ""
        self.meta = False
        self._open: dict[Any, str] = {}
        self._names: dict[str, Any] = {}

    def refuse(self, reason: str, hint: str = "") -> SpecError:
        return SpecError(f"{self.where}: {reason}", hint=hint)

    def read(self, annotation: Any) -> Type:
        try:
            found = _SCALARS.get(annotation)
        except TypeError:  # unhashable, as Literal[[]] or Annotated with a list
            found = None
        if found is not None:
            return found
        if isinstance(annotation, str | typing.ForwardRef):
            raise self.refuse(f"the name {annotation!r} cannot be resolved", "import it where the service is defined")
        if isinstance(annotation, TypeVar):
            return self.read(annotation.__bound__) if annotation.__bound__ is not None else ANY
        if isinstance(annotation, typing.NewType):
            return self.read(annotation.__supertype__)
        if hasattr(annotation, "__value__") and type(annotation).__name__ == "TypeAliasType":
            return self._alias(annotation)
        if hasattr(annotation, "__metadata__"):
            return self._annotated(annotation)
        origin = typing.get_origin(annotation)
        if origin is not None:
            return self._generic(annotation, origin, typing.get_args(annotation))
        if isinstance(annotation, type):
            return self._class(annotation)
        return self._foreign(annotation)

    def _alias(self, annotation: Any) -> Type:
        if annotation in self._open:
            return ANY  # an alias that contains itself: the worker knows its depth
        self._open[annotation] = ""
        try:
            return self.read(annotation.__value__)
        finally:
            del self._open[annotation]

    def _annotated(self, annotation: Any) -> Type:
        found = self.read(annotation.__origin__)
        for extra in annotation.__metadata__:
            if isinstance(extra, Columns):
                found = with_columns(found, extra, self.where, _name(annotation.__origin__))
            elif isinstance(extra, Shape | DType):
                if not isinstance(found, ArrayType):
                    raise self.refuse(f"{extra!r} describes an array or a tensor, not {_name(annotation.__origin__)}")
                changed = {"shape": extra.dims} if isinstance(extra, Shape) else {"dtype": self._dtype(extra.name)}
                found = msgspec.structs.replace(found, **changed)
            elif isinstance(extra, ContentType):
                found = with_media(found, extra.name)
            elif isinstance(extra, msgspec.Meta):
                found = self._with_meta(found, extra)
            elif type(extra).__module__.partition(".")[0] in ("pydantic", "annotated_types", "pydantic_core"):
                self.pydantic = self.pydantic or f"{type(extra).__name__} from {type(extra).__module__}"
        return found

    def _with_meta(self, found: Type, meta: msgspec.Meta) -> Type:
        names = ("ge", "gt", "le", "lt", "multiple_of", "pattern", "min_length", "max_length")
        bounds = {name: getattr(meta, name) for name in names if getattr(meta, name) is not None}
        self.meta = self.meta or bool(bounds)
        known = {name: bound for name, bound in bounds.items() if hasattr(found, name)}
        if isinstance(found, FloatType):
            known = {name: float(bound) for name, bound in known.items()}  # 0 and 0.0 must not make two digests
        return msgspec.structs.replace(found, **known) if known else found

    def _generic(self, annotation: Any, origin: Any, args: tuple[Any, ...]) -> Type:
        if origin in (Union, types.UnionType):
            return self._union(annotation, args)
        if origin is Literal:
            return self._literal(args)
        if getattr(origin, "_name", "") in _QUALIFIERS or getattr(origin, "__name__", "") in _QUALIFIERS:
            return self.read(args[0])
        if origin is tuple:
            if len(args) == 2 and args[1] is Ellipsis:
                return ListType(item=self.read(args[0]))
            return TupleType(items=tuple(self.read(arg) for arg in args))
        if origin in _LISTS:
            return ListType(item=self.read(args[0]))
        if origin in _SETS:
            return ListType(item=self.read(args[0]), unique=True)
        if origin in _DICTS:
            return DictType(key=self.read(args[0]), value=self.read(args[1]))
        if _is_array(origin):
            return self._ndarray(args)
        return self._generic_class(annotation, origin, args)

    def _generic_class(self, annotation: Any, origin: Any, args: tuple[Any, ...]) -> Type:
        for arg in args:
            self.read(arg)  # only to see whether pydantic is needed
        if isinstance(origin, type) and fields_of(origin) is not None:
            self._class(origin)
            # Its fields depend on the arguments, which the worker's library works out.
            return OpaqueType(schema={"type": "object", "title": _name(annotation)}, validator="msgspec")
        return self._foreign(annotation)

    def _union(self, annotation: Any, args: tuple[Any, ...]) -> Type:
        variants = tuple(self.read(arg) for arg in args)
        if any(isinstance(variant, ArrayType) for variant in variants) and any(
            not isinstance(variant, ArrayType | NullType) for variant in variants
        ):
            raise self.refuse(f"{_name(annotation)}: an array can only be joined with None", "make it two parameters")
        if bounded_union(variants):
            raise self.refuse(
                f"{_name(annotation)}: a union cannot join a part that has msgspec.Meta bounds with a list, tuple or dict",
                "use pydantic.Field for the bounds",
            )
        return UnionType(variants=variants)

    def _literal(self, args: tuple[Any, ...]) -> Type:
        if any(isinstance(value, bool) or not isinstance(value, str | int | None) for value in args):
            self.pydantic = self.pydantic or f"Literal{list(args)!r}"
            return ANY
        return LiteralType(values=args)

    def _class(self, cls: Any) -> Type:
        if _is_array(cls):
            return self._ndarray(())
        if file := file_class(cls, self.where):
            return file
        foreign = tensor_class(cls) or table_class(cls)
        if foreign is not None:
            return foreign
        if cls in _LISTS or cls is tuple:
            return ListType(item=ANY)
        if cls in _SETS:
            return ListType(item=ANY, unique=True)
        if cls in _DICTS:
            return DictType(key=ANY, value=ANY)
        if hasattr(cls, "__pydantic_validator__") or hasattr(cls, "__get_pydantic_core_schema__"):
            self.pydantic = self.pydantic or f"the class {cls.__name__}"
            return ANY
        if issubclass(cls, enum.Enum):
            return self._enum(cls)
        if fields_of(cls) is not None:
            return self._struct(cls)
        if hasattr(cls, "__attrs_attrs__"):
            return OpaqueType(schema={"type": "object", "title": cls.__name__}, validator="msgspec")
        return self._foreign(cls)

    def _enum(self, cls: type[enum.Enum]) -> Type:
        if issubclass(cls, enum.Flag):
            return IntType()
        values = tuple(member.value for member in cls)
        if not values or not any(all(type(value) is kind for value in values) for kind in (str, int)):
            self.pydantic = self.pydantic or f"the enum {cls.__name__}"
            return ANY
        if "_missing_" in {name for base in cls.__mro__ if base is not enum.Enum for name in vars(base)}:
            return OpaqueType(schema={"enum": list(values)}, validator="msgspec")  # it may take more than its values
        return LiteralType(values=values)

    def _struct(self, cls: Any) -> Type:
        if cls in self._open:
            return RefType(name=self._open[cls])
        name = cls.__name__
        if self._names.setdefault(name, cls) is not cls:
            name = f"{cls.__module__}.{cls.__qualname__}"
        self._open[cls] = name
        try:
            fields = tuple(
                Field(
                    name=field,
                    type=self.read(kind),
                    required=required,
                    attribute="" if attribute == field else attribute,
                )
                for field, attribute, kind, required in fields_of(cls) or ()
            )
        except NameError as error:
            raise self.refuse(f"{cls.__name__}: {error}", "import that name where the class is defined") from error
        finally:
            del self._open[cls]
        doc = "" if (cls.__doc__ or "").startswith(f"{cls.__name__}(") else inspect.getdoc(cls) or ""
        config = getattr(cls, "__struct_config__", None)
        return StructType(
            name=name,
            fields=fields,
            forbid_unknown=bool(config and config.forbid_unknown_fields),
            tag_field=(config.tag_field or "") if config else "",
            tag=config.tag if config else None,
            array_like=issubclass(cls, tuple) or bool(config and config.array_like),
            doc=doc if cls.__dict__.get("__doc__") else "",
        )

    def _ndarray(self, args: tuple[Any, ...]) -> Type:
        """Read np.ndarray, np.ndarray[shape, np.dtype[…]] and NDArray[…]."""
        dtype = ""
        inner = typing.get_args(args[1])[:1] if len(args) == 2 else ()
        numpy = sys.modules["numpy"]
        if inner and isinstance(inner[0], type) and issubclass(inner[0], numpy.generic):
            try:
                dtype = self._dtype(inner[0].__name__)
            except SpecError:
                if not inner[0].__subclasses__():
                    raise
                dtype = ""  # abstract, as np.floating: any
        return ArrayType(dtype=dtype)

    def _dtype(self, name: str) -> str:
        import numpy as np  # the user's annotation names np.ndarray: it is loaded already

        try:
            found = np.dtype(name)
        except TypeError as error:
            raise self.refuse(
                f"DType({name!r}) is no element type of numpy", "for example float32, int64, uint8, bool"
            ) from error
        if found.kind == "U":
            return "str"
        if found.name not in NAMES.values():
            raise self.refuse(f"element type {name!r} is not served", "use numbers, booleans or str")
        return found.name

    def _foreign(self, annotation: Any) -> Type:
        """Take a type that only pydantic may know, or refuse it."""
        if getattr(typing.get_origin(annotation) or annotation, "__name__", "") == "Callable":
            raise self.refuse(f"{_name(annotation)}: a function cannot be sent")
        if isinstance(annotation, type):
            module = annotation.__module__.partition(".")[0]
            if module in ("torch", "tensorflow", "jax", "jaxlib") and annotation.__name__.endswith(("Tensor", "Array")):
                raise self.refuse(
                    f"{_name(annotation)}: such arrays come in as np.ndarray, torch.Tensor or tf.Tensor",
                    "annotate one of these and convert it in the method",
                )
        self.pydantic = self.pydantic or _name(annotation)
        return ANY


def _by_pydantic(annotation: Any, found: Type, reader: _Reader, mode: Mode, cause: str = "") -> Type:
    """Return the opaque type of what pydantic reads, a list of it where the annotation is a plain list."""
    from pydantic import PydanticUserError, TypeAdapter
    from pydantic.errors import PydanticSchemaGenerationError

    if any(isinstance(part, ArrayType | TableType) for part in walk(found)):
        if mode == "serialization":
            return ANY
        raise reader.refuse(
            f"arrays and tables cannot be mixed with {reader.pydantic or cause}", "make them two parameters"
        )
    if reader.meta and reader.pydantic:
        raise reader.refuse(f"msgspec.Meta cannot be mixed with {reader.pydantic}", "use pydantic.Field for the bounds")
    try:
        schema = TypeAdapter(annotation).json_schema(mode=mode)
    except PydanticSchemaGenerationError as error:
        raise reader.refuse(
            f"{_name(annotation)} cannot be {'read from' if mode == 'validation' else 'written as'} JSON"
            + (f" ({cause})" if cause else ""),
            "use JSON types, dataclasses, TypedDict, msgspec.Struct, pydantic models or np.ndarray",
        ) from error
    except PydanticUserError as error:
        if error.code == "invalid-for-json-schema":
            schema = {}
        else:
            raise reader.refuse(f"{_name(annotation)}: {str(error).splitlines()[0]}") from error
    if isinstance(found, ListType) and schema.get("type") == "array" and not found.unique and _plain_list(annotation):
        items: dict[str, Any] = schema.get("items", {})
        if "$defs" in schema:
            items = {**items, "$defs": schema["$defs"]}
        return ListType(item=OpaqueType(schema=items))
    return OpaqueType(schema=schema)


def _plain_list(annotation: Any) -> bool:
    return typing.get_origin(annotation) in _LISTS


def _is_array(cls: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and cls is numpy.ndarray


def _name(annotation: Any) -> str:
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
