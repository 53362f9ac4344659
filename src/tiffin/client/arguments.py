"""Positional and keyword arguments → the parameters of a method, as Python binds them.

Owns the binding and its complaints, which are TypeErrors as for any Python function; never looks at a value.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET

from tiffin.client.schema import MethodSchema


def bind(method: MethodSchema, positional: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments by parameter name, in the method's order; those that are `msgspec.UNSET` are left out.

    Raises:
        TypeError: too many, an unknown name, one given twice, or one that is missing.
    """
    names = [param.name for param in method.params]
    if len(positional) > len(names):
        raise TypeError(
            f"{method.name}() takes {len(names)} arguments ({', '.join(names)}), {len(positional)} were given"
        )
    given = dict(zip(names, positional, strict=False))
    for name, value in named.items():
        if name not in names:
            nearest = difflib.get_close_matches(name, names, 1)
            said = f"did you mean {nearest[0]!r}?" if nearest else f"it takes {', '.join(names) or 'none'}"
            raise TypeError(f"{method.name}() has no argument {name!r}: {said}")
        if name in given:
            raise TypeError(f"{method.name}() got {name!r} twice, by position and by name")
        given[name] = value
    given = {name: given[name] for name in names if given.get(name, UNSET) is not UNSET}
    missing = [param.name for param in method.params if param.required and param.name not in given]
    if missing:
        raise TypeError(f"{method.name}() needs {', '.join(map(repr, missing))}: pass {missing[0]}=…")
    return given


def signature(method: MethodSchema) -> inspect.Signature:
    """Return the signature for `help()` and editors; what the server fills in shows as ``...``."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    shown: list[inspect.Parameter] = []
    for param in sorted(method.params, key=lambda param: not param.required):
        name = param.name if param.name.isidentifier() else "argument"
        shown.append(inspect.Parameter(name, kind, default=inspect.Parameter.empty if param.required else ...))
    return inspect.Signature(shown)
