"""Chat templates of a stranger's tokenizer, parsed and never rendered.

Owns the list of what in them would leave the sandbox or take all memory: the libraries' sandbox stops the first and large ranges,
but not `'a' * 10**10`. Never executes one.
"""
# pyright: basic

from __future__ import annotations

import re
from typing import Any

MOST = 10_000  # a factor above this is no layout of a conversation
_MARKS = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")  # a tag that transformers adds to the language


def reach(template: str) -> list[str]:
    """Return what in a template is not layout, as sentences; empty: it is harmless to render."""
    try:
        from jinja2 import TemplateSyntaxError, nodes
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        return []  # then nothing here can render it either
    try:
        tree = ImmutableSandboxedEnvironment(extensions=[loopcontrols]).parse(_MARKS.sub("", template))
    except (TemplateSyntaxError, RecursionError) as error:
        return [f"its chat template cannot be read: {str(error)[:80]}"]
    found: list[str] = []
    node: Any
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        name: Any = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", "")
        if isinstance(name, str) and name.startswith("_"):
            found.append(f"its chat template reaches for {name}")
    if tree.find(nodes.Pow) is not None:
        found.append("its chat template takes a power")
    for node in tree.find_all((nodes.Mul, nodes.Call)):
        sides = node.args if isinstance(node, nodes.Call) else [node.left, node.right]
        values = [side.value for side in sides if isinstance(side, nodes.Const)]
        if any(isinstance(value, int | float) and abs(value) > MOST for value in values):
            found.append("its chat template multiplies or counts to a very large number")
        elif isinstance(node, nodes.Mul) and any(isinstance(value, str) for value in values):
            found.append("its chat template multiplies text")
    return list(dict.fromkeys(found))
