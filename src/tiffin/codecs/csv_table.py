"""CSV ↔ the columns of a table: a header, commas, quotes where needed, UTF-8 with or without a byte order mark.

Owns how a cell is read and written; never guesses another separator, though it names one that it sees.
An empty cell is a missing value, in text columns too: CSV cannot tell the two apart.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from tiffin.codecs.column import At, Column, from_values, time_type, to_values
from tiffin.codecs.reasons import invalid, join

MAX_CELLS = 16_000_000
"""A cell takes some 32 bytes while it is read, a comma in the body one."""


def read_csv(
    body: bytes | bytearray | memoryview, path: str, most_columns: int, most_cells: int = MAX_CELLS
) -> tuple[list[str], list[Sequence[str]]]:
    """Return the header and the cells of each column.

    Args:
        body: all of it. path: of the table, for errors. most_columns, most_cells: what is more is refused.

    Raises:
        Error: INVALID_INPUT: not UTF-8, no header, a name twice, a row with more or fewer cells, too many columns or cells.
    """
    try:
        text = str(body, "utf-8-sig")
    except UnicodeDecodeError as error:
        raise invalid(path, f"not UTF-8 at byte {error.start}") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines = _lines(reader, path)
    names = next(lines, None)
    if names is None:
        raise invalid(path, "no header: the first line of CSV names the columns")
    if len(names) > most_columns:
        raise invalid(path, f"{len(names)} columns: {most_columns} at most")
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise invalid(join(path, f".{twice}"), "the column comes twice")
    rows: list[list[str]] = []
    left = most_cells
    for cells in lines:
        if len(cells) != len(names):
            raise invalid(join(path, f"[{len(rows)}]"), f"expected {len(names)} cells, got {len(cells)}")
        left -= len(cells)
        if left < 0:
            raise invalid(path, f"more than {most_cells} cells")
        rows.append(cells)
    return names, list(zip(*rows, strict=True)) if rows else [() for _ in names]


def misread(header: Sequence[str], rows: int) -> str:
    """Say why the header of a body that lacks columns may be none, "" where nothing tells.

    Args:
        header: its names. rows: below it.
    """
    for sign, word in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and sign in header[0]:
            return f"the header has {word} and no comma: cells are separated by commas"
    if not rows and any(_is_number(name) for name in header):
        return "the only line is a header with numbers in it: send line breaks too (curl's -d removes them, --data-binary does not)"
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _lines(reader: Any, path: str) -> Iterator[list[str]]:
    """Yield the lines that are not blank."""
    try:
        for cells in reader:
            if cells:
                yield cells
    except csv.Error as error:
        raise invalid(path, f"not CSV: line {reader.line_num}: {error}") from error


def from_cells(name: str, cells: Sequence[str], dtype: str, at: At) -> Column:
    """Return the column of CSV's cells.

    Args:
        name: of the column. cells: texts, "" where a value is missing. dtype: declared type, "" for what all cells look like:
            integers, floats, booleans (true, false), else text. at: path of a row.

    Raises:
        Error: INVALID_INPUT with the path of the first cell that is not of the declared type.
    """
    if dtype:
        kind = _python_type(dtype)
        values = _converted(cells, kind)
        if values is None:
            row = next(row for row, cell in enumerate(cells) if cell and _converted([cell], kind) is None)
            raise invalid(at(row), f"expected {dtype}, got {cells[row][:40]!r}")
        return from_values(name, values, dtype, at)
    for kind in (int, float, bool):
        values = _converted(cells, kind)
        if values is not None and (kind is not int or all(value is None or _fits(value) for value in values)):
            return from_values(name, values, "", at)
    return from_values(name, [cell or None for cell in cells], "", at)


def _fits(value: int) -> bool:
    return -(2**63) <= value < 2**63


def _python_type(dtype: str) -> type:
    if dtype in ("str", "category") or time_type(dtype):
        return str
    if dtype in ("bool", "boolean"):
        return bool
    return float if dtype.lower().startswith("float") else int


def _converted(cells: Sequence[str], kind: type) -> list[Any] | None:
    """Return the cells as values of a kind, None where one of them is none."""
    filled = [cell for cell in cells if cell]
    if kind is str:
        found: list[Any] = filled
    elif kind is bool and any(cell in ("0", "1") for cell in filled):
        return None  # numbers
    else:
        try:
            found = msgspec.convert(filled, list[kind], strict=False)  # type: ignore[valid-type]
        except msgspec.ValidationError:
            return None
    if len(filled) == len(cells):
        return found
    values = iter(found)
    return [next(values) if cell else None for cell in cells]


def write_csv(columns: Sequence[Column]) -> bytes:
    """Return columns as CSV with a header."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([column.name for column in columns])
    lists = [_cells(column) for column in columns]
    writer.writerows(zip(*lists, strict=True))
    return out.getvalue().encode()


def _cells(column: Column) -> list[Any]:
    values = to_values(column)
    if column.values.dtype.kind == "b":
        return [None if value is None else "true" if value else "false" for value in values]
    if column.values.dtype.kind == "f":
        return [None if value is None or value != value else value for value in values]  # noqa: PLR0124 - NaN
    return values
