"""Table parameters in the worker: rows, columns, CSV, Parquet and Arrow streams → the user's DataFrame, Series or Arrow table.

Owns which columns a table must have and the joining of calls' rows; never keeps a body. Imported only where a method has tables.
Paths name row and column, however the body is laid out: ``table[3].age``.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeGuard

from tiffin.codecs.column import At, Column, fit, from_values, joined
from tiffin.codecs.csv_table import MAX_CELLS, from_cells, misread, read_csv
from tiffin.codecs.frames import frame_of, own_type, series_of, settled
from tiffin.codecs.reasons import invalid, invalid_fields, join
from tiffin.codecs.table_bytes import MAX_COLUMNS, read_table
from tiffin.errors import Error
from tiffin.messages.link import Media
from tiffin.spec.types import TableType

Body = bytes | bytearray | memoryview
EXT_TABLE = 2


class Rows(NamedTuple):
    """A table that has been read and checked, before it becomes the user's.

    Attributes:
        columns: where pandas is asked for. table: `pyarrow.Table` where Arrow is, else None. rows: of both.
    """

    columns: list[Column]
    table: Any
    rows: int


class Packed(NamedTuple):
    """An Arrow stream inside a msgpack body."""

    data: bytes


class TableReader:
    """Reads one table parameter.

    Args:
        type: what it accepts. path: of the parameter, "" for the whole body.
    """

    __slots__ = ("_arrow", "_declared", "_names", "_series", "_single", "path", "type")

    def __init__(self, type: TableType, path: str) -> None:
        self.type = type
        self.path = path
        self._declared = dict(type.columns)
        self._names = [name for name, _ in type.columns]
        self._series = type.library == "series"
        self._single = type.single
        self._arrow = type.library in ("arrow", "batch")

    @property
    def declared(self) -> bool:
        """Whether all columns and their types are declared, so that no call's values change the type of another's."""
        return bool(self.type.columns) and all(dtype for _, dtype in self.type.columns)

    # -- bodies ------------------------------------------------------------------------------------------------------------

    def parse(self, value: Any) -> Rows:
        """Return the rows of what JSON or msgpack said: a list of row objects, an object of columns, or Arrow's bytes.

        A series is a list of values; of a method that takes single rows: a row object, or a series' value.

        Raises:
            Error: INVALID_INPUT.
        """
        if isinstance(value, Packed):
            return self.binary(Media.ARROW, value.data)
        if self._series:
            values = [value] if self._single else value
            if not _is_list(values):
                raise invalid(self.path, f"expected a list of values, got {_word(value)}")
            name = self._names[0] if self._names else ""
            return self._made([self._column(name, values)], len(values))
        if self._single:
            if not _is_dict(value):
                raise invalid(self.path, f"expected an object, one row, got {_word(value)}")
            return self._from_rows([value])
        if _is_list(value):
            return self._from_rows(value)
        if _is_dict(value):
            return self._from_columns(value)
        raise invalid(self.path, f"expected a list of row objects or an object of columns, got {_word(value)}")

    def binary(self, media: int, body: Body) -> Rows:
        """Return the rows of a body of CSV, Parquet or an Arrow stream.

        Raises:
            Error: INVALID_INPUT. UNSUPPORTED_MEDIA where pyarrow is missing.
        """
        found = self._from_csv(body) if media == Media.CSV else self._from_arrow(read_table(media, body, self.path))
        if self._single and found.rows != 1:
            raise invalid(self.path, f"expected one row, got {found.rows}")
        return found

    def _from_rows(self, value: list[Any]) -> Rows:
        if set(map(type, value)) - {dict}:
            row = next(row for row, item in enumerate(value) if type(item) is not dict)
            raise invalid(join(self.path, f"[{row}]"), f"expected an object, got {_word(value[row])}")
        names = self._names or (list(value[0]) if value else [])
        self._check_size(len(names), len(value))
        columns: list[Column] = []
        for name in names:
            try:
                cells = [row[name] for row in value]
            except KeyError:
                raise self._uneven(value, names) from None
            columns.append(self._column(name, cells))
        if any(len(row) != len(names) for row in value):
            raise self._uneven(value, names)
        return self._made(columns, len(value))

    def _uneven(self, value: list[dict[str, Any]], names: Sequence[str]) -> Error:
        """Return the error for the first row that has not the columns it should have."""
        known = set(names)
        for row, item in enumerate(value):
            missing = [name for name in names if name not in item]
            unknown = [name for name in item if name not in known]
            if missing or unknown:
                at = [self._at(name)(row) for name in (missing + unknown)[:32]]
                reasons = [_MISSING] * len(missing) + [_UNKNOWN] * len(unknown)
                return invalid_fields(zip(at, reasons, strict=False))
        return invalid(self.path, "rows with different columns")

    def _from_columns(self, value: dict[str, Any]) -> Rows:
        self._check_names(list(value))
        names = self._names or list(value)
        rows = -1
        for name in names:
            cells = value[name]
            if not _is_list(cells):
                raise invalid(self._at(name)(None), f"expected a list of values, got {_word(cells)}")
            if rows not in (-1, len(cells)):
                raise invalid(self._at(name)(None), f"expected {rows} rows as in {names[0]!r}, got {len(cells)}")
            rows = len(cells)
        self._check_size(len(names), max(rows, 0))
        return self._made([self._column(name, value[name]) for name in names], max(rows, 0))

    def _from_csv(self, body: Body) -> Rows:
        header, cells = read_csv(body, self.path, MAX_COLUMNS)
        by_name = dict(zip(header, cells, strict=True))
        if self._series:
            header = self._series_name(header)
        else:
            reason = misread(header, len(cells[0])) if set(header) != set(self._names) and self._names else ""
            if reason:
                raise invalid(self.path, reason)
            self._check_names(header)
            header = self._names or header
        columns = [
            self._fit(from_cells(name, by_name[name], self._declared.get(name, ""), self._at(name))) for name in header
        ]
        return self._made(columns, len(cells[0]))

    def _from_arrow(self, table: Any) -> Rows:
        from tiffin.codecs.arrow_columns import fitted, to_columns  # pyarrow is loaded: it made the table

        names: list[str] = table.column_names
        if self._series:
            names = self._series_name(names)
        else:
            self._check_names(names)
            names = self._names or names
        if self._arrow:
            declared = [(name, self._declared.get(name, "")) for name in names]
            return Rows([], fitted(table, declared, self._at, gaps=self.type.missing), table.num_rows)
        columns = [self._fit(column, typed=True) for column in to_columns(table.select(names))]
        return self._made(columns, table.num_rows)

    def _series_name(self, names: Sequence[str]) -> list[str]:
        if len(names) != 1:
            raise invalid(self.path, f"expected one column, got {len(names)}")
        if self._names and names[0] != self._names[0]:
            raise invalid(self.path, f"expected the column {self._names[0]!r}, got {names[0][:40]!r}")
        return list(names)

    def _column(self, name: str, values: Sequence[Any]) -> Column:
        return self._fit(from_values(name, values, self._declared.get(name, ""), self._at(name)))

    def _fit(self, column: Column, *, typed: bool = False) -> Column:
        dtype = self._declared.get(column.name, "")
        return fit(column, dtype, self._at(column.name), typed=typed, gaps=self.type.missing)

    def _check_names(self, names: Sequence[str]) -> None:
        if len(names) > MAX_COLUMNS:
            raise invalid(self.path, f"{len(names)} columns: {MAX_COLUMNS} at most")
        if not self._names:
            return
        there = set(names)
        wrong = [(name, _MISSING) for name in self._names if name not in there]
        wrong += [(name, _UNKNOWN) for name in names if name not in self._declared]
        if wrong:
            raise invalid_fields((self._at(name)(None), reason) for name, reason in wrong[:32])

    def _check_size(self, columns: int, rows: int) -> None:
        if columns > MAX_COLUMNS:
            raise invalid(self.path, f"{columns} columns: {MAX_COLUMNS} at most")
        if columns * rows > MAX_CELLS:
            raise invalid(self.path, f"more than {MAX_CELLS} cells")

    def _at(self, name: str) -> At:
        """Return what makes the path of a row in a column."""
        column = "" if self._series else f".{name}"
        if self._single:
            return lambda _row: join(self.path, column)
        return lambda row: join(self.path, column if row is None else f"[{row}]{column}")

    def _made(self, columns: list[Column], rows: int) -> Rows:
        if self._arrow:
            from tiffin.codecs.arrow_columns import from_columns  # the user's annotation has loaded pyarrow

            return Rows([], from_columns(columns), rows)
        return Rows([settled(column) for column in columns], None, rows)

    # -- the user's table --------------------------------------------------------------------------------------------------

    def build(self, rows: Rows) -> Any:
        """Return the table that the method gets."""
        if self._series:
            return series_of(rows.columns[0])
        if not self._arrow:
            return frame_of(rows.columns, rows.rows)
        if self.type.library == "arrow":
            return rows.table
        return _batch(rows.table)

    def read(self, value: Any) -> Any:
        """Return the table of what JSON or msgpack said; as `parse`."""
        return self.build(self.parse(value))

    def try_lists(self, value: list[Any], *, exact: bool = False) -> Any:  # noqa: ARG002 - as an array's reader
        """Return the table of rows, None where there is none that the method takes."""
        try:
            return self.read(value)
        except Error:
            return None

    # -- rows of a batch, always along axis 0 ------------------------------------------------------------------------------

    def rows(self, value: Rows, axis: int) -> int:  # noqa: ARG002
        """Return the rows of a call's table."""
        return value.rows

    def wrapped(self, value: Rows, axis: int) -> Rows:  # noqa: ARG002
        """Return a single row as a table of one row, which it is already."""
        return value

    def key(self, value: Rows, axis: int) -> tuple[Any, ...]:  # noqa: ARG002
        """Return what tables must have in common to be joined: their columns and element types."""
        if value.table is not None:
            return tuple(value.table.schema)
        return tuple((column.name, column.values.dtype.str, column.zone, own_type(column)) for column in value.columns)

    def join(self, values: Sequence[Rows], axis: int) -> Any:  # noqa: ARG002
        """Return the method's table with the rows of several calls."""
        first = values[0]
        rows = sum(value.rows for value in values)
        if first.table is not None:
            pa: Any = importlib.import_module("pyarrow")
            return self.build(Rows([], pa.concat_tables([value.table for value in values]), rows))
        columns = [joined(parts) for parts in zip(*(value.columns for value in values), strict=True)]
        return self.build(Rows(columns, None, rows))


_MISSING = "required, but missing"
_UNKNOWN = "unknown column"


def _batch(table: Any) -> Any:
    """Return the one RecordBatch of a table."""
    pa: Any = importlib.import_module("pyarrow")
    arrays = [
        column.chunk(0)
        if column.num_chunks == 1
        else column.combine_chunks()
        if column.num_chunks
        else pa.nulls(0, column.type)
        for column in table.columns
    ]
    arrays = [array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array for array in arrays]
    return pa.RecordBatch.from_arrays(arrays, schema=table.schema)


def packed_hook(code: int, data: memoryview) -> Packed:
    """Read msgpack's extension 2, an Arrow stream, to be read by a declared type.

    Raises:
        Error: INVALID_INPUT, it is another extension.
    """
    if code != EXT_TABLE:
        raise invalid("", f"msgpack extension {code} is no table")
    return Packed(bytes(data))


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _is_dict(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _word(value: Any) -> str:
    """Return JSON's word for a value's type."""
    return {"NoneType": "null", "list": "a list", "dict": "an object", "ndarray": "an array"}.get(
        type(value).__name__, type(value).__name__
    )
