"""pandas' DataFrames and Series ↔ columns.

Owns which element type of pandas a column gets, and what of a frame can be written; never reads bytes. Imported only where pandas
is loaded. Frames that a method gets have a plain index 0 … rows - 1 and are its own.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from tiffin.codecs.column import EXACT, Array, Column
from tiffin.errors import Code, Error


def settled(column: Column) -> Column:
    """Return a column with the element type that pandas will have for it, so that calls which differ in it are not joined.

    Integers of which some are missing become floats where that changes none, else ``Int64``; booleans become ``boolean``.
    """
    if column.dtype:
        return column
    values, missing = column.values, column.missing
    kind = values.dtype.kind
    if missing is None or kind not in "biu" or not missing.any():
        return column
    if kind == "b":
        return column._replace(dtype="boolean")
    present = values[~missing]
    if not len(present) or (int(present.max()) <= EXACT and int(present.min()) >= -EXACT):
        return column._replace(dtype="float64", values=values.astype(np.float64))
    name = values.dtype.name
    return column._replace(dtype=name.replace("uint", "UInt") if kind == "u" else name.replace("int", "Int"))


def own_type(column: Column) -> str:
    """Return the element type that is pandas' own (``Int64``, ``boolean``, ``category``); "" where numpy's says it all."""
    return column.dtype if column.dtype[:1].isupper() or column.dtype in ("boolean", "category") else ""


def frame_of(columns: Sequence[Column], rows: int) -> Any:
    """Return the DataFrame of columns that nobody else holds."""
    pandas: Any = importlib.import_module("pandas")
    index = pandas.RangeIndex(rows)
    return pandas.DataFrame({column.name: _values(pandas, column) for column in columns}, index=index, copy=False)


def series_of(column: Column) -> Any:
    """Return the Series of a column that nobody else holds."""
    pandas: Any = importlib.import_module("pandas")
    return pandas.Series(_values(pandas, column), name=column.name or None, copy=False)


def _values(pandas: Any, column: Column) -> Any:
    """Return what pandas takes as a column's values."""
    values, missing, dtype = column.values, column.missing, column.dtype
    kind = values.dtype.kind
    if kind == "O":
        if missing is not None:
            values = _without(values, missing)
        if dtype == "category":
            return pandas.Categorical(values)
        text = pandas.Series([""]).dtype  # str since pandas 3, object before
        return pandas.array(values, dtype=text) if str(text) != "object" else np.where(values == None, np.nan, values)  # noqa: E711
    values = np.array(values) if not values.flags.writeable else values
    if own_type(column) not in ("", "category"):
        absent = np.zeros(len(values), np.bool_) if missing is None else missing
        name = "BooleanArray" if kind == "b" else "FloatingArray" if kind == "f" else "IntegerArray"
        return getattr(pandas.arrays, name)(values, np.array(absent))
    if missing is not None and kind == "M":
        values[missing] = np.datetime64("NaT")
    elif missing is not None and kind == "f":
        values[missing] = np.nan
    if column.zone:
        return pandas.DatetimeIndex(values).tz_localize("UTC").tz_convert(column.zone)
    return values


def columns_of(value: Any) -> list[Column]:
    """Return the columns of a DataFrame or Series; a named index comes first, as columns of its own.

    Raises:
        Error: BAD_OUTPUT: columns in levels, or a name twice.
    """
    pandas: Any = importlib.import_module("pandas")
    if isinstance(value, pandas.Series):
        value = value.to_frame("value" if value.name is None else value.name)
    if any(name is not None for name in value.index.names):
        value = value.reset_index()
    if value.columns.nlevels > 1:
        raise Error("a table with columns in levels cannot be sent: join the names of the levels", code=Code.BAD_OUTPUT)
    names = [str(name) for name in value.columns]
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise Error(f"a table whose column {twice!r} comes twice cannot be sent", code=Code.BAD_OUTPUT)
    return [_column(pandas, name, value.iloc[:, index]) for index, name in enumerate(names)]


def _without(values: Array, missing: Array) -> Array:
    """Return objects with None where they are missing."""
    values = values.copy()
    values[missing] = None
    return values


def _column(pandas: Any, name: str, series: Any) -> Column:
    dtype: Any = series.dtype
    plain = type(dtype).__module__.startswith("numpy")
    if isinstance(dtype, pandas.CategoricalDtype):
        column = _column(pandas, name, series.astype(object).infer_objects())
        return column._replace(dtype="category") if column.values.dtype.kind == "O" and not column.dtype else column
    if isinstance(dtype, pandas.ArrowDtype):
        from tiffin.codecs.arrow_columns import to_column  # such a frame has loaded pyarrow

        pa: Any = importlib.import_module("pyarrow")
        return to_column(pa, name, pa.chunked_array(series.array.__arrow_array__()))
    missing: Array = series.isna().to_numpy()
    gaps = missing if missing.any() else None
    if isinstance(dtype, pandas.DatetimeTZDtype):
        return Column(name, series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), gaps, str(dtype.tz))
    if plain and dtype.kind in "biufM":
        return Column(name, series.to_numpy(), gaps)
    if str(dtype).lower().startswith(("int", "uint", "float", "boolean")):  # pandas' own, with a mask
        return Column(name, series.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0)), gaps)
    values: Array = series.to_numpy(dtype=object)
    if gaps is not None:
        values = _without(values, gaps)
    kinds = set(map(type, values.tolist()))
    if kinds <= {str, type(None)}:
        return Column(name, values, gaps)
    return Column(name, values, gaps, dtype="object")
