"""A call with more rows than may run at once: cut into parts, whose results are joined again.

Owns the cutting of joined arguments along the batch dimension; never runs anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, cast

from tiffin.errors import Code, Error
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


def join_parts(spec: MethodSpec, results: Sequence[tuple[Any, int]]) -> Any:
    """Join the results of parts.

    Args:
        spec: whose results. results: each with the rows that its part had.

    Raises:
        Error: BAD_OUTPUT, a part's result has another number of rows.
    """
    for result, rows in results:
        returned = _rows(result, spec.batch_dim)
        if returned != rows:
            raise Error(
                f"method {spec.name!r} got {rows} rows and returned {'no rows' if returned is None else returned}",
                code=Code.BAD_OUTPUT,
            )
    values = [result for result, _rows_ in results]
    if all(hasattr(value, "dtype") and hasattr(value, "shape") for value in values):
        import numpy as np  # loaded already: these are arrays

        return np.concatenate([np.asarray(value) for value in values], axis=spec.batch_dim)
    return list(chain.from_iterable(values))


def _cut(value: Any, dim: int, start: int, end: int) -> Any:
    """Return rows of a list or of an array."""
    if dim == 0 or isinstance(value, list):
        return value[start:end]
    return value[(slice(None),) * dim + (slice(start, end),)]


def _rows(value: Any, dim: int) -> int | None:
    """Return the number of rows of a result, None for what has none."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        return int(shape[dim]) if len(shape) > dim else None
    return len(cast("list[Any]", value)) if isinstance(value, list | tuple) else None
