"""Table parameters of one call: every form a body can have, and what is wrong with those that cannot be read."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.unit.codecs.method import codec, refused
from tests.unit.codecs.tables import ARROW, CSV, JSON, MSGPACK, PARQUET, json_bytes, parquet, stream
from tiffin import Columns, Error

PEOPLE = Columns({"age": "int64", "city": "str", "income": "float64", "member": "bool", "since": "datetime64[us]"})
ROWS: list[dict[str, Any]] = [
    {"age": 41, "city": "Ulm", "income": 2.5, "member": True, "since": "2024-05-31T12:30:00"},
    {"age": 7, "city": None, "income": None, "member": False, "since": None},
]
FRAME = pd.DataFrame(
    {
        "age": [41, 7],
        "city": ["Ulm", np.nan],
        "income": [2.5, np.nan],
        "member": [True, False],
        "since": np.array(["2024-05-31T12:30:00", "NaT"], "datetime64[us]"),
    }
)


def frame(self, people: Annotated[pd.DataFrame, PEOPLE]): ...
def whole(self, people: Annotated[pd.DataFrame, PEOPLE], /): ...
def open_frame(self, t: pd.DataFrame, /): ...
def open_arrow(self, t: pa.Table, /): ...
def arrow(self, people: Annotated[pa.Table, PEOPLE], /): ...
def batch(self, people: Annotated[pa.RecordBatch, PEOPLE], /): ...
def series(self, x: Annotated[pd.Series, Columns({"x": "float32"})], /): ...
def open_series(self, x: pd.Series, /): ...


def optional(self, people: Annotated[pd.DataFrame | None, PEOPLE] = None, k: int = 1): ...


def read(function: Any, media: int, body: bytes) -> Any:
    (value,) = codec(function).decode(media, body).values()
    return value


def columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


# -- every form ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("media", "body"),
    [
        (JSON, json_bytes(ROWS)),
        (JSON, json_bytes(columns_of(ROWS))),
        (JSON, json_bytes([dict(reversed(row.items())) for row in ROWS])),
        (MSGPACK, msgspec.msgpack.encode(ROWS)),
        (CSV, b"age,city,income,member,since\r\n41,Ulm,2.5,true,2024-05-31 12:30\r\n7,,,False,\r\n"),
        (CSV, b'\xef\xbb\xbfsince,age,"city",income,member\n2024-05-31T12:30:00.0,41,"Ulm",2.5,TRUE\n\n,7,,,false'),
        (PARQUET, parquet(pa.Table.from_pandas(FRAME))),
        (PARQUET, parquet(pa.Table.from_pandas(FRAME[FRAME.columns[::-1]]), compression="zstd", use_dictionary=False)),
        (ARROW, stream(pa.Table.from_pandas(FRAME))),
        (ARROW, stream(pa.Table.from_pandas(FRAME), "lz4", 1)),
        (MSGPACK, msgspec.msgpack.encode(msgspec.msgpack.Ext(2, stream(pa.Table.from_pandas(FRAME))))),
    ],
)
def test_each_form_gives_the_declared_frame(media: int, body: bytes) -> None:
    found = read(whole, media, body)
    pd.testing.assert_frame_equal(found, FRAME)
    assert isinstance(found.index, pd.RangeIndex)
    found.iloc[0, 0] = 1  # it is the method's own
    expected = pa.Table.from_pandas(FRAME, preserve_index=False).replace_schema_metadata(None)
    assert read(arrow, media, body).cast(expected.schema).equals(expected)
    assert isinstance(read(batch, media, body), pa.RecordBatch)
    assert read(batch, media, body).num_rows == 2


def test_a_table_is_a_named_field_where_it_is_no_whole_body() -> None:
    pd.testing.assert_frame_equal(read(frame, JSON, json_bytes({"people": ROWS})), FRAME)
    pd.testing.assert_frame_equal(read(frame, ARROW, stream(pa.Table.from_pandas(FRAME))), FRAME)
    assert codec(optional).decode(JSON, b"{}") == {}
    assert codec(optional).decode(JSON, b'{"people": null, "k": 2}') == {"people": None, "k": 2}
    assert codec(optional).decode(MSGPACK, msgspec.msgpack.encode({"people": None})) == {"people": None}
    pd.testing.assert_frame_equal(read(optional, JSON, json_bytes({"people": ROWS})), FRAME)


def test_a_series_is_a_list_of_values_or_one_column() -> None:
    expected = pd.Series([1.5, np.nan, 3], name="x", dtype="float32")
    for media, body in [
        (JSON, b"[1.5, null, 3]"),
        (CSV, b'x\n1.5\n""\n3\n'),
        (PARQUET, parquet(pa.table({"x": [1.5, None, 3.0]}))),
        (MSGPACK, msgspec.msgpack.encode([1.5, None, 3])),
    ]:
        pd.testing.assert_series_equal(read(series, media, body), expected)
    assert refused(codec(series).decode, JSON, b'[1, "2"]') == [("[1]", "expected float32, got str")]
    assert refused(codec(series).decode, JSON, b'{"x": [1]}') == [("", "expected a list of values, got an object")]
    assert refused(codec(series).decode, CSV, b"y\n1\n") == [("", "expected the column 'x', got 'y'")]
    assert refused(codec(open_series).decode, CSV, b"x,y\n1,2\n") == [("", "expected one column, got 2")]
    assert read(open_series, JSON, b"[true, false]").tolist() == [True, False]


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([1, 2], "int64", [1, 2]),
        ([1, 2.5], "float64", [1.0, 2.5]),
        ([1, None], "float64", [1.0, None]),
        ([2**53 + 1, None], "Int64", [2**53 + 1, None]),
        ([2**64 - 1], "uint64", [2**64 - 1]),
        ([True, False], "bool", [True, False]),
        ([True, None], "boolean", [True, None]),
        (["a", None], str(pd.Series(["a"]).dtype), ["a", None]),
        ([None, None], "float64", [None, None]),
    ],
)
def test_undeclared_columns_get_the_type_that_holds_their_values(values: list[Any], dtype: str, expected: Any) -> None:
    for body in (json_bytes({"x": values}), json_bytes([{"x": value} for value in values])):
        found = read(open_frame, JSON, body)["x"]
        assert str(found.dtype) == dtype
        assert [None if pd.isna(value) else value for value in found.tolist()] == expected
    if set(values) != {None}:
        assert read(open_arrow, JSON, body)["x"].to_pylist() == values


def test_cells_of_csv_are_read_as_what_all_of_a_column_look_like() -> None:
    found = read(open_frame, CSV, b"i,f,b,t,z,g\n1,1.5,true,x,007,1\n,2,false,,12,\n3,1e3,True,1,4,2.5\n")
    assert found.to_dict("list") == {
        "i": [1, pytest.approx(np.nan, nan_ok=True), 3],
        "f": [1.5, 2.0, 1000.0],
        "b": [True, False, True],
        "t": ["x", pytest.approx(np.nan, nan_ok=True), "1"],
        "z": ["007", "12", "4"],
        "g": [1.0, pytest.approx(np.nan, nan_ok=True), 2.5],
    }


def test_no_rows_are_a_table_without_rows() -> None:
    assert read(whole, JSON, b"[]").dtypes.astype(str).to_dict() == FRAME.dtypes.astype(str).to_dict()
    assert read(whole, CSV, b"age,city,income,member,since\n").shape == (0, 5)
    assert read(open_frame, JSON, b"[]").shape == (0, 0)
    assert read(arrow, JSON, b"[]").schema.names == list(FRAME.columns)
    assert read(batch, ARROW, stream(pa.Table.from_pandas(FRAME.iloc[:0], preserve_index=False))).num_rows == 0


@pytest.mark.parametrize(
    ("dtype", "values", "seen"),
    [
        ("Int8", [1, None], "Int8"),
        ("UInt16", [1, None], "UInt16"),
        ("Float32", [1.5, None], "Float32"),
        ("boolean", [True, None], "boolean"),
        ("category", ["b", None, "a"], "category"),
        ("float32", [1, 2.5], "float32"),
        ("int16", [1, 2.0], "int16"),
        ("datetime64[s]", ["2024-01-01", None], "datetime64[s]"),
        ("datetime64[ns, Europe/Berlin]", ["2024-07-01T12:00:00.123456789Z", None], "datetime64[ns, Europe/Berlin]"),
    ],
)
def test_declared_types_are_what_pandas_calls_so(dtype: str, values: list[Any], seen: str) -> None:
    def method(self, t: Annotated[pd.DataFrame, Columns({"x": dtype})], /): ...

    method.__annotations__["t"] = Annotated[pd.DataFrame, Columns({"x": dtype})]
    found = read(method, JSON, json_bytes({"x": values}))["x"]
    assert str(found.dtype) == seen
    assert found.isna().tolist() == [value is None for value in values]
    pd.testing.assert_series_equal(read(method, ARROW, stream(pa.table({"x": pa.array(found)})))["x"], found)


# -- errors ----------------------------------------------------------------------------------------------------------------


def changed(row: int, **values: Any) -> list[dict[str, Any]]:
    rows = [dict(row) for row in ROWS]
    rows[row].update(values)
    return rows


@pytest.mark.parametrize(
    ("value", "reasons"),
    [
        (changed(1, age=None), [("people[1].age", "expected int64, got null")]),
        (changed(1, age="7"), [("people[1].age", "expected int64, got str")]),
        (changed(1, age=7.5), [("people[1].age", "expected int64, got 7.5")]),
        (changed(1, age=2**63), [("people[1].age", "expected int64, got 9223372036854775808")]),
        (changed(1, age=2.0**63), [("people[1].age", "expected int64, got 9.223372036854776e+18")]),
        (changed(0, age=True), [("people[0].age", "expected int64, got bool")]),
        (changed(0, age=10**30), [("people[0].age", f"expected int64, got {10**30}")]),
        (changed(0, city=3), [("people[0].city", "expected str, got int")]),
        (changed(0, city=["Ulm"]), [("people[0].city", "expected str, got a list")]),
        (changed(0, city={"x": 1}), [("people[0].city", "expected str, got an object")]),
        (changed(1, income="high"), [("people[1].income", "expected float64, got str")]),
        (changed(1, member=None), [("people[1].member", "expected bool, got null")]),
        (changed(1, member=1), [("people[1].member", "expected bool, got int")]),
        (
            changed(1, since="yesterday"),
            [("people[1].since", "expected datetime64[us], got 'yesterday': write it as in ISO 8601, 2024-05-31T12:30:00")],
        ),
        (
            changed(1, since="2024-05-31T12:30:00Z"),
            [("people[1].since", "expected datetime64[us], got '2024-05-31T12:30:00Z': without a time zone")],
        ),
        (changed(1, since="2024-02-30"), [("people[1].since", "expected datetime64[us], got '2024-02-30'")]),
        (
            changed(1, since="2024-02-03T00:00:00.1234567"),
            [
                (
                    "people[1].since",
                    "expected datetime64[us], got '2024-02-03T00:00:00.1234567': more digits than [us] holds",
                )
            ],
        ),
        (changed(1, zip="89073"), [("people[1].zip", "unknown column")]),
        (
            [ROWS[0], {"age": 1, "x": 2}],
            [(f"people[1].{name}", "required, but missing") for name in list(ROWS[0])[1:]] + [("people[1].x", "unknown column")],
        ),
        ([ROWS[0], 4], [("people[1]", "expected an object, got int")]),
        (3, [("people", "expected a list of row objects or an object of columns, got int")]),
        (None, [("people", "expected a list of row objects or an object of columns, got null")]),
        ({**columns_of(ROWS), "age": 3}, [("people.age", "expected a list of values, got int")]),
        ({**columns_of(ROWS), "city": ["Ulm"]}, [("people.city", "expected 2 rows as in 'age', got 1")]),
        ({**columns_of(ROWS), "zip": []}, [("people.zip", "unknown column")]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_row_and_column(value: Any, reasons: list[tuple[str, str]]) -> None:
    assert refused(codec(frame).decode, JSON, json_bytes({"people": value})) == reasons
    if str(10**30) not in str(value):  # msgpack has no such number
        assert refused(codec(frame).decode, MSGPACK, msgspec.msgpack.encode({"people": value})) == reasons


@pytest.mark.parametrize(
    ("body", "reasons"),
    [
        (b"age,city\n1,x\n", [(f"people.{name}", "required, but missing") for name in ("income", "member", "since")]),
        (b"age,city,income,member,since\n1,x,1,true\n", [("people[0]", "expected 5 cells, got 4")]),
        (
            b"age,city,income,member,since\n1,x,1,true,\n1.5,x,1,true,\n",
            [("people[1].age", "expected int64, got '1.5'")],
        ),
        (b"age,city,income,member,since\n1,x,1,yes,\n", [("people[0].member", "expected bool, got 'yes'")]),
        (b"age,city,income,member,since\n,x,1,true,\n", [("people[0].age", "expected int64, got null")]),
        (b"age,age\n1,2\n", [("people.age", "the column comes twice")]),
        (b"", [("people", "no header: the first line of CSV names the columns")]),
        (b"age\n\xff\n", [("people", "not UTF-8 at byte 4")]),
        (
            b"age;city\n1;x\n",
            [("people", "the header has semicolons and no comma: cells are separated by commas")],
        ),
        (b"age\tcity\n", [("people", "the header has tabs and no comma: cells are separated by commas")]),
        (
            b"age,city,income,member,since1,x,1.5,true,",
            [
                (
                    "people",
                    (
                        "the only line is a header with numbers in it: send line breaks too "
                        "(curl's -d removes them, --data-binary does not)"
                    ),
                )
            ],
        ),
        (b'age\n"1\n', [("people", "not CSV: line 2: unexpected end of data")]),
    ],
)
def test_what_is_wrong_in_csv_is_named(body: bytes, reasons: list[tuple[str, str]]) -> None:
    assert refused(codec(frame).decode, CSV, body) == reasons


def test_a_wrong_type_of_a_typed_column_is_the_columns_fault() -> None:
    good: dict[str, Any] = {name: pa.array(FRAME[name]) for name in FRAME.columns}
    for name, array, reason in [
        ("age", pa.array(["41", "7"]), ("people.age", "expected int64, got str")),
        ("age", pa.array([41, None]), ("people[1].age", "expected int64, got null")),
        ("age", pa.array([41, 7.5]), ("people[1].age", "expected int64, got 7.5")),
        ("city", pa.array([1, 2]), ("people.city", "expected str, got int")),
        ("member", pa.array([1, 0], pa.int8()), ("people.member", "expected bool, got int")),
        (
            "since",
            pa.array([1, 2], pa.timestamp("us", "UTC")),
            ("people.since", "expected datetime64[us], got times in the zone UTC"),
        ),
        ("since", pa.array([1, 2]), ("people.since", "expected datetime64[us], got int")),
    ]:  # fmt: skip
        for media, written in ((PARQUET, parquet), (ARROW, stream)):
            body = written(pa.table({**good, name: array}))
            assert refused(codec(frame).decode, media, body) == [reason]
            assert refused(codec(arrow).decode, media, body) == [
                (reason[0].removeprefix("people").removeprefix("."), reason[1])
            ]
    # Types that hold all values are taken: narrower integers, dictionaries, other units.
    found = read(
        frame,
        PARQUET,
        parquet(
            pa.table(
                {
                    **good,
                    "age": pa.array([41, 7], pa.uint8()),
                    "city": pa.array(["Ulm", None]).dictionary_encode(),
                    "since": pa.array([1_717_158_600_000, None], pa.timestamp("ms")),
                }
            )
        ),
    )
    pd.testing.assert_frame_equal(found, FRAME)


def test_missing_values_can_be_ruled_out() -> None:
    def some(self, t: Annotated[pd.DataFrame, Columns({"f": "float64", "s": "str", "o": ""}, missing=False)], /): ...
    def any(self, t: Annotated[pa.Table, Columns(missing=False)], /): ...

    good = {"f": 1.5, "s": "a", "o": True}
    assert read(some, JSON, json_bytes([good])).shape == read(any, JSON, json_bytes([good])).shape == (1, 3)
    for name, kind in (("f", "float64"), ("s", "str"), ("o", "a value")):
        value = [good, {**good, name: None}]
        cells = "\n".join(",".join("" if cell is None else str(cell).lower() for cell in row.values()) for row in value)
        bodies = [(JSON, json_bytes(value)), (CSV, f"f,s,o\n{cells}\n".encode())]
        bodies += [(ARROW, stream(pa.Table.from_pylist(value))), (PARQUET, parquet(pa.Table.from_pylist(value)))]
        for media, body in bodies:
            assert refused(codec(some).decode, media, body) == [(f"[1].{name}", f"expected {kind}, got null")]
            assert refused(codec(any).decode, media, body) == [(f"[1].{name}", "expected a value, got null")]
    body = stream(pa.table({"f": [1.0, np.nan], "s": ["a", "b"], "o": [1, 2]}))
    assert refused(codec(some).decode, ARROW, body) == [("[1].f", "expected float64, got NaN")]
    assert refused(codec(any).decode, ARROW, body) == [("[1].f", "expected a value, got NaN")]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'[{"x": 1}, {"x": "a"}]', ("[1].x", "expected int as before it, got str")),
        (b'[{"x": 1}, {"x": true}]', ("[1].x", "expected int as before it, got bool")),
        (b'[{"x": [1]}]', ("[0].x", "expected a number, text, true, false or null, got a list")),
        (b'[{"x": 1}, {"y": 1}]', ("[1].x", "required, but missing")),
        (b'[{"x": 36893488147419103232}]', ("[0].x", "expected int64, got 36893488147419103232")),
        (b'{"x": [1], "y": 2}', ("y", "expected a list of values, got int")),
    ],
)
def test_columns_without_a_declared_type_hold_one_kind_of_value(body: bytes, reason: tuple[str, str]) -> None:
    assert refused(codec(open_frame).decode, JSON, body)[0] == reason


def test_without_pyarrow_its_bodies_are_unsupported_and_the_rest_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Error, match=r"need pyarrow.*install tiffin\[arrow\]") as caught:
        codec(whole).decode(PARQUET, b"PAR1")
    assert caught.value.code == "UNSUPPORTED_MEDIA"
    assert codec(whole).decode(JSON, json_bytes(ROWS))["people"].shape == (2, 5)
