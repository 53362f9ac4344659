"""One parameter of a method in the worker: which library reads it, and what is done after it.

Owns the choice between msgspec, pydantic and numpy per parameter; never sees a whole body.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec
from msgspec import Raw

from tiffin.codecs.file_fields import file_json, file_packed
from tiffin.codecs.files import file_param
from tiffin.codecs.reasons import from_msgspec, from_pydantic, invalid, join
from tiffin.errors import Error
from tiffin.spec.service import MethodSpec, Param
from tiffin.spec.types import (
    AnyType,
    ArrayType,
    DictType,
    FileType,
    ListType,
    NullType,
    StructType,
    TableType,
    TupleType,
    Type,
    UnionType,
    by_pydantic,
    one_row,
    table_of,
    walk,
)

if TYPE_CHECKING:
    from tiffin.codecs.arrays import ArrayReader
    from tiffin.codecs.tables import TableReader

FAILURES = (msgspec.MsgspecError, RecursionError, UnicodeError)

After = Callable[[Any], Any]
Conform = Callable[[Any, str], Any]
Hooks = tuple[Callable[[type, Any], Any] | None, Callable[[int, memoryview], Any]]


class FieldReader:
    """How one parameter is read.

    Args:
        method, param: whose. annotation: resolved, as in the user's code.

    Attributes:
        json, lax, packed: msgspec types in a JSON body, in a second try of it (None: no second try), in msgpack.
        after, after_lax, after_packed: make the value of what was decoded, None where that is it.
        after_view: as after_packed, but an array stays a view on the body.
        array: reads arrays as a client sends them, None where the parameter is none. joined: reads rows as the method sees them.
        table: reads tables, None where the parameter is none. rows: that of the two which is there: what joins rows.
        after_rows: as after, but a table stays as it is joined.
    """

    __slots__ = (
        "joined",
        "after",
        "after_lax",
        "after_packed",
        "after_rows",
        "after_view",
        "array",
        "json",
        "lax",
        "name",
        "packed",
        "path",
        "required",
        "rows",
        "table",
    )

    def __init__(self, method: MethodSpec, param: Param, annotation: Any) -> None:
        self.name = param.name
        self.path = "" if method.whole_body else param.name
        self.required = param.required
        self.array: ArrayReader | None = None
        self.joined: ArrayReader | TableReader | None = None
        self.table: TableReader | None = None
        self.rows: ArrayReader | TableReader | None = None
        self.json: Any = None
        self.packed: Any = None
        self.lax: Any = None
        self.after: After | None = None
        self.after_lax: After | None = None
        self.after_packed: After | None = None
        self.after_view: After | None = None
        self.after_rows: After | None = None
        kind = param.type
        if param.batched and method.one_row:
            kind = one_row(kind, method.batch_dim)
            annotation = _item(annotation)
        if annotation is inspect.Parameter.empty:
            annotation = list[Any] if param.batched and not method.one_row else Any
        taken = file_param(kind) if any(isinstance(part, FileType) for part in walk(kind)) else None
        if isinstance(kind, ArrayType):
            self._by_numpy(kind, param.type)
        elif (table := table_of(kind)) is not None:
            self._by_table(table, param.type, optional=table is not kind)
        elif taken is not None:  # `file_codec` makes files of it
            self.json, self.packed = file_json(taken), file_packed(taken)
        elif by_pydantic(kind):
            self._by_pydantic(annotation)
        else:
            self._by_msgspec(kind, annotation)

    def _by_numpy(self, kind: ArrayType, seen: Type) -> None:
        from tiffin.codecs.arrays import ArrayReader, owned, view_hook  # loads numpy

        self.array = self.rows = reader = ArrayReader(kind, self.path)
        self.joined = ArrayReader(seen, self.path) if isinstance(seen, ArrayType) else None
        unpack = msgspec.msgpack.Decoder(ext_hook=view_hook).decode
        self.json, self.lax, self.packed = reader.json, reader.lax, Raw
        self.after = lambda value: reader.lists(value, exact=True)
        self.after_lax = reader.lists

        def view(raw: Any) -> Any:
            try:
                return reader.loose(unpack(raw))
            except FAILURES as error:
                raise from_msgspec(error, self.path) from error

        self.after_view = view
        self.after_packed = lambda raw: owned(view(raw))

    def _by_table(self, table: TableType, seen: Type, *, optional: bool) -> None:
        from tiffin.codecs.tables import TableReader, packed_hook  # loads numpy

        self.table = self.rows = reader = TableReader(table, self.path)
        if isinstance(seen, TableType) and reader.declared:
            self.joined = TableReader(seen, self.path)
        unpack = msgspec.msgpack.Decoder(ext_hook=packed_hook).decode

        def parsed(raw: Any) -> Any:
            try:
                return reader.parse(unpack(raw))
            except FAILURES as error:
                raise from_msgspec(error, self.path) from error

        def packed(raw: Any) -> Any:
            return None if optional and bytes(raw) == b"\xc0" else reader.build(parsed(raw))

        self.json, self.packed = Any, Raw
        self.after = lambda value: None if optional and value is None else reader.read(value)
        self.after_rows = reader.parse  # of batchable methods, whose tables are not optional
        self.after_packed, self.after_view = packed, parsed

    def _by_pydantic(self, annotation: Any) -> None:
        from pydantic import TypeAdapter, ValidationError  # only where the user's types need it

        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        unpack = msgspec.msgpack.Decoder().decode
        self.json = self.packed = Raw

        def from_json(raw: Any) -> Any:
            try:
                return adapter.validate_json(bytes(raw))
            except ValidationError as error:
                raise self._refused(
                    error.errors(include_url=False, include_context=False, include_input=False)
                ) from error

        def from_packed(raw: Any) -> Any:
            try:
                return adapter.validate_python(unpack(raw))
            except ValidationError as error:
                raise self._refused(
                    error.errors(include_url=False, include_context=False, include_input=False)
                ) from error

        self.after = from_json
        self.after_packed = from_packed

    def _refused(self, errors: Any) -> Error:
        return from_pydantic(errors, self.path)

    def _by_msgspec(self, kind: Type, annotation: Any) -> None:
        # What the grammar calls anything is read as such, though its annotation may say more than msgspec understands.
        self.json = self.packed = Any if isinstance(kind, AnyType) else annotation
        conform = conformer(kind)
        if conform is not None:
            self.after = self.after_packed = lambda value: conform(value, self.path)


def hooks(params: Sequence[Param]) -> Hooks:
    """Return msgspec's hooks for arrays inside other values: one for their class (None where there are none), one for msgpack."""
    if not any(isinstance(part, ArrayType) for param in params for part in walk(param.type)):
        return None, unpack_array
    from tiffin.codecs.arrays import inner_hook  # loads numpy

    return inner_hook, unpack_array


def unpack_array(code: int, data: memoryview) -> Any:
    """Read msgpack's extension 1 as an array of its own; numpy is loaded when the first one arrives."""
    from tiffin.codecs.arrays import own_hook  # only where an array has arrived

    return own_hook(code, data)


def conformer(kind: Type) -> Conform | None:
    """Return what checks and converts the arrays inside a value by their Shape and DType; None where there are none.

    The function takes the value and its path, and returns the value, changed in place where it can be.
    """
    match kind:
        case ArrayType():
            return _array(kind) if kind.dtype or kind.shape is not None else None
        case ListType() if not kind.unique:
            return _items(kind.item)
        case TupleType():
            return _tuple([conformer(item) for item in kind.items])
        case DictType():
            return _values(kind.value)
        case UnionType():
            arrays = [variant for variant in kind.variants if not isinstance(variant, NullType)]
            inner = conformer(arrays[0]) if len(arrays) == 1 else None
            return None if inner is None else lambda value, path: None if value is None else inner(value, path)
        case StructType():
            return _struct(kind)
        case _:
            return None


def _array(kind: ArrayType) -> Conform:
    from tiffin.codecs.arrays import ArrayReader  # loads numpy

    def conform(value: Any, path: str) -> Any:
        return ArrayReader(kind, path).conform(value)

    return conform


def _items(kind: Type) -> Conform | None:
    inner = conformer(kind)
    if inner is None:
        return None
    return lambda value, path: type(value)([inner(item, f"{path}[{index}]") for index, item in enumerate(value)])


def _tuple(inner: list[Conform | None]) -> Conform | None:
    if not any(inner):
        return None

    def conform(value: Any, path: str) -> Any:
        pairs = enumerate(zip(inner, value, strict=True))
        return tuple(item if each is None else each(item, f"{path}[{index}]") for index, (each, item) in pairs)

    return conform


def _values(kind: Type) -> Conform | None:
    inner = conformer(kind)
    if inner is None:
        return None
    return lambda value, path: {key: inner(item, join(path, f".{key}")) for key, item in value.items()}


def _struct(kind: StructType) -> Conform | None:
    fields = [
        (field.attribute or field.name, field.name, inner)
        for field in kind.fields
        if (inner := conformer(field.type)) is not None
    ]
    if not fields:
        return None

    def conform(value: Any, path: str) -> Any:
        if isinstance(value, dict):
            items = cast("dict[str, Any]", value)
            for key, name, inner in fields:
                if key in items:
                    items[key] = inner(items[key], join(path, f".{name}"))
            return items
        changed = {key: inner(getattr(value, key), join(path, f".{name}")) for key, name, inner in fields}
        if isinstance(value, tuple):
            return cast("Any", value)._replace(**changed)  # a NamedTuple
        # Past a frozen class's own guard: nobody else has seen this object yet.
        change = msgspec.structs.force_setattr if isinstance(value, msgspec.Struct) else object.__setattr__
        for key, part in changed.items():
            change(value, key, part)
        return value

    return conform


def _item(annotation: Any) -> Any:
    """Return the annotation of a list's items."""
    if hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    return (*typing.get_args(annotation), Any)[0]


def text_reader(annotation: Any) -> Callable[[Any], Any]:
    """Return what reads a whole body of text or bytes as the annotated type."""

    def read(body: Any) -> Any:
        try:
            return msgspec.convert(body, annotation)
        except FAILURES as error:
            raise from_msgspec(error) from error

    return read


def text(body: bytes | bytearray | memoryview) -> str:
    """Return a body as text.

    Raises:
        Error: INVALID_INPUT, it is not UTF-8.
    """
    try:
        return str(body, "utf-8")
    except UnicodeDecodeError as error:
        raise invalid("", f"not UTF-8 at byte {error.start}") from error
