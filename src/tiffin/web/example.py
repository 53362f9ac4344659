"""JSON Schema → a value that satisfies it, so that "try it" has something to send.

Owns the choice of values; never checks any. Pure. Of optional properties only those with a default appear. `room` is the number
of values that a part may still hold.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

Schema = Mapping[str, Any]  # whoever wrote it: values are looked at before they are trusted

_DEPTH = 24
_ROOM = 8192
_FORMATS = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "duration": "PT5S",
    "uuid": "123e4567-e89b-42d3-a456-426614174000",
    "email": "ada@example.com",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "decimal": "1.5",
    "byte": "aGVsbG8=",
    "binary": "aGVsbG8=",
    "base64": "aGVsbG8=",
}
_WORDS = (
    "text",
    "a",
    "A",
    "1",
    "abc",
    "ABC",
    "123",
    "a1",
    "2026-01-31",
    "ada@example.com",
    "1.0.0",
    "a-b",
    "A1B2C3",
    "#aabbcc",
)


class TooLargeError(ValueError):
    """The smallest value that the schema accepts is larger than anybody would read, for example an image."""


def example(schema: Schema | bool, definitions: Mapping[str, Schema]) -> Any:
    """Return a JSON-able value that the schema accepts; null where the schema asks for the impossible.

    Args:
        schema: a JSON Schema; true accepts anything.
        definitions: what the last part of a `$ref` names.

    Raises:
        TooLargeError: it would have thousands of values.
    """
    return _value(schema, definitions, 0, _ROOM)


def _value(schema: Schema | bool, definitions: Mapping[str, Schema], depth: int, room: int) -> Any:
    if isinstance(schema, bool) or depth > _DEPTH:
        return None
    if "$ref" in schema:
        return _value(definitions.get(str(schema["$ref"]).rsplit("/", 1)[-1], {}), definitions, depth + 1, room)
    if "default" in schema:
        return schema["default"]
    if schema.get("examples"):
        return schema["examples"][0]
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if schema.get("allOf"):
        return _value(_merged(schema, definitions), definitions, depth + 1, room)
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return _first(schema[key], definitions, depth, room)
    kind: Any = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in cast("list[str]", kind) if name != "null"), "null")
    if kind == "object" or (kind is None and "properties" in schema):
        return _object(schema, definitions, depth, room)
    if kind == "array" or (kind is None and ("items" in schema or "prefixItems" in schema)):
        return _array(schema, definitions, depth, room)
    if kind in ("integer", "number"):
        return _number(schema, whole=kind == "integer")
    if kind == "string":
        return _string(schema)
    return True if kind == "boolean" else None


def _first(options: Sequence[Schema | bool], definitions: Mapping[str, Schema], depth: int, room: int) -> Any:
    """Return the first option's value that is not null; a recursive type ends where only null is left."""
    for option in options:
        value = _value(option, definitions, depth + 1, room)
        if value is not None:
            return value
    return None


def _merged(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Return one schema that says what all parts of `allOf` say."""
    merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
    parts: list[Schema] = schema["allOf"]
    for part in parts:
        found = definitions.get(str(part["$ref"]).rsplit("/", 1)[-1], {}) if "$ref" in part else part
        for key, value in found.items():
            if key == "properties":
                merged[key] = {**merged.get(key, {}), **value}
            elif key == "required":
                merged[key] = [*merged.get(key, []), *value]
            else:
                merged.setdefault(key, value)
    return merged


def _object(schema: Schema, definitions: Mapping[str, Schema], depth: int, room: int) -> dict[str, Any]:
    required = set(schema.get("required", ()))
    properties: dict[str, Schema | bool] = schema.get("properties", {})
    value = {
        name: _value(part, definitions, depth + 1, room)
        for name, part in properties.items()
        if name in required or (not isinstance(part, bool) and "default" in part)
    }
    others: Schema | bool | None = schema.get("additionalProperties")
    fewest = max(int(schema.get("minProperties", 0)), 0 if others is None or isinstance(others, bool) or value else 1)
    if fewest > len(value) and others is not False and depth < _DEPTH // 2:
        room = _shared(room, fewest)
        for number in range(1, fewest - len(value) + 1):
            value[f"key{number}"] = _value({} if others is None else others, definitions, depth + 1, room)
    return value


def _array(schema: Schema, definitions: Mapping[str, Schema], depth: int, room: int) -> list[Any]:
    first: Sequence[Schema | bool] = schema.get("prefixItems", ())
    value = [_value(part, definitions, depth + 1, room) for part in first]
    items: Schema | bool = schema.get("items", True)
    fewest = int(schema.get("minItems", 0))
    most = int(schema.get("maxItems", _ROOM))
    # A list that may be empty is shown with one item, unless it is how a recursive type ends.
    wanted = max(fewest, min(1 if not first and depth < _DEPTH // 2 else 0, most))
    room = _shared(room, wanted)
    if items is False or len(value) >= wanted:
        return value
    if schema.get("uniqueItems"):
        return value + _different(items, definitions, depth, room, wanted - len(value))
    return value + [_value(items, definitions, depth + 1, room)] * (wanted - len(value))


def _shared(room: int, parts: int) -> int:
    """Return the room that each of so many parts has."""
    if parts > room:
        raise TooLargeError(f"{parts} values are more than an example shows")
    return room // max(parts, 1)


def _different(
    items: Schema | bool, definitions: Mapping[str, Schema], depth: int, room: int, wanted: int
) -> list[Any]:
    start = _value(items, definitions, depth + 1, room)
    if isinstance(items, Mapping) and items.get("enum"):
        return list(items["enum"][:wanted])
    if isinstance(start, str):
        return [start, *(f"{start}{number}" for number in range(2, wanted + 1))][:wanted]
    if isinstance(start, int | float) and not isinstance(start, bool):
        return [start + number for number in range(wanted)]
    return [start] * min(wanted, 1)


def _number(schema: Schema, *, whole: bool) -> float | int:
    low = schema.get("minimum", -math.inf)
    high = schema.get("maximum", math.inf)
    above = schema.get("exclusiveMinimum", -math.inf)
    below = schema.get("exclusiveMaximum", math.inf)
    step = schema.get("multipleOf") or (1 if whole else None)
    floor, ceiling = max(low, above), min(high, below)
    candidates: list[float] = [1 if whole else 0.5, 1, 0]
    if math.isfinite(floor):
        candidates += [floor, floor + (step or 1)]
    if math.isfinite(ceiling):
        candidates += [ceiling, ceiling - (step or 1)]
    if math.isfinite(floor) and math.isfinite(ceiling):
        candidates.append((floor + ceiling) / 2)
    if step:
        candidates = [
            up for value in candidates for up in (math.ceil(value / step) * step, math.floor(value / step) * step)
        ]
    for value in candidates:
        if low <= value <= high and above < value < below:
            return int(value) if whole else float(value)
    return 0


def _string(schema: Schema) -> str:
    fewest = int(schema.get("minLength", 0))
    most = int(schema.get("maxLength", _ROOM))
    _shared(_ROOM, fewest)
    known = _FORMATS.get(schema.get("format", "")) or _FORMATS.get(schema.get("contentEncoding", ""))
    words = (known, *_WORDS) if known else _WORDS
    pattern = schema.get("pattern")
    for word in words:
        fitting = (word * (fewest // len(word) + 1))[:fewest] if len(word) < fewest else word
        if len(fitting) <= most and (pattern is None or _matches(pattern, fitting)):
            return fitting
    return "text"[:most].ljust(fewest, "x")


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return True  # a pattern in another dialect: nobody here can tell
