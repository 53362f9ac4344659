"""The type grammar → JSON Schema (draft 2020-12), for people and clients.

Owns the translation and where definitions go; nothing is ever checked by its output.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from tiffin.spec.types import (
    ArrayType,
    BoolType,
    BytesType,
    DictType,
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

Json = dict[str, Any]
Tree: TypeAlias = "dict[str, Tree] | list[Tree] | str | int | float | bool | None"

_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
_PLAIN: dict[Type, str] = {NullType(): "null", BoolType(): "boolean"}


def json_schema(type: Type, definitions: Json, ref: str = "#/$defs/") -> Json:
    """Return the JSON Schema of a type as it is written in JSON.

    Args:
        type: what to describe. definitions: takes the schemas of named structs, by name; shared by the types of one document.
        ref: what comes before a name in a ``$ref``.
    """
    return _Schemas(definitions, ref).of(type)


class _Schemas:
    """One translation: where definitions go, and which structs are around the current type."""

    def __init__(self, definitions: Json, ref: str) -> None:
        self._definitions = definitions
        self._ref = ref
        self._around: dict[str, str] = {}

    def of(self, type: Type) -> Json:
        match type:
            case IntType() | FloatType():
                kind = "integer" if isinstance(type, IntType) else "number"
                return {"type": kind, **_set({key: getattr(type, name) for name, key in _BOUNDS.items()})}
            case StrType():
                shown = {"type": "string", "minLength": type.min_length, "maxLength": type.max_length}
                return _set({**shown, "pattern": type.pattern, "format": type.format or None})
            case FileType():
                return _file(type)
            case BytesType():
                return {"type": "string", "contentEncoding": "base64"}
            case LiteralType():
                return {"enum": list(type.values)}
            case ArrayType():
                return _array(type)
            case TableType():
                return _table(type)
            case OpaqueType():
                return self._foreign(type.schema)
            case StructType():
                return self._struct(type)
            case RefType():
                name = self._around.get(type.name)
                return {} if name is None else {"$ref": self._ref + name}
            case UnionType():
                return {"anyOf": [self.of(variant) for variant in type.variants]}
            case _:
                return self._container(type)

    def _container(self, type: Type) -> Json:
        match type:
            case ListType():
                shown: Json = {"type": "array", "items": self.of(type.item)}
                shown |= _set({"minItems": type.min_length, "maxItems": type.max_length})
                # Repeated items of a set are dropped, not refused: no uniqueItems.
                return shown
            case TupleType():
                size = len(type.items)
                shown = {"type": "array", "minItems": size, "maxItems": size}
                return {**shown, "prefixItems": [self.of(item) for item in type.items]} if size else shown
            case DictType():
                shown = {"type": "object", "additionalProperties": self.of(type.value)}
                return shown | _set({"minProperties": type.min_length, "maxProperties": type.max_length})
            case _:
                return {"type": _PLAIN[type]} if type in _PLAIN else {}

    def _struct(self, type: StructType) -> Json:
        previous = self._around.get(type.name)
        name = self._free_name(type.name)
        self._around[type.name] = name
        self._definitions[name] = {}  # taken, while its fields are translated
        shown = self._fields(type)
        self._definitions[name] = shown
        if previous is None:
            del self._around[type.name]
        else:
            self._around[type.name] = previous
        return {"$ref": self._ref + self._known(type.name, name)}

    def _known(self, wanted: str, name: str) -> str:
        """Return the name of an equal definition that was there before, and drop this one; else its own name."""
        mine = self._definitions[name]
        for other, known in self._definitions.items():
            if other == name or not other.startswith(wanted):
                continue
            if known == _with_refs(mine, {self._ref + name: self._ref + other}):
                del self._definitions[name]
                return other
        return name

    def _fields(self, type: StructType) -> Json:
        if type.array_like:
            least = sum(field.required for field in type.fields)
            shown: Json = {"type": "array", "minItems": least}
            if type.fields:
                shown["prefixItems"] = [self.of(field.type) for field in type.fields]
        else:
            properties = {field.name: self.of(field.type) for field in type.fields}
            required = [field.name for field in type.fields if field.required]
            if type.tag_field:
                properties = {type.tag_field: {"const": type.tag}, **properties}
                required = [type.tag_field, *required]
            shown = {"type": "object", "properties": properties, "required": required}
            if type.forbid_unknown:
                shown["additionalProperties"] = False
        return {"title": type.name, **shown, **({"description": type.doc} if type.doc else {})}

    def _free_name(self, wanted: str) -> str:
        wanted = (
            "".join(char if (char.isascii() and char.isalnum()) or char in "._-" else "_" for char in wanted)
            or "Struct"
        )
        name, number = wanted, 1
        while name in self._definitions:
            number += 1
            name = f"{wanted}-{number}"
        return name

    def _foreign(self, schema: Json) -> Json:
        """Return another library's schema, its ``$defs`` moved to the document's definitions."""
        schema = dict(schema)
        local: Json = schema.pop("$defs", {})
        if not local:
            return schema
        moved = {f"#/$defs/{name}": self._ref + name for name in local}
        for name in local:
            if self._definitions.get(name, {}) not in ({}, _with_refs(local[name], moved)):
                moved[f"#/$defs/{name}"] = self._ref + self._free_name(name)
            self._definitions.setdefault(moved[f"#/$defs/{name}"].removeprefix(self._ref), {})
        for name, definition in local.items():
            self._definitions[moved[f"#/$defs/{name}"].removeprefix(self._ref)] = _with_refs(definition, moved)
        shown: Json = _with_refs(schema, moved)
        return shown


def _with_refs(schema: Tree, moved: dict[str, str]) -> Any:
    """Return a schema whose references are those of `moved` (old → new) where it names them."""
    if isinstance(schema, dict):
        return {key: _with_refs(value, moved) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_with_refs(part, moved) for part in schema]
    return moved.get(schema, schema) if isinstance(schema, str) else schema


def array_text(type: ArrayType) -> str:
    """Return an array's element type and shape in words, as its schema's ``x-tiffin-type``: "array of float32 [*, 3]"."""
    shape = "" if type.shape is None else f" [{', '.join('*' if size is None else str(size) for size in type.shape)}]"
    return f"array{' of ' + type.dtype if type.dtype else ''}{shape}"


def _array(type: ArrayType) -> Json:
    if type.dtype == "bool":
        element: str | list[str] = "boolean"
    elif type.dtype.startswith(("int", "uint")):
        element = "integer"
    elif type.dtype.startswith("str"):
        element = "string"
    else:
        element = "number" if type.dtype else ["number", "boolean"]
    if type.shape is None:
        kinds = element if isinstance(element, list) else [element]
        return {
            "type": ["array", *kinds],
            "description": "Nested lists of any depth.",
            "x-tiffin-type": array_text(type),
        }
    shown: Json = {"type": element}
    for size in reversed(type.shape):
        shown = {"type": "array", "items": shown, **_set({"minItems": size, "maxItems": size})}
    return {**shown, "x-tiffin-type": array_text(type)}


def _table(type: TableType) -> Json:
    """Return the schema of rows or columns, as answers are written; a body may be either."""
    kinds = {name: _cell(dtype, missing=type.missing) for name, dtype in type.columns}
    if type.library == "series":
        value = next(iter(kinds.values()), _cell("", missing=type.missing))
        return value if type.single else {"type": "array", "items": value}
    by_column = type.orient == "columns" and not type.single
    if by_column:
        kinds = {name: {"type": "array", "items": kind} for name, kind in kinds.items()}
    other: Json = (
        {"type": "array", "items": _cell("", missing=type.missing)} if by_column else _cell("", missing=type.missing)
    )
    row: Json = {"type": "object", "properties": kinds, "required": list(kinds), "additionalProperties": False}
    if not kinds:
        row = {"type": "object", "additionalProperties": other}
        row["examples"] = [{"a": [1]} if by_column else {"a": 1}]
    if type.single or by_column:
        return row
    return {"type": "array", "items": row}


def _cell(dtype: str, *, missing: bool) -> Json:
    """Return the schema of one value of a column; "" is any."""
    null = ["null"] if missing else []
    if not dtype:
        return {"type": ["number", "string", "boolean", *null]}
    if dtype.startswith("datetime64"):
        return {"type": ["string", *null] if null else "string", "format": "date-time"}
    name = dtype.lower()
    if name.startswith("bool"):
        kind = "boolean"
    elif name.startswith("float"):
        kind = "number"
    else:
        kind = "string" if name in ("str", "category") else "integer"
    whole = dtype == "bool" or dtype.startswith(("int", "uint"))  # of which none may be missing
    return {"type": kind if whole or not missing else [kind, "null"]}


def _file(type: FileType) -> Json:
    """Return a file as it is in JSON, and what it is outside of it."""
    media = type.media or ("image/*" if type.form == "image" else "")
    words = {"image": "image", "path": "file", "bytes": "bytes"}
    shown = {"contentMediaType": media or None, "x-tiffin-type": words[type.form]}
    return {"type": "string", "contentEncoding": "base64", **_set(shown)}


def _set(values: Json) -> Json:
    return {key: value for key, value in values.items() if value is not None}
