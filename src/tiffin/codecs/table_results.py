"""Tables as results: JSON, CSV, Parquet, Arrow streams, msgpack's extension 2; their rows cut and joined.

Owns how a DataFrame, a Series, an Arrow table or record batch is written; never runs a method and loads neither library: a value is
known by classes that its maker has loaded. A frame's plain index is not sent, a named one is, as columns.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from tiffin.codecs.reasons import invalid
from tiffin.errors import Error
from tiffin.messages.link import Media

_PLAIN = frozenset({dict, list, tuple, str, bytes, int, float, bool, type(None)})
_CLASSES = (
    ("pandas", "DataFrame", "pandas"),
    ("pandas", "Series", "series"),
    ("pyarrow", "Table", "arrow"),
    ("pyarrow", "RecordBatch", "batch"),
)
_KEY = b"tiffin.library"


def library_of(value: Any) -> str:
    """Return whose table a value is: "pandas", "series", "arrow", "batch"; "" for anything else."""
    kind: Any = value.__class__
    if kind in _PLAIN or kind.__module__ == "numpy":
        return ""
    for module, name, library in _CLASSES:
        # Another thread may be importing the library: a class may not be there yet.
        cls = getattr(sys.modules.get(module), name, None)
        if cls is not None and isinstance(value, cls):
            return library
    return ""


def is_table(value: Any) -> bool:
    """Say whether a value is a table."""
    return bool(library_of(value))


def json_value(value: Any, *, columns: bool = False, single: bool = False) -> Any:
    """Return what JSON says of a table: a list of row objects, or of a series' values.

    Args:
        value: the table. columns: as an object of columns. single: its one row alone.
    """
    from tiffin.codecs.column import to_values  # loads numpy, as the table has

    lists = {column.name: to_values(column) for column in _columns(value)}
    if library_of(value) == "series":
        (found,) = [*lists.values()][-1:]  # after those of a named index, which has no place in a list of values
        return found[0] if single else found
    if single:
        return {name: cells[0] for name, cells in lists.items()}
    if columns:
        return lists
    names = list(lists)
    return [dict(zip(names, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def table_body(value: Any, media: int) -> bytes:
    """Return a table as a body of CSV, Parquet or an Arrow stream.

    Raises:
        Error: BAD_OUTPUT: a column cannot be written so. UNSUPPORTED_MEDIA: pyarrow is missing.
    """
    if media == Media.CSV:
        from tiffin.codecs.csv_table import write_csv

        return write_csv(_columns(value))
    from tiffin.codecs.table_bytes import write_table

    return write_table(media, _arrow(value))


def row_count(value: Any) -> int:
    """Return a table's rows."""
    return int(value.shape[0])


def cut(value: Any, start: int, end: int) -> Any:
    """Return rows of a table, as a table."""
    if library_of(value) in ("arrow", "batch"):
        return value.slice(start, end - start)
    return value.iloc[start:end]


def join_tables(values: Sequence[Any]) -> Any:
    """Return the rows of tables of one kind, one after the other."""
    kind = library_of(values[0])
    if kind in ("arrow", "batch"):
        pa: Any = importlib.import_module("pyarrow")
        tables = [value if kind == "arrow" else pa.Table.from_batches([value]) for value in values]
        joined = pa.concat_tables(tables)
        return joined if kind == "arrow" else joined.combine_chunks().to_batches()[0]
    return importlib.import_module("pandas").concat(list(values), ignore_index=True)


def _columns(value: Any) -> list[Any]:
    kind = library_of(value)
    if kind in ("pandas", "series"):
        from tiffin.codecs.frames import columns_of

        return columns_of(value)
    from tiffin.codecs.arrow_columns import to_columns

    return to_columns(_arrow(value))


def _arrow(value: Any) -> Any:
    kind = library_of(value)
    if kind == "arrow":
        return value
    if kind == "batch":
        return importlib.import_module("pyarrow").Table.from_batches([value])
    from tiffin.codecs.arrow_columns import from_columns

    return from_columns(_columns(value))


# -- between services ------------------------------------------------------------------------------------------------------


def table_extension(value: Any) -> msgspec.msgpack.Ext:
    """Return a table as msgpack's extension 2: an Arrow stream that says whose table it was.

    Raises:
        TypeError: pyarrow is missing, or a column has no type in Arrow.
    """
    from tiffin.codecs.table_bytes import write_table
    from tiffin.codecs.tables import EXT_TABLE

    try:
        table = _arrow(value).replace_schema_metadata({_KEY: library_of(value).encode()})
        return msgspec.msgpack.Ext(EXT_TABLE, write_table(Media.ARROW, table))
    except Error as error:
        raise TypeError(error.message) from error


def unpack_table(data: bytes | memoryview) -> Any:
    """Return the table of msgpack's extension 2 where nothing declares what it is, of the library that it came from.

    Raises:
        Error: INVALID_INPUT: no Arrow stream. UNSUPPORTED_MEDIA: pyarrow is missing.
    """
    from tiffin.codecs.table_bytes import arrow
    from tiffin.codecs.tables import Packed, TableReader
    from tiffin.spec.types import TableType

    if "pandas" not in sys.modules and "pyarrow" not in sys.modules:
        raise invalid("", "a table cannot be read here: the service loads neither pandas nor pyarrow")
    body = bytes(data)
    pa = arrow()
    try:
        with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
            metadata: dict[bytes, bytes] = reader.schema.metadata or {}
    except (pa.ArrowException, OSError, ValueError) as error:
        raise invalid("", f"msgpack extension 2 is no Arrow stream: {error}") from error
    wanted: Any = metadata.get(_KEY, b"").decode("latin-1")
    if wanted not in ("arrow", "batch", "series") or (wanted == "series" and "pandas" not in sys.modules):
        wanted = "pandas" if "pandas" in sys.modules else "arrow"
    return TableReader(TableType(library=wanted), "").read(Packed(body))
