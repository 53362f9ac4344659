"""Tables: pandas, Arrow and polars objects ↔ JSON rows and Arrow streams.

Owns the conversions; imports a library only when an object of its own is there or Arrow was answered. A missing value is null.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import math
from typing import Any, TypeGuard

ARROW = "application/vnd.apache.arrow.stream"


def arrow_is_there() -> bool:
    """Say whether pyarrow can be imported, without importing it."""
    return importlib.util.find_spec("pyarrow") is not None


def is_table(value: Any) -> TypeGuard[Any]:
    """Say whether a value is a table or a column of pandas, Arrow or polars."""
    room = type(value).__module__.partition(".")[0]
    return room in ("pandas", "pyarrow", "polars") and type(value).__name__ in (
        "DataFrame",
        "Series",
        "Table",
        "RecordBatch",
        "LazyFrame",
    )


def rows(table: Any) -> list[Any]:
    """Return the rows of a table as dicts, the items of a column."""
    if type(table).__module__.startswith("pandas"):
        plain = table.astype(object).where(table.notna(), None)
        found = plain.tolist() if type(table).__name__ == "Series" else plain.to_dict("records")
        return [_plain(one) for one in found]
    if hasattr(table, "collect") and not hasattr(table, "to_dicts"):
        table = table.collect()
    found = (
        table.to_dicts()
        if hasattr(table, "to_dicts")
        else table.to_list()
        if hasattr(table, "to_list")
        else table.to_pylist()
    )
    return [_plain(one) for one in found]


def _is_dict(value: Any) -> TypeGuard[dict[Any, Any]]:
    return isinstance(value, dict)


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _plain(value: Any) -> Any:
    """Return a cell, or a row of them, as JSON says it."""
    if _is_dict(value):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, float):
        return (
            None if math.isnan(value) else float(value)
        )  # NaN is how pandas writes a missing value in an object column
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value.item() if hasattr(value, "item") and not getattr(value, "shape", ()) else value


def arrow_bytes(table: Any) -> bytes | None:
    """Return a table as an Arrow stream, None where pyarrow is not installed or the value is a column."""
    if not arrow_is_there() or type(table).__name__ == "Series":
        return None
    pa: Any = importlib.import_module("pyarrow")

    arrow: Any = table
    if type(table).__module__.startswith("pandas"):
        arrow = pa.Table.from_pandas(table, preserve_index=False)
    elif hasattr(table, "to_arrow"):
        arrow = table.to_arrow()
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, arrow.schema) as writer:
        writer.write(arrow)
    return sink.getvalue()


def read_arrow(body: bytes | bytearray) -> Any:
    """Return an Arrow stream as a pandas DataFrame, as a pyarrow Table where pandas is not installed.

    Raises:
        ValueError: it is none, or pyarrow is not installed.
    """
    try:
        pa: Any = importlib.import_module("pyarrow")
    except ImportError as error:
        raise ValueError(
            "a table came as an Arrow stream, and pyarrow is not installed: pip install pyarrow"
        ) from error
    table = pa.ipc.open_stream(body).read_all()
    return table.to_pandas() if importlib.util.find_spec("pandas") else table


def read_rows(found: Any) -> Any:
    """Return JSON as pandas has it: rows or columns as a DataFrame, values as a Series; as it is where pandas is not installed.

    A single row is an object of values and stays one.
    """
    if not importlib.util.find_spec("pandas"):
        return found
    pd: Any = importlib.import_module("pandas")
    if _is_list(found):
        return pd.DataFrame(found) if all(map(_is_dict, found)) else pd.Series(found)
    return pd.DataFrame(found) if _is_dict(found) and all(map(_is_list, found.values())) else found
