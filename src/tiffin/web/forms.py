"""Files in the OpenAPI document: forms, bodies and answers that are files.

Owns how these are described; the documents' shape is `openapi`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, cast

from tiffin.codecs.files import client_type, file_param, is_text, raw_file, single_file, takes_files
from tiffin.messages.link import Media
from tiffin.spec.service import MethodSpec, Param
from tiffin.spec.types import ListType, Type

Json = dict[str, Any]
Tree: TypeAlias = "dict[str, Tree] | list[Tree] | str | int | float | bool | None"

_OCTETS = "application/octet-stream"


def body_names(method: MethodSpec, numbers: list[int]) -> list[str]:
    """Return the media types of bodies, by their numbers; a file's is the one that the method takes."""
    names = [Media.NAMES[number].split(";", 1)[0] for number in numbers]
    raw = raw_file(method) if takes_files(method) else None
    media = "" if raw is None else raw.file.media or ("image/*" if raw.file.form == "image" else "")
    return [media if media and number == Media.BYTES else name for number, name in zip(numbers, names, strict=True)]


def answer_names(returns: Type, numbers: list[int]) -> list[str]:
    """Return the media types of answers, by their numbers; a file's is the one that it will have."""
    names = [Media.NAMES[number].split(";", 1)[0] for number in numbers]
    one = single_file(returns)
    media = "" if one is None else one.media or ("image/png" if one.form == "image" else "")
    return [media if media and number == Media.BYTES else name for number, name in zip(numbers, names, strict=True)]


def raw_schema(media: str) -> Json:
    """Return the schema of a body that is one file."""
    shown = {"type": "string", "format": "binary", "x-tiffin-type": "image" if media.startswith("image/") else "file"}
    return shown if media == _OCTETS else {**shown, "contentMediaType": media}


def form(method: MethodSpec, schema_of: Callable[[Param], Json]) -> Json:
    """Return the media type object of a method's form: files as they are, text as it is, all else as JSON.

    Args:
        schema_of: returns the schema of a parameter in JSON.
    """
    properties: Json = {}
    encoding: Json = {}
    for param in method.params:
        shown = schema_of(param)
        kind = client_type(method, param)
        if file_param(kind) is not None:
            properties[param.name] = binary(_without_null(shown))
        else:
            properties[param.name] = shown
            if not is_text(kind):
                encoding[param.name] = {"contentType": "application/json"}
    schema = {
        "type": "object",
        "properties": properties,
        "required": [param.name for param in method.params if param.required],
    }
    rows = [param.name for param in method.params if param.batched]
    shape: Json = {"schema": schema, "x-tiffin-fields": True, "x-tiffin-batched": rows}
    return {**shape, "encoding": encoding} if encoding else shape


def form_example(method: MethodSpec, shown: Json) -> Json:
    """Return a form's example without its files, which everybody has their own of (and which it would be wrong to leave out)."""
    files = {param.name for param in method.params if file_param(client_type(method, param)) is not None}
    kept = {name: value for name, value in shown.get("example", {}).items() if name not in files}
    return {"x-tiffin-example": kept} if kept else {}


def form_answer(returns: Type, shown: Json) -> Json:
    """Return the media type object of an answer with a part for each field, or for each item of a list.

    Args:
        returns: type of the result. shown: its schema in JSON.
    """
    words = (
        "One part for each item, named by its index." if isinstance(returns, ListType) else "One part for each field."
    )
    if "$ref" in shown:
        return {"schema": {**shown, "description": f"{words} Files are sent as they are."}}
    return {"schema": {**binary(shown), "description": words}}


def binary(schema: Tree) -> Any:
    """Return a schema whose files are files, not their base64."""
    if isinstance(schema, list):
        return [binary(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("contentEncoding") == "base64":
        kept = {key: value for key, value in schema.items() if key != "contentEncoding"}
        kind = str(schema.get("x-tiffin-type", "bytes")).split(" ", 1)[0]
        return {**kept, "format": "binary", "x-tiffin-type": kind}
    return {key: binary(value) for key, value in schema.items()}


def _without_null(shown: Json) -> Json:
    """Return a schema without its null: a form leaves out what is not there."""
    options = cast("list[Json]", shown.get("anyOf", []))
    others = [option for option in options if option != {"type": "null"}]
    return others[0] if len(others) == 1 else shown
