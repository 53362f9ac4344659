"""A call with more rows than may run at once: cut into parts, whose results are joined again.

Owns the cutting of joined arguments along the batch dimension; never runs anything.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from tiffin.codecs.table_results import cut, is_table, join_tables
from tiffin.spec.service import MethodSpec


def row_parts(
    spec: MethodSpec, arguments: dict[str, Any], rows: int, limit: int
) -> Iterator[tuple[dict[str, Any], int]]:
    """Cut arguments into parts.

    Args:
        spec: whose arguments. rows: that they have. limit: most rows of one part.

    Yields:
        the arguments of a part and its number of rows.
    """
    batched = {param.name for param in spec.params if param.batched}
    for start in range(0, rows, limit):
        end = min(rows, start + limit)
        part = {
            name: _cut(value, spec.batch_dim, start, end) if name in batched else value
            for name, value in arguments.items()
        }
        yield part, end - start


def join_parts(values: Sequence[Any], dim: int) -> Any:
    """Join the results of parts: arrays, lists, or dicts and tuples of these.

    Args:
        values: results, all of one kind. dim: batch dimension.
    """
    first = values[0]
    if _is(first, dict):
        return {key: join_parts([value[key] for value in values], dim) for key in first}
    if _is(first, tuple):
        return tuple(join_parts(column, dim) for column in zip(*values, strict=True))
    if _is(first, list):
        return list(chain.from_iterable(values))
    if is_table(first):
        return join_tables(values)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(first, torch.Tensor):
        return torch.cat(list(values), dim)
    import numpy as np  # loaded already: these are arrays

    return np.concatenate([np.asarray(value) for value in values], axis=dim)


def _cut(value: Any, dim: int, start: int, end: int) -> Any:
    """Return rows of a list, a table or an array."""
    if is_table(value):
        return cut(value, start, end)
    if dim == 0:  # lists have their rows there
        return value[start:end]
    return value[(slice(None),) * dim + (slice(start, end),)]


def _is(value: Any, kind: type) -> bool:
    """Say whether a value is of a kind, without telling the type checkers: of the items nothing is known either way."""
    return isinstance(value, kind)
