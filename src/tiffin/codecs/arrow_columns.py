"""Arrow tables ↔ columns.

Owns which Arrow type a column has; never reads bytes. Imported only where pyarrow is loaded or asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tiffin.codecs.column import Array, Column, fit, time_type
from tiffin.codecs.table_bytes import arrow
from tiffin.errors import Code, Error


def to_columns(table: Any) -> list[Column]:
    """Return the columns of a `pyarrow.Table`; arrays are its own or read-only views."""
    pa = arrow()
    return [to_column(pa, str(name), column) for name, column in zip(table.column_names, table.columns, strict=True)]


def to_column(pa: Any, name: str, data: Any) -> Column:
    """Return the column of a `pyarrow.ChunkedArray`."""
    types = pa.types
    kind = data.type
    zone = ""
    if types.is_dictionary(kind):
        data = data.cast(kind.value_type)
        kind = data.type
    if types.is_date(kind):
        data = data.cast(pa.timestamp("s" if types.is_date32(kind) else "ms"))
        kind = data.type
    missing: Array | None = data.is_null().to_numpy() if data.null_count else None
    if types.is_null(kind):
        return Column(name, np.zeros(len(data)), missing)
    if types.is_timestamp(kind):
        zone = kind.tz or ""
        ticks = data.cast(pa.timestamp(kind.unit)).cast(pa.int64())
        if missing is not None:
            ticks = ticks.fill_null(0)
        return Column(name, ticks.to_numpy().view(f"datetime64[{kind.unit}]"), missing, zone)
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind):
        if missing is not None:
            data = data.fill_null(False if types.is_boolean(kind) else 0)
        return Column(name, data.to_numpy(), missing)
    values: Array = np.empty(len(data), object)
    values[:] = data.to_pylist()
    text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return Column(name, values, missing, dtype="" if text else "object")


def fitted(table: Any, columns: Sequence[tuple[str, str]], at: Any, *, gaps: bool) -> Any:
    """Return a table with declared columns, in their order; what is of the declared type already is not touched.

    Args:
        table: it has these columns. columns: names and element types. at: makes the paths of a column, by its name.
        gaps: values may be missing.
    """
    pa = arrow()
    arrays: list[Any] = []
    for name, dtype in columns:
        data = table.column(name)
        looked_at = not gaps and (data.null_count or pa.types.is_floating(data.type))
        if looked_at or (dtype and (data.null_count or data.type != _type(pa, dtype))):
            data = to_array(fit(to_column(pa, name, data), dtype, at(name), typed=True, gaps=gaps))
        arrays.append(data)
    return pa.table(arrays, names=[name for name, _ in columns])


def from_columns(columns: Sequence[Column]) -> Any:
    """Return a `pyarrow.Table` of columns.

    Raises:
        Error: BAD_OUTPUT, a column holds what Arrow has no type for.
    """
    pa = arrow()
    return pa.table([to_array(column) for column in columns], names=[column.name for column in columns])


def to_array(column: Column) -> Any:
    """Return the Arrow array of a column."""
    pa = arrow()
    values, missing = column.values, column.missing
    if column.dtype == "object":
        try:
            return pa.array(values, from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise Error(f"column {column.name!r} cannot be written in Arrow: {reason}", code=Code.BAD_OUTPUT) from error
    if values.dtype.kind == "M":
        unit = np.datetime_data(values.dtype)[0]
        absent = np.isnat(values) if missing is None else missing | np.isnat(values)
        ticks = pa.array(values.view(np.int64), mask=absent if absent.any() else None)
        return ticks.cast(pa.timestamp(unit, column.zone or None))
    if column.dtype == "" and missing is not None and missing.all() and values.dtype.kind == "f":
        return pa.nulls(len(values))
    kind = _type(pa, column.dtype) if column.dtype else pa.string() if values.dtype.kind == "O" else None
    if column.dtype == "category":
        return pa.array(values, pa.string(), mask=missing).dictionary_encode()
    return pa.array(values, kind, mask=missing)


def _type(pa: Any, dtype: str) -> Any:
    """Return Arrow's type for a declared element type."""
    time = time_type(dtype)
    if time is not None:
        return pa.timestamp(time[0], time[1] or None)
    if dtype == "category":
        return pa.dictionary(pa.int32(), pa.string())
    if dtype == "str":
        return pa.string()
    return pa.from_numpy_dtype(np.dtype("bool" if dtype == "boolean" else dtype.lower()))
