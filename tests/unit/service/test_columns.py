"""The marker for tables, and annotations that use it."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pydantic
import pytest

from tiffin import Columns
from tiffin.errors import SpecError
from tiffin.service.annotations import type_of
from tiffin.spec.types import ANY, NullType, TableType, UnionType

MARK = Columns({"age": "int64", "city": str})
COLUMNS = (("age", "int64"), ("city", "str"))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (int, "int64"),
        (float, "float64"),
        (str, "str"),
        (bool, "bool"),
        (np.float32, "float32"),
        (np.bool_, "bool"),
        (np.dtype("uint8"), "uint8"),
        (np.dtype("<M8[ns]"), "datetime64[ns]"),
        (pd.Int64Dtype(), "Int64"),
        (pd.UInt8Dtype(), "UInt8"),
        (pd.Float64Dtype(), "Float64"),
        (pd.BooleanDtype(), "boolean"),
        (pd.CategoricalDtype(["a"]), "category"),
        (pd.StringDtype(), "str"),
        (pd.DatetimeTZDtype("us", "Europe/Berlin"), "datetime64[us, Europe/Berlin]"),
        (pa.int8(), "int8"),
        (pa.float32(), "float32"),
        (pa.float64(), "float64"),
        (pa.large_string(), "str"),
        (pa.timestamp("ms", "UTC"), "datetime64[ms, UTC]"),
        (pa.dictionary(pa.int32(), pa.string()), "category"),
        ("datetime", "datetime64[us]"),
        ("", ""),
        (Any, ""),
        (None, ""),
        (object, ""),
    ],
)
def test_element_types_by_any_librarys_name(kind: Any, name: str) -> None:
    assert Columns({"x": kind}).columns == (("x", name),)


def test_columns_of_a_table_that_looks_the_same() -> None:
    frame = pd.DataFrame({"age": [1], "city": ["Ulm"]})
    assert Columns(frame).columns == COLUMNS
    assert Columns(pa.Table.from_pandas(frame)).columns == COLUMNS
    assert Columns(pa.schema({"age": pa.int64(), "city": pa.string()})).columns == COLUMNS
    assert Columns(["age", "city"]).columns == (("age", ""), ("city", ""))
    assert Columns(iris := frame.dtypes.to_dict()).columns == COLUMNS, iris
    assert repr(Columns({"age": int}, orient="columns")) == "Columns({'age': 'int64'}, orient='columns')"
    assert Columns({"a": int}) == Columns({"a": "int64"}) != Columns({"a": int}, orient="columns")
    assert Columns({"a": int}) != Columns({"a": int}, missing=False)
    assert repr(Columns({"a": int}, missing=False)) == "Columns({'a': 'int64'}, missing=False)"
    assert len({Columns({"a": int}), Columns({"a": "int64"})}) == 1


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Columns({"x": "complex64"}), "the element type 'complex64' of 'x' is not served"),
        (lambda: Columns({"x": "datetime64[us, Mars/Olympus]"}), "the time zone 'Mars/Olympus', which is not known"),
        (lambda: Columns({1: int}), "the name 1 is no text"),
        (lambda: Columns(["a", "a"]), "the name 'a' comes twice"),
        (lambda: Columns({}), "no columns are named"),
        (lambda: Columns("age"), "not columns"),
        (lambda: Columns(3), "not columns"),
        (lambda: Columns(orient="rows"), "orient='rows'"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_marker_says_so_at_once(make: Any, reason: str) -> None:
    with pytest.raises(SpecError, match=reason.replace("[", r"\[")):
        make()


@pytest.mark.parametrize(
    ("annotation", "found"),
    [
        (pd.DataFrame, TableType()),
        (pd.Series, TableType(library="series")),
        (pa.Table, TableType(library="arrow")),
        (pa.RecordBatch, TableType(library="batch")),
        (Annotated[pd.DataFrame, MARK], TableType(columns=COLUMNS)),
        (Annotated[pa.Table, Columns(orient="columns")], TableType(library="arrow", orient="columns")),
        (Annotated[pd.DataFrame, Columns(missing=False)], TableType(missing=False)),
        (pd.DataFrame | None, UnionType(variants=(TableType(), NullType()))),
        (Annotated[pd.DataFrame | None, MARK], UnionType(variants=(TableType(columns=COLUMNS), NullType()))),
        (Annotated[pd.DataFrame, MARK] | None, UnionType(variants=(TableType(columns=COLUMNS), NullType()))),
    ],
)
def test_annotations_of_tables(annotation: Any, found: Any) -> None:
    assert type_of(annotation, "parameter 'x'") == found
    assert type_of(annotation, "result", "serialization") == found


class Model(pydantic.BaseModel):
    x: int


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (list[pd.DataFrame], "a table must be a parameter of its own"),
        (dict[str, pa.Table], "a table must be a parameter of its own"),
        (pd.DataFrame | pa.Table, "a table must be a parameter of its own"),
        (pd.DataFrame | int, "a table must be a parameter of its own"),
        (Annotated[np.ndarray, MARK], "describes a table, not ndarray"),
        (Annotated[list[int], MARK], "describes a table, not list"),
        (Annotated[pd.Series, MARK], "a Series is one column"),
    ],
)
def test_where_no_table_can_stand(annotation: Any, reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        type_of(annotation, "parameter 'x'")


def test_results_may_hold_tables() -> None:
    assert type_of(dict[str, pd.DataFrame], "result", "serialization").value == TableType()  # type: ignore[union-attr]
    assert type_of(pd.DataFrame | Model, "result", "serialization") == ANY
