"""JSON Schema → Python annotations and TypedDicts, as a caller writes and reads the values.

Owns the words of types in generated clients; never writes a file. What is sent may be any array-like or sequence, what is
received is exactly what `client.decode` gives.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from typing import Any, Literal

from tiffin.client.schema import Json, array_of, is_json, is_list, kind_of

Role = Literal["in", "out"]

_SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
BUILTINS = frozenset(("str", "int", "float", "bool", "bytes", "list", "dict", "tuple", "np", "npt"))
"""Names that annotations use: a method or field called so would hide them in its class."""

_WORD = re.compile(r"[^0-9A-Za-z_]+")


class PythonTypes:
    """The types of one service.

    Args:
        definitions: JSON Schemas by name. taken: class names that are not free.

    Attributes:
        numpy, files: whether an annotation names numpy, or the files' alias.
        classes: source of each TypedDict, in the order found.
    """

    def __init__(self, definitions: Mapping[str, Json], taken: set[str]) -> None:
        self._definitions = definitions
        self._taken = set(taken)
        self._names: dict[str, str] = {}
        self.numpy = False
        self.files = False
        self.classes: list[str] = []
        for name in definitions:
            self._names[name] = self._class_name(name)
        for name, schema in definitions.items():
            self._define(self._names[name], schema)

    def of(self, schema: Any, role: Role, around: str) -> str:
        """Return the annotation of a value.

        Args:
            schema: JSON Schema. role: whether the caller sends or receives it. around: what an unnamed object is called after.
        """
        if not is_json(schema):
            return "Any"
        kind, many = kind_of(schema)
        variants = [one for key in ("anyOf", "oneOf") for one in schema.get(key, [])]
        if kind in ("array", "image", "file", "bytes", "table") and not many and not variants:
            return self._marked(kind, schema, role)
        if "$ref" in schema:
            return self._names.get(str(schema["$ref"]).rpartition("/")[2], "Any")
        if "const" in schema or "enum" in schema:
            return _literal(schema.get("enum", [schema.get("const")]))
        if variants:
            return _union([self.of(one, role, around) for one in variants])
        several = schema.get("type")
        if is_list(several):
            return _union([self.of({**schema, "type": one}, role, around) for one in several])
        return self._typed(str(several), schema, role, around)

    def _typed(self, name: str, schema: Json, role: Role, around: str) -> str:
        if name == "array":
            return self._list(schema, role, around)
        if name != "object":
            return _SCALARS.get(name, "Any")
        if schema.get("properties"):
            title = self._class_name(str(schema.get("title") or around))
            self._define(title, schema)
            return title
        values = schema.get("additionalProperties")
        inner = self.of(values, role, around) if is_json(values) else "Any"
        return f"{'Mapping' if role == 'in' else 'dict'}[str, {inner}]"

    def _list(self, schema: Json, role: Role, around: str) -> str:
        first = schema.get("prefixItems", [])
        if first:
            parts = [self.of(one, role, around) for one in first]
            return f"tuple[{', '.join(parts)}]" if role == "in" else f"list[{_union(parts)}]"
        inner = self.of(schema.get("items"), role, around)
        return f"{'Sequence' if role == 'in' else 'list'}[{inner}]"

    def _marked(self, kind: str, schema: Json, role: Role) -> str:
        if kind == "table":
            return "Any"
        if kind == "array":
            self.numpy = True
            if role == "in":
                return "npt.ArrayLike"
            dtype = array_of(schema).dtype
            inner = {"": "Any", "str": "np.str_", "bool": "np.bool_"}.get(dtype, f"np.{dtype}")
            return f"npt.NDArray[{inner}]"
        if role == "out":
            return "bytes"
        self.files = True
        return "FileInput"

    def _define(self, name: str, schema: Json) -> None:
        fields: Json = schema.get("properties", {})
        if not fields:
            self.classes.append(f"{name}: TypeAlias = {self.of(schema, 'out', name + 'Value')!r}\n")
            return
        place = len(self.classes)
        self.classes.append("")
        required = schema.get("required", [])
        shown = {key: self.of(part, "out", f"{name}_{key}") for key, part in fields.items()}
        shown = {key: text if key in required else f"NotRequired[{text}]" for key, text in shown.items()}
        doc = docstring(str(schema.get("description", "")) or f"The fields of {name}.", 4)
        if all(key.isidentifier() and not keyword.iskeyword(key) and key not in BUILTINS for key in shown):
            lines = [f"class {name}(TypedDict):", doc, "", *(f"    {key}: {text}" for key, text in shown.items())]
        else:
            # Names that a class body cannot have: the other way to define a TypedDict, which takes types as text.
            lines = [f"{name} = TypedDict(", f'    "{name}",', "    {"]
            lines += [f"        {key!r}: {text!r}," for key, text in shown.items()]
            lines += ["    },", ")"]
        self.classes[place] = "\n".join(lines) + "\n"

    def _class_name(self, wanted: str) -> str:
        """Return a free class name like the one that is wanted: "my.Item-2" → "MyItem2"."""
        words = [word for word in _WORD.split(wanted.replace("_", " ")) if word]
        name = "".join(word[:1].upper() + word[1:] for word in words)
        name = name if name.isidentifier() else f"Type{name}"
        free, number = name, 1
        while free in self._taken or keyword.iskeyword(free):
            number += 1
            free = f"{name}{number}"
        self._taken.add(free)
        return free


def _literal(values: list[Any]) -> str:
    exact = [one for one in values if isinstance(one, str | int | bool) or one is None]
    if not exact or len(exact) != len(values):
        return "Any"
    return f"Literal[{', '.join(map(quoted, exact))}]"


def quoted(value: Any) -> str:
    """Return a text as a literal in double quotes, anything else as Python writes it."""
    if not isinstance(value, str):
        return repr(value)
    return '"' + value.encode("unicode_escape").decode().replace('"', '\\"') + '"'


def _union(parts: list[str]) -> str:
    unique = list(dict.fromkeys(parts))
    if "Any" in unique or not unique:
        return "Any"
    if "None" in unique:
        unique.remove("None")
        unique.append("None")
    return " | ".join(unique)


def docstring(text: str, indent: int) -> str:
    """Return a docstring's lines, whatever the text holds: a server's words must not end it and go on as code."""
    space = " " * indent
    clean = "".join(char if char.isprintable() or char == "\n" else " " for char in text).strip() or "..."
    clean = clean.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    if clean.endswith('"'):
        clean = clean[:-1] + '\\"'
    lines = clean.splitlines()
    if len(lines) == 1:
        return f'{space}"""{clean}"""'
    return "\n".join([f'{space}"""{lines[0]}', *(f"{space}{line}".rstrip() for line in lines[1:]), f'{space}"""'])
