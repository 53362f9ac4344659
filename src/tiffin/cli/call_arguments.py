"""What `tiffin call` is given → arguments by name: fields, files, a JSON text.

Owns how a value on the command line is read; never calls. Files are named, not read, but for arrays (.npy).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from tiffin.client.schema import FILE_KINDS, Json, MethodSchema, is_json, kind_of
from tiffin.errors import UsageError

_TABLE = "--json @rows.json; or curl -H 'content-type: text/csv' --data-binary @table.csv URL"


def gather(
    method: MethodSchema,
    definitions: Mapping[str, Json],
    *,
    fields: Sequence[str],
    files: Sequence[str],
    content: str,
    stdin: Callable[[], bytes],
) -> dict[str, Any]:
    """Return the arguments of a call.

    Args:
        method: what is called. definitions: the schema's. fields: "name=value" or "a.b=value". files: "name=@path".
        content: JSON of all arguments, "@path" or "-" for where it stands, "" for none; fields and files go on top.
        stdin: reads standard input.

    Raises:
        UsageError: a value that cannot be read, a name that the method has not.
    """
    arguments: dict[str, Any] = {}
    if content:
        arguments = _whole(method, _json(_text(content, stdin), "--json"))
    for field in fields:
        path, _, text = _pair(field, "--field")
        name, *inner = path.split(".")
        schemas = {param.name: param.schema for param in method.params}
        schema: Json = schemas.get(name, {})
        place: Json = arguments
        for key in [name, *inner][:-1]:
            below = place.setdefault(key, {})
            if not is_json(below):
                raise UsageError(f"--field {field}: {key} has a value already that has no fields")
            place = below
        for key in inner:
            schema = _resolved(schema, definitions).get("properties", {}).get(key, {})
        place[[name, *inner][-1]] = value(text, _resolved(schema, definitions), field)
    for file in files:
        name, _, path = _pair(file, "--file")
        found = stdin() if path == "-" else _existing(path.removeprefix("@"), file)
        kind, many = next((kind_of(param.schema) for param in method.params if param.name == name), ("json", False))
        if kind == "array":
            found = _array(found, file)
        elif kind == "table":
            raise UsageError(f"--file {file}: {name} is a table, which this command sends as JSON only", hint=_TABLE)
        arguments[name] = [*arguments.get(name, []), found] if many else found
    return arguments


def value(text: str, schema: Json, field: str) -> Any:
    """Return the value of a field's text: as it is where the schema says text, else as JSON says it.

    Raises:
        UsageError: it is no JSON, and the schema takes no text.
    """
    kind, _many = kind_of(schema)
    if kind == "text" or text in schema.get("enum", ()):
        return text
    if kind in FILE_KINDS and not text.startswith(("http://", "https://")):
        name = field.partition("=")[0]
        raise UsageError(f"--field {field}: {name} takes a file", hint=f"--file {name}=@{text.removeprefix('@')}")
    try:
        return json.loads(text)
    except ValueError as error:
        if not schema or kind in FILE_KINDS or any(kind_of(one)[0] == "text" for one in schema.get("anyOf", ())):
            return text
        raise UsageError(
            f"--field {field}: {text[:80]!r} is not JSON: {error}",
            hint="numbers, true, null, [lists] and {objects} are JSON; texts in those need quotes",
        ) from error


def _whole(method: MethodSchema, found: Any) -> dict[str, Any]:
    """Return the arguments that a JSON text holds: all by name, or the one that is the whole body."""
    if method.whole_body:
        return {method.params[0].name: found}
    if not isinstance(found, dict):
        names = ", ".join(f'"{param.name}": …' for param in method.params)
        raise UsageError(f"--json is {type(found).__name__}, not an object of arguments", hint=f"--json '{{{names}}}'")
    return cast("dict[str, Any]", found)


def _text(content: str, stdin: Callable[[], bytes]) -> str | bytes:
    if content == "-":
        return stdin()
    return _existing(content[1:], f"--json {content}").read_bytes() if content.startswith("@") else content


def _json(text: str | bytes, option: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(
            f"{option} is not JSON: {error}", hint="a file is @path, standard input is -", exit_code=65
        ) from error


def _pair(given: str, option: str) -> tuple[str, str, str]:
    name, sign, rest = given.partition("=")
    if not sign or not name:
        raise UsageError(f"{option} {given!r} has no name", hint=f"{option} name=value")
    return name, sign, rest


def _existing(path: str, given: str) -> Path:
    place = Path(path)
    if not place.is_file():
        raise UsageError(f"{given}: there is no file {path!r}")
    return place


def _array(found: Path | bytes, given: str) -> Any:
    import numpy as np  # only for arrays: the command starts without it

    try:
        return np.load(io.BytesIO(found) if isinstance(found, bytes) else found, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UsageError(
            f"--file {given}: an array is a .npy file of numbers: {error}", hint="numpy.save writes one", exit_code=65
        ) from error


def _resolved(schema: Json, definitions: Mapping[str, Json]) -> Json:
    reference = str(schema.get("$ref", "")).rpartition("/")[2]
    return definitions.get(reference, schema)
