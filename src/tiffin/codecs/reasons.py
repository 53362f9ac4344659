"""Library messages → INVALID_INPUT with a path and a reason per wrong field.

Owns how a path is written (``x[3].y``) and how reasons read; never validates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tiffin.errors import Code, Error

_AT = re.compile(r"(.*?) - at (`key` in )?`\$(.*)`\Z", re.DOTALL)
_FIELD = re.compile(r"Object (missing required|contains unknown) field `(.*)`\Z", re.DOTALL)
MAX_REASONS = 32
_MAX_TEXT = 200


def invalid(path: str, reason: str) -> Error:
    """Return the error for one wrong field; `path` is "" for the whole body."""
    return invalid_fields([(path, reason)])


def invalid_fields(reasons: Iterable[tuple[str, str]]) -> Error:
    """Return the error for wrong fields, at least one, in the order found."""
    details = [{"path": path[:_MAX_TEXT], "reason": reason[:_MAX_TEXT]} for path, reason in reasons][:MAX_REASONS]
    first = details[0]
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    where = f"{first['path']}: " if first["path"] else ""
    return Error(f"invalid input: {where}{first['reason']}{more}", code=Code.INVALID_INPUT, details=details)


def from_msgspec(error: Exception, prefix: str = "", fields: Sequence[str] = ()) -> Error:
    """Translate what a msgspec decoder raised: `ValidationError`, `DecodeError`, or `RecursionError` for too deep nesting.

    Args:
        error: the exception. prefix: path of the decoded part within the body, "" for all of it.
        fields: of the object that the whole body is, to name them to a client that sent something else.
    """
    if isinstance(error, RecursionError):
        return invalid(prefix, "nested too deep")
    if isinstance(error, UnicodeError):
        return invalid(prefix, "not valid UTF-8")
    text = str(error)
    path = ""
    found = _AT.match(text)
    if found:
        text, key, path = found.groups()
        text += " as a key" if key else ""
    elif fields and text.startswith("Expected `object`, got "):
        text = text.replace("object", f"object with {', '.join(fields)}", 1)
    field = _FIELD.match(text)
    if field:
        path = f"{path}.{field[2]}"
        text = "required, but missing" if field[1] == "missing required" else "unknown field"
    return invalid(join(prefix, path), _lowered(text))


def from_pydantic(errors: Iterable[Mapping[str, Any]], prefix: str = "") -> Error:
    """Translate ``ValidationError.errors()`` of pydantic, every one.

    Args:
        errors: dicts with "loc" and "msg". prefix: path of the validated part within the body, "" for all of it.
    """
    return invalid_fields([(join(prefix, location(error["loc"])), _lowered(str(error["msg"]))) for error in errors])


def location(loc: Iterable[str | int]) -> str:
    """Return pydantic's location as a path."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)


def join(prefix: str, path: str) -> str:
    """Return the path of a part (``.y``, ``[3]``) within a field."""
    return (prefix + path).removeprefix(".")


def _lowered(text: str) -> str:
    """Return a message as a reason: 'Expected `int`, got `str`' → 'expected int, got str'."""
    if text.startswith("JSON is malformed: "):
        return f"not JSON: {text[19:]}"
    if text == "Input data was truncated":
        return "incomplete: the data ends too early"
    return text[:1].lower() + text[1:].replace("`", "")
