"""One column of a table, as numpy holds it: what JSON, CSV, Arrow and pandas are made of each other through.

Owns the rules by which values become a declared element type; never keeps a body, never imports pandas or pyarrow. Rule: nothing is
converted unless no value changes: integers to floats, 3.0 to an integer, a narrower or wider type that holds all values, text in
ISO 8601 to a time. Missing values are marked apart, whatever the type.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tiffin.codecs.grammar import int_range
from tiffin.codecs.reasons import invalid
from tiffin.errors import Error

Array = np.ndarray[Any, np.dtype[Any]]
At = Callable[[int | None], str]  # path of a row of a column, of the column where there is no row

EXACT = 2**53  # integers up to here are exact as a float64
_NAMES = {"b": "bool", "i": "int", "u": "int", "f": "float", "O": "str", "M": "datetime"}
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_ISO = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_TIME = re.compile(r"datetime64\[(s|ms|us|ns)(?:, (.+))?\]")


class Column(NamedTuple):
    """See the module.

    Attributes:
        name: of the column. values: [rows], of kind b, i, u, f, M (datetime64), or objects that are all str.
        missing: bool [rows], true where there is no value (what `values` has there means nothing); None where none is missing.
        zone: time zone of datetimes, whose values are UTC then; "" for naive ones.
        dtype: element type that was declared, "" for none; "object" where a result's values are anything.
    """

    name: str
    values: Array
    missing: Array | None = None
    zone: str = ""
    dtype: str = ""


def time_type(dtype: str) -> tuple[str, str] | None:
    """Return unit and zone of a datetime's element type, None for any other type."""
    found = _TIME.fullmatch(dtype)
    return None if found is None else (found[1], found[2] or "")


def from_values(name: str, values: Sequence[Any], dtype: str, at: At) -> Column:
    """Return the column of values as JSON has them.

    Args:
        name: of the column. values: bool, int, float, str or None. dtype: declared type, "" for none. at: path of a row.

    Raises:
        Error: INVALID_INPUT: values of different kinds, a list or an object as a value, an integer of more than 64 bits.
    """
    kinds = set(map(type, values))
    gaps = type(None) in kinds
    kinds.discard(type(None))
    missing = None
    if gaps:
        missing = np.fromiter((value is None for value in values), np.bool_, len(values))
    if kinds <= {int, float} or kinds == {bool}:
        filled: Sequence[Any] = [0 if value is None else value for value in values] if gaps else values
        if kinds == {int}:
            return Column(name, _integers(filled, dtype, at), missing)
        return Column(name, np.array(filled, np.bool_ if kinds == {bool} else np.float64), missing)
    if kinds == {str}:
        return Column(name, _objects(values), missing)
    raise _mixed(values, dtype, at)


def _integers(values: Sequence[int], dtype: str, at: At) -> Array:
    for kind in (np.int64, np.uint64):
        try:
            return np.array(values, kind)
        except OverflowError:
            continue
    for row, value in enumerate(values):
        if not -(2**63) <= value < 2**63:
            raise invalid(at(row), f"expected {dtype or 'int64'}, got {value!s:.40}")
    raise invalid(at(None), "integers of more than 64 bits")


def _objects(values: Sequence[Any]) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _mixed(values: Sequence[Any], dtype: str, at: At) -> Error:
    """Return the error for the first value that is of another kind than the column's."""
    served = (bool, int, float, str)
    first: Any = None
    for row, value in enumerate(values):
        kind: Any = value.__class__
        if value is None:
            continue
        if kind not in served:
            word = {"list": "a list", "dict": "an object"}.get(kind.__name__, kind.__name__)
            return invalid(at(row), f"expected {dtype or 'a number, text, true, false or null'}, got {word}")
        first = first or kind
        same = first is kind or {first, kind} == {int, float}
        if dtype and not _may_be(kind, dtype):
            return invalid(at(row), f"expected {dtype}, got {kind.__name__}")
        if not dtype and not same:
            return invalid(at(row), f"expected {first.__name__} as before it, got {kind.__name__}")
    return invalid(at(None), "values of different kinds")


def _may_be(kind: Any, dtype: str) -> bool:
    if dtype in ("str", "category") or time_type(dtype):
        return kind is str
    if dtype in ("bool", "boolean"):
        return kind is bool
    return kind in (int, float)


# -- declared types --------------------------------------------------------------------------------------------------------


def fit(column: Column, dtype: str, at: At, *, typed: bool = False, gaps: bool = True) -> Column:
    """Return a column of a declared element type.

    Args:
        column: as it came. dtype: what is declared, "" for anything. at: path of a row.
        typed: the column's type came with it (Parquet, Arrow), so that a wrong one is the column's fault and not a row's.
        gaps: values may be missing, where the type has a way to say so.

    Raises:
        Error: INVALID_INPUT with the path of the first value that does not fit, what was expected and what came.
    """
    values, missing = column.values, column.missing
    kind = values.dtype.kind
    if missing is not None and missing.any() and not (gaps and _may_miss(dtype)):
        raise invalid(at(int(missing.argmax())), f"expected {dtype or 'a value'}, got null")
    if not gaps and kind == "f" and np.isnan(values).any():
        raise invalid(at(int(np.isnan(values).argmax())), f"expected {dtype or 'a value'}, got NaN")
    if not dtype:
        return column
    if missing is not None and missing.all():
        time = time_type(dtype)
        return Column(column.name, _blank(len(values), dtype), missing, time[1] if time else "", dtype)
    row = None if typed else 0 if missing is None else int(missing.argmin())
    wrong = invalid(at(row if len(values) else None), f"expected {dtype}, got {_NAMES.get(kind, kind)}")
    time = time_type(dtype)
    if time is not None:
        if not len(values):
            return Column(column.name, _blank(0, dtype), missing, time[1], dtype)
        if kind not in "OM":
            raise wrong
        found = _parsed(column, time, dtype, at) if kind == "O" else _in_unit(column, time, dtype, at)
        return Column(column.name, found, missing, time[1], dtype)
    if not len(values):
        return Column(column.name, _blank(0, dtype), missing, "", dtype)
    if dtype in ("str", "category"):
        good = kind == "O"
    elif dtype in ("bool", "boolean"):
        good = kind == "b"
    else:
        good = kind in "iuf"
        values = _numbers(column, dtype, at) if good else values
    if not good:
        raise wrong
    return Column(column.name, values, missing, "", dtype)


def _may_miss(dtype: str) -> bool:
    """Say whether a declared type has a way to say that a value is missing."""
    return dtype != "bool" and not dtype.startswith(("int", "uint"))


def native(dtype: str) -> Any:
    """Return the numpy type that holds values of a declared element type."""
    time = time_type(dtype)
    if time is not None:
        return np.dtype(f"datetime64[{time[0]}]")
    if dtype in ("str", "category"):
        return np.dtype(object)
    return np.dtype("bool" if dtype == "boolean" else dtype.lower())


def _blank(rows: int, dtype: str) -> Array:
    kind = native(dtype)
    return np.full(rows, "", object) if kind.kind == "O" else np.zeros(rows, kind)


def _numbers(column: Column, dtype: str, at: At) -> Array:
    """Return numbers in a declared type that holds all of them."""
    values, missing = column.values, column.missing
    wanted = native(dtype)
    if values.dtype == wanted:
        return values
    present: Any = True if missing is None else ~missing
    if wanted.kind == "f":
        with np.errstate(over="ignore"):
            changed = values.astype(wanted)
        bad: Array = np.isinf(changed) & (np.isfinite(values) & present)
    else:
        low, high = int_range(wanted.name)
        if values.dtype.kind == "f":
            whole = np.isfinite(values) & (np.floor(values) == values)
            bad = ~(whole & (values >= float(low)) & (values < float(high) + 1)) & present
        else:
            # Compared as Python integers: of int64 and uint64 numpy would make floats.
            bad = np.zeros(len(values), np.bool_)
            if int(values.min()) < low or int(values.max()) > high:
                bad = np.array([not low <= value <= high for value in values.tolist()], np.bool_) & present
        if not bad.any():
            if missing is not None:
                values = np.where(missing, values.dtype.type(0), values)
            changed = values.astype(wanted)
        else:
            changed = values
    if bad.any():
        row = int(bad.argmax())
        raise invalid(at(row), f"expected {dtype}, got {values[row].item()!s:.40}")
    return changed


# -- times -----------------------------------------------------------------------------------------------------------------


def _parsed(column: Column, time: tuple[str, str], dtype: str, at: At) -> Array:
    """Return times of texts in ISO 8601."""
    unit, zone = time
    per = _PER_SECOND[unit]
    out = np.zeros(len(column.values), np.int64)
    missing = column.missing
    for row, text in enumerate(column.values.tolist()):
        if missing is not None and missing[row]:
            continue
        found = _ISO.fullmatch(text)
        reason = f"expected {dtype}, got {text[:40]!r}"
        if found is None:
            raise invalid(at(row), reason + ": write it as in ISO 8601, 2024-05-31T12:30:00")
        date, clock, fraction, offset = found.groups()
        if bool(offset) != bool(zone):
            raise invalid(at(row), reason + (": the time zone is missing" if zone else ": without a time zone"))
        try:
            moment = dt.datetime.fromisoformat(f"{date}T{clock or '00:00'}{offset or 'Z'}")
            delta = moment - _EPOCH
        except (ValueError, OverflowError) as error:
            raise invalid(at(row), reason) from error
        whole, rest = divmod(int((fraction or "").ljust(9, "0")), 10**9 // per)
        if rest:
            raise invalid(at(row), reason + f": more digits than [{unit}] holds")
        value = (delta.days * 86_400 + delta.seconds) * per + whole
        if not -(2**63) < value < 2**63:
            raise invalid(at(row), reason + ": out of range")
        out[row] = value
    return out.view(f"datetime64[{unit}]")


def _in_unit(column: Column, time: tuple[str, str], dtype: str, at: At) -> Array:
    """Return times in a declared unit that holds all of them."""
    unit, zone = time
    if bool(column.zone) != bool(zone):
        got = f"times in the zone {column.zone}" if column.zone else "times without a zone"
        raise invalid(at(None), f"expected {dtype}, got {got}")
    values = column.values
    wanted = np.dtype(f"datetime64[{unit}]")
    if values.dtype == wanted:
        return values
    try:
        changed = values.astype(wanted)
        bad = changed.astype(values.dtype) != values
    except (OverflowError, ValueError):  # newer numpy raises where older wraps round
        changed = values
        bad = np.ones(len(values), np.bool_)
    bad &= ~np.isnat(values)
    if column.missing is not None:
        bad &= ~column.missing
    if bad.any():
        row = int(bad.argmax())
        raise invalid(at(row), f"expected {dtype}, got {values[row]!s:.40}, which [{unit}] does not hold")
    return changed


# -- out -------------------------------------------------------------------------------------------------------------------


def to_values(column: Column) -> list[Any]:
    """Return a column's values for JSON: times as text in ISO 8601 (those with a zone in UTC), None where one is missing."""
    values = column.values
    if values.dtype.kind == "M":
        out: list[Any] = _texts(values, aware=bool(column.zone))
    else:
        out = values.tolist()
    if column.missing is not None:
        for row in np.flatnonzero(column.missing).tolist():
            out[row] = None
    return out


def _texts(values: Array, *, aware: bool) -> list[Any]:
    unit = np.datetime_data(values.dtype)[0]
    ticks = values.view(np.int64)
    for coarse, per in _PER_SECOND.items():  # no more digits than there are
        step = _PER_SECOND[unit] // per
        if coarse == unit or not (ticks[~np.isnat(values)] % step).any():
            unit = coarse
            break
    written: Any = np.datetime_as_string
    texts: list[Any] = written(values, unit=unit).tolist()
    return [f"{text}Z" for text in texts] if aware else texts


def joined(parts: Sequence[Column]) -> Column:
    """Return the rows of columns of one type, one after the other."""
    first = parts[0]
    if len(parts) == 1:
        return first
    missing = None
    if any(part.missing is not None for part in parts):
        missing = np.concatenate(
            [np.zeros(len(part.values), np.bool_) if part.missing is None else part.missing for part in parts]
        )
    return first._replace(values=np.concatenate([part.values for part in parts]), missing=missing)
