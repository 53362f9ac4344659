"""Other libraries' classes in annotations → the type grammar: tensors of PyTorch and TensorFlow, tables of pandas and Arrow.

Owns which classes these are and where a table can stand; a library is only looked at where the user's code has loaded it.
"""

from __future__ import annotations

import sys
from typing import Any, Literal

import msgspec

from tiffin.errors import SpecError
from tiffin.service.columns import Columns
from tiffin.spec.types import ArrayType, TableType, Type, UnionType, table_of, walk

_Library = Literal["pandas", "series", "arrow", "batch"]
_CLASSES: tuple[tuple[str, str, _Library], ...] = (
    ("pandas", "DataFrame", "pandas"),
    ("pandas", "Series", "series"),
    ("pyarrow", "Table", "arrow"),
    ("pyarrow", "RecordBatch", "batch"),
)


def tensor_class(cls: Any) -> ArrayType | None:
    """Return the type of a library's tensors, None for any other class."""
    torch, tensorflow = sys.modules.get("torch"), sys.modules.get("tensorflow")
    if torch is not None and cls is getattr(torch, "Tensor", None):
        return ArrayType(library="torch")
    if tensorflow is not None and cls is getattr(tensorflow, "Tensor", None):
        return ArrayType(library="tensorflow")
    return None


def table_class(cls: Any) -> TableType | None:
    """Return the type of a class of tables, None for any other class."""
    for module, name, library in _CLASSES:
        if module in sys.modules and cls is getattr(sys.modules[module], name, None):
            return TableType(library=library)
    return None


def with_columns(found: Type, marker: Columns, where: str, name: str) -> Type:
    """Return the type of a table, or of a table or None, with the columns of a marker.

    Args:
        found: what the annotation says without the marker. marker: what it adds. where, name: of the annotation, for errors.

    Raises:
        SpecError: the annotation is no table, or a Series with several columns.
    """
    table = table_of(found)
    if table is None:
        raise SpecError(
            f"{where}: {marker!r} describes a table, not {name}",
            hint="annotate pd.DataFrame, pd.Series, pa.Table or pa.RecordBatch",
        )
    if table.library == "series" and len(marker.columns) > 1:
        raise SpecError(f"{where}: {marker!r}: a Series is one column", hint="annotate pd.DataFrame")
    changed = msgspec.structs.replace(table, columns=marker.columns, orient=marker.orient, missing=marker.missing)
    if isinstance(found, UnionType):
        return UnionType(variants=tuple(changed if part is table else part for part in found.variants))
    return changed


def check_table(found: Type, where: str, name: str) -> None:
    """Refuse a table that is a part of another value: only a parameter of its own, or None in its place, can be one.

    Raises:
        SpecError: with what to do.
    """
    if table_of(found) is None and any(isinstance(part, TableType) for part in walk(found)):
        raise SpecError(
            f"{where}: {name}: a table must be a parameter of its own (or None), not part of another one",
            hint="make it a parameter",
        )
