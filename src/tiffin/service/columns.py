"""The marker for tables: which columns a DataFrame, Series or Arrow table has, and how it is written in JSON.

Owns one value class and the names of element types; never looks at a value and never imports pandas or pyarrow.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from tiffin.errors import SpecError

_NUMBERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)] + ["float32", "float64"]
_MASKED = {name: name.replace("i", "I", 1).replace("u", "U", 1).replace("f", "F", 1) for name in _NUMBERS}
_KNOWN = {"", "bool", "boolean", "str", "category", *_NUMBERS, *_MASKED.values()}
_OTHERS = {
    "int": "int64",
    "float": "float64",
    "double": "float64",
    "string": "str",
    "large_string": "str",
    "string_view": "str",
    "object": "",
    "any": "",
    "datetime": "datetime64[us]",
    "datetime64": "datetime64[us]",
}
_TIME = re.compile(r"(?:datetime64|timestamp)\[(s|ms|us|ns)(?:,\s*(?:tz=)?([^\]]+))?\]")


class Columns:
    """Columns of a table, in order: ``Annotated[pd.DataFrame, Columns({"age": "int64", "city": str})]``.

    The method gets exactly these columns, in this order and of these types; a client that sends others gets a 400 that names
    them. Element types: ``bool``, ``int8`` … ``uint64``, ``float32``, ``float64`` (null is NaN), ``str``, ``category``,
    ``datetime64[us]`` (also s, ms, ns, and with a zone: ``datetime64[us, UTC]``); with pandas' capitals (``Int64``, ``Float64``,
    ``boolean``) values may be missing; ``""`` leaves the type open. Python's, numpy's, pandas' and Arrow's own types will do.

    Args:
        columns: element type by name; or names alone; or a table that looks the same (its names and types are taken); None for any.
        missing: False where no value may be missing, in columns of any type: null, an empty cell of CSV, NaN.
        orient: how JSON answers are written: "records" as a list of row objects, "columns" as an object of columns. Both are read.

    Raises:
        SpecError: a name that is no text or comes twice, an element type that is not served, no columns, an unknown orient.
    """

    __slots__ = ("columns", "missing", "orient")

    def __init__(
        self, columns: Any = None, *, missing: bool = True, orient: Literal["records", "columns"] = "records"
    ) -> None:
        if orient not in ("records", "columns"):
            raise SpecError(f"Columns(orient={orient!r}) is not known", hint='use "records" or "columns"')
        self.orient: Literal["records", "columns"] = orient
        self.missing = missing
        self.columns: tuple[tuple[str, str], ...] = ()
        if columns is None:
            return
        found: list[tuple[str, str]] = []
        for name, kind in _pairs(columns):
            if not isinstance(name, str):
                raise SpecError(
                    f"Columns: the name {name!r} is no text", hint="JSON has only text as keys: rename the column"
                )
            if any(name == other for other, _ in found):
                raise SpecError(f"Columns: the name {name!r} comes twice")
            found.append((name, element_name(kind, name)))
        if not found:
            raise SpecError("Columns: no columns are named", hint="leave the marker out to take any")
        self.columns = tuple(found)

    def __repr__(self) -> str:
        orient = "" if self.orient == "records" else f", orient={self.orient!r}"
        missing = "" if self.missing else ", missing=False"
        return f"Columns({dict(self.columns)!r}{missing}{orient})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Columns) and self._all() == other._all()

    def __hash__(self) -> int:
        return hash(self._all())

    def _all(self) -> tuple[object, ...]:
        return (self.columns, self.missing, self.orient)


def _pairs(columns: Any) -> Iterable[tuple[Any, Any]]:
    """Return names and types of whatever names columns."""
    items: Any = columns
    if isinstance(columns, Mapping):
        return list(items.items())
    schema = getattr(items, "schema", items)
    if hasattr(schema, "names") and hasattr(schema, "types"):  # Arrow
        return list(zip(schema.names, schema.types, strict=True))
    if hasattr(items, "dtypes") and hasattr(items.dtypes, "items"):  # pandas
        return list(items.dtypes.items())
    if isinstance(columns, str) or not isinstance(columns, Iterable):
        raise SpecError(
            f"Columns({columns!r}): not columns", hint='write a dict such as {"age": "int64", "city": "str"}'
        )
    return [(name, "") for name in items]


def element_name(kind: Any, column: str) -> str:
    """Return Tiffin's name of a column's element type.

    Args:
        kind: name, class or type object. column: whose, for the error.

    Raises:
        SpecError: it is not served.
    """
    if kind is None or kind is Any:
        return ""
    if isinstance(kind, str):
        name = kind
    elif isinstance(kind, type):
        name = kind.__name__.removesuffix("_")
    else:
        name = str(kind)
        if type(kind).__module__.partition(".")[0] == "pyarrow":
            name = {"float": "float32", "date32[day]": "datetime64[s]"}.get(name, name)
            name = "category" if name.startswith("dictionary<values=string") else name
    name = _OTHERS.get(name, name)
    time = _TIME.fullmatch(name)
    if time is not None:
        unit, zone = time.groups()
        if zone is None:
            return f"datetime64[{unit}]"
        try:
            zoneinfo.ZoneInfo(zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise SpecError(f"Columns: {column!r} is of the time zone {zone!r}, which is not known") from error
        return f"datetime64[{unit}, {zone}]"
    if name not in _KNOWN:
        raise SpecError(
            f"Columns: the element type {name!r} of {column!r} is not served",
            hint="use bool, int8 to uint64, float32, float64, str, category, datetime64[us], or Int64, boolean for missing values",
        )
    return name
