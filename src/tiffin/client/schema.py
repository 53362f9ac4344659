"""What a server says of itself in /schema.json: its methods, their parameters and results.

Owns the document's shape as a client reads it, and what a JSON Schema's marks mean; never fetches it. Times in seconds.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Literal, TypeGuard, cast

import msgspec

from tiffin.errors import Code, Error, UsageError
from tiffin.spec.types import ArrayType

Json = dict[str, Any]
Kind = Literal["array", "image", "file", "bytes", "table", "text", "json"]
FILE_KINDS: tuple[Kind, ...] = ("image", "file", "bytes")

_ARRAY = re.compile(r"array(?: of (?P<dtype>[a-z]+[0-9]*))?(?: \[(?P<shape>[0-9*, ]*)\])?")
_MARKS: tuple[Kind, ...] = ("array", "image", "file", "bytes", "table")


class ParamSchema(msgspec.Struct, frozen=True):
    """One parameter; `schema` is the JSON Schema of its value in JSON."""

    name: str
    required: bool = True
    schema: Json = {}
    batched: bool = False


class MethodSchema(msgspec.Struct, frozen=True):
    """One method; the names are those of `spec.MethodSpec`. takes, gives: media types, the method's own choice first."""

    name: str
    route: str
    doc: str = ""
    streams: bool = False
    idempotent: bool = True
    whole_body: bool = False
    one_row: bool = False
    timeout_s: float | None = None
    takes: tuple[str, ...] = ("application/json",)
    gives: tuple[str, ...] = ("application/json",)
    params: tuple[ParamSchema, ...] = ()
    returns: Json = {}


class ServiceSchema(msgspec.Struct, frozen=True):
    """The document. definitions: JSON Schemas by name, for ``#/definitions/…``."""

    format: int
    service: str
    methods: tuple[MethodSchema, ...]
    doc: str = ""
    definitions: dict[str, Json] = {}

    def find(self, name: str) -> MethodSchema:
        """Return the method of that name.

        Raises:
            AttributeError: there is none; the nearest one is named.
        """
        for method in self.methods:
            if method.name == name:
                return method
        names = [method.name for method in self.methods]
        nearest = difflib.get_close_matches(name, names, 1)
        said = f"did you mean {nearest[0]!r}?" if nearest else f"it has {', '.join(names) or 'none'}"
        raise AttributeError(f"service {self.service!r} has no method {name!r}: {said}")

    def digest(self) -> str:
        """Return a hash (16 hex digits) of what a caller depends on: methods, parameters, results; not docs or limits."""
        facts = [
            [one.name, one.route, one.streams, one.whole_body, one.one_row]
            + [[param.name, param.required, _bare(param.schema)] for param in one.params]
            + [_bare(one.returns)]
            for one in self.methods
        ]
        text = msgspec.json.encode([self.format, self.service, facts, _bare(self.definitions)], order="deterministic")
        return hashlib.sha256(text).hexdigest()[:16]


def read_schema(text: bytes | str, source: str) -> ServiceSchema:
    """Read a /schema.json document.

    Args:
        text: the document. source: where it comes from, for the error.

    Raises:
        UsageError: it is none, or one of a later format.
    """
    try:
        schema = msgspec.json.decode(text, type=ServiceSchema)
    except msgspec.MsgspecError as error:
        raise UsageError(
            f"{source} is no description of a Tiffin service: {error}",
            hint="give the address of a server that `tiffin serve` started, or a saved copy of its /schema.json",
            exit_code=65,
        ) from error
    if schema.format != 1:
        raise UsageError(
            f"{source} has format {schema.format}, this Tiffin reads format 1",
            hint="install the Tiffin that the server runs",
            exit_code=65,
        )
    return schema


def read_given(given: ServiceSchema | Mapping[str, Any] | bytes | str) -> ServiceSchema:
    """Return the schema that a user handed over: as it is, decoded JSON, or its text.

    Raises:
        UsageError: as `read_schema`.
    """
    if isinstance(given, ServiceSchema):
        return given
    text = given if isinstance(given, bytes | str) else msgspec.json.encode(given)
    return read_schema(text, "the schema that was given")


def kind_of(schema: Json) -> tuple[Kind, bool]:
    """Return what a value of this JSON Schema is to a client, and whether the value is a list of such things.

    "text" is a plain string; "json" is anything without a mark. An optional is what it is when it is there.
    """
    mark = str(schema.get("x-tiffin-type", ""))
    for kind in _MARKS:
        if mark == kind or mark.startswith(f"{kind} "):
            return kind, False
    if schema.get("contentEncoding") == "base64" or schema.get("format") == "binary":
        return "bytes", False
    variants = _present(schema)
    if len(variants) == 1:
        return kind_of(variants[0])
    items = schema.get("items")
    if schema.get("type") == "array" and is_json(items):
        kind, many = kind_of(items)
        if kind in FILE_KINDS and not many:
            return kind, True
    return ("text", False) if schema.get("type") == "string" else ("json", False)


def is_text(schema: Json) -> bool:
    """Say whether a value is its own text in a form: text, one of some texts, or one of these or nothing."""
    variants = _present(schema)
    if variants:
        return all(map(is_text, variants))
    if "enum" in schema:
        return all(isinstance(one, str) for one in schema["enum"])
    return kind_of(schema)[0] == "text"


def array_of(schema: Json) -> ArrayType:
    """Return the element type and shape that an array's mark names ("array of float32 [*, 224]")."""
    mark = str(schema.get("x-tiffin-type", ""))
    if not mark:
        variants = _present(schema)
        return array_of(variants[0]) if len(variants) == 1 else ArrayType()
    found = _ARRAY.fullmatch(mark)
    if found is None:
        return ArrayType()
    shape = found["shape"]
    if shape is None:
        sizes: tuple[int | None, ...] | None = None
    else:
        sizes = tuple(None if part == "*" else int(part) for part in shape.replace(" ", "").split(",") if part)
    return ArrayType(dtype=found["dtype"] or "", shape=sizes)


def holds(schema: Any, definitions: Mapping[str, Json], wanted: str, _seen: frozenset[str] = frozenset()) -> bool:
    """Say whether values of a JSON Schema may hold a thing.

    Args:
        schema: what is looked through. definitions: for its references.
        wanted: "array" for arrays and values of no known type, "bytes", or "time" for texts with a date or time.
    """
    if not is_json(schema) or _names(schema, wanted):
        return is_json(schema)
    reference = str(schema.get("$ref", "")).rpartition("/")[2]
    if reference and reference not in _seen:
        return holds(definitions.get(reference, {}), definitions, wanted, _seen | {reference})
    inner: list[Any] = [schema.get("items"), schema.get("additionalProperties")]
    inner += list(schema.get("properties", {}).values())
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        inner += schema.get(key, [])
    return any(holds(part, definitions, wanted, _seen) for part in inner)


def _names(schema: Json, wanted: str) -> bool:
    if wanted == "time":
        return str(schema.get("format", "")) in ("date-time", "date", "time", "duration")
    if wanted == "bytes":
        return kind_of(schema)[0] in FILE_KINDS
    untyped = not schema.keys() - {"title", "description", "default", "examples"}
    return untyped or kind_of(schema)[0] == "array"


def is_json(value: Any) -> TypeGuard[Json]:
    """Say whether a value is a JSON object."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Say whether a value is a JSON array."""
    return isinstance(value, list)


def _present(schema: Json) -> list[Json]:
    """Return the variants of a union that are something."""
    variants = cast("list[Json]", schema.get("anyOf", []))
    return [one for one in variants if one.get("type") != "null"]


def _bare(schema: Any) -> Any:
    """Return a schema without what only people read."""
    if is_json(schema):
        return {key: _bare(value) for key, value in schema.items() if key not in ("description", "examples")}
    if is_list(schema):
        return [_bare(one) for one in schema]
    return schema


def not_a_server(url: str) -> Error:
    """Return the error for an address that answers, but not as a Tiffin server does."""
    return Error(
        f"{url} has no /schema.json, so what listens there is no Tiffin server, or it has a path prefix: "
        "give the address that `tiffin serve` printed",
        code=Code.NOT_FOUND,
    )
