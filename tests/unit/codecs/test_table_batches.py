"""Batches of tables: calls are joined by columns and element types, their results cut again; a bad call fails alone."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.unit.codecs.method import checker, codec, refused
from tests.unit.codecs.tables import ARROW, CSV, JSON, MSGPACK, PARQUET, json_bytes, parquet, stream
from tiffin import Columns, Error
from tiffin.errors import SpecError

XY = Columns({"x": "int64", "y": "str"})


def frames(self, t: Annotated[pd.DataFrame, XY]) -> pd.DataFrame: ...
def open_frames(self, t: pd.DataFrame, /) -> pd.DataFrame: ...
def tables(self, t: Annotated[pa.Table, XY], /) -> pa.Table: ...
def record_batches(self, t: Annotated[pa.RecordBatch, XY], /) -> pa.RecordBatch: ...
def series(self, s: pd.Series, /) -> pd.Series: ...
def both(self, t: Annotated[pd.DataFrame, XY], w: list[float]) -> pd.DataFrame: ...


MEMBERS = [
    (JSON, json_bytes([{"x": 1, "y": "a"}, {"x": 2, "y": None}])),
    (CSV, b"x,y\n3,c\n"),
    (JSON, b'[{"x": "no", "y": "a"}]'),
    (ARROW, stream(pa.table({"y": ["d", "e"], "x": [4, 5]}))),
    (PARQUET, parquet(pa.table({"x": pa.array([6], pa.int8()), "y": ["f"]}))),
    (MSGPACK, msgspec.msgpack.encode({"x": [7], "y": ["g"]})),
    (ARROW, b"nothing"),
]


def named(member: tuple[int, bytes]) -> tuple[int, bytes]:
    media, body = member
    return (media, b'{"t":' + body + b"}") if media == JSON else member


@pytest.mark.parametrize("function", [frames, tables, record_batches])
def test_calls_of_any_media_type_are_one_table_and_a_bad_one_fails_alone(function: Any) -> None:
    members = [named(member) for member in MEMBERS] if function is frames else MEMBERS
    if function is frames:
        members = [member for member in members if member[0] != MSGPACK]
    method = codec(function, batchable=True)
    batch = method.decode_batch(members)
    assert sorted(batch.errors) == [2, len(members) - 1]
    assert batch.rest == []
    assert batch.counts == [2, 1, 2, 1] + [1] * (function is not frames)
    value = batch.arguments["t"]
    found = value if function is frames else value.to_pandas()
    assert found["x"].tolist() == list(range(1, sum(batch.counts) + 1))
    assert found["y"].tolist()[:1] == ["a"]
    assert found["y"].isna().tolist() == [False, True] + [False] * (len(found) - 2)
    if function is frames:
        assert isinstance(value.index, pd.RangeIndex)
        value.iloc[0, 0] = 9  # it is the method's own
    else:
        assert value.validate(full=True) is None


def test_tables_that_differ_in_a_column_or_type_run_apart() -> None:
    method = codec(open_frames, batchable=True)
    members = [
        (JSON, b'[{"x": 1}]'),
        (JSON, b'[{"x": 1.5}]'),
        (JSON, b'[{"z": 1}]'),
        (JSON, b'{"x": [2, 3]}'),
        (CSV, b"x\n4\n"),
        (JSON, b'[{"x": 5}, {"x": null}]'),
        (ARROW, stream(pa.table({"x": pa.array([6], pa.int32())}))),
        (PARQUET, parquet(pa.table({"x": [7]}))),
    ]
    batch = method.decode_batch(members)
    assert batch.arguments["t"]["x"].tolist() == [1, 2, 3, 4, 7]
    assert (batch.counts, batch.rest, batch.errors) == ([1, 2, 1, 1], [1, 2, 5, 6], {})
    again = method.decode_batch([members[index] for index in batch.rest])
    assert (again.counts, again.rest) == ([1, 2], [1, 3])
    assert again.arguments["t"]["x"].dtype == "float64"


def test_missing_values_of_one_call_do_not_change_the_types_of_another() -> None:
    method = codec(open_frames, batchable=True)
    members = [(JSON, b'[{"x": 1, "b": true}]'), (JSON, b'[{"x": null, "b": null}]')]
    batch = method.decode_batch(members)
    assert batch.rest == [1]
    assert batch.arguments["t"].dtypes.astype(str).to_dict() == {"x": "int64", "b": "bool"}


def test_categories_are_those_of_all_calls() -> None:
    def method(self, t: pd.DataFrame, /): ...

    method.__annotations__["t"] = Annotated[pd.DataFrame, Columns({"c": "category"})]
    batch = codec(method, batchable=True).decode_batch([(JSON, b'[{"c": "b"}]'), (JSON, b'[{"c": "a"}]')])
    assert batch.arguments["t"]["c"].tolist() == ["b", "a"]
    assert batch.arguments["t"]["c"].cat.categories.tolist() == ["a", "b"]


def test_rows_of_json_are_read_at_once_and_to_the_same_table() -> None:
    members = [
        (JSON, b'[{"x": 1, "y": "a"}, {"y": null, "x": 2}]'),
        (JSON, b'[{"x": 3.0, "y": null}]'),
        (JSON, b'[{"x": 4, "y": "d"}]'),
    ]
    for function in (tables, record_batches):
        method = codec(function, batchable=True)
        at_once = method._join_lists(members)
        assert at_once is not None
        assert (at_once.counts, at_once.errors, at_once.rest) == ([2, 1, 1], {}, [])
        apart = method.decode_batch([*members, (CSV, b"x,y\n5,e\n")])
        assert apart.arguments["t"].slice(0, 4).equals(at_once.arguments["t"])
        assert at_once.arguments["t"].to_pydict() == {"x": [1, 2, 3, 4], "y": ["a", None, None, "d"]}
        bad = method.decode_batch([*members, (JSON, b'[{"x": "no", "y": null}]')])
        assert (bad.counts, [*bad.errors]) == ([2, 1, 1], [3])
    assert codec(open_frames, batchable=True)._join_lists([(JSON, b'[{"x": 1}]')]) is None  # a type not declared


def test_bodies_whose_rows_the_front_cannot_count_do_not_exceed_a_batch() -> None:
    method = codec(frames, batchable=True, max_batch_size=5)
    csv = (CSV, b"x,y\n" + b"1,a\n" * 2)
    batch = method.decode_batch([csv] * 4)
    assert (batch.counts, batch.rest) == ([2, 2], [2, 3])
    large = (CSV, b"x,y\n" + b"1,a\n" * 9)
    assert method.decode_batch([large]).counts == [9]  # one call of more rows is run in parts
    assert method.decode_batch([large, csv]).rest == [1]


def test_rows_must_agree_and_be_there() -> None:
    method = codec(both, batchable=True)
    good = json_bytes({"t": [{"x": 1, "y": "a"}], "w": [0.5]})
    batch = method.decode_batch(
        [(JSON, good), (JSON, good.replace(b"[0.5]", b"[1, 2]")), (JSON, b'{"t": [], "w": []}')]
    )
    assert batch.arguments["w"] == [0.5]
    assert batch.arguments["t"].shape == (1, 2)
    assert {index: error.details[0] for index, error in batch.errors.items()} == {
        1: {"path": "w", "reason": "expected 1 rows as in t, got 2"},
        2: {"path": "t", "reason": "expected one row at least, got none"},
    }
    assert refused(codec(frames, batchable=True).decode, JSON, b'{"t": 1}')


def test_results_are_cut_by_rows() -> None:
    frame = pd.DataFrame({"x": [1, 2, 3], "y": ["a", None, "c"]}, index=[7, 8, 9])
    for function, value in (
        (frames, frame),
        (tables, pa.Table.from_pandas(frame, preserve_index=False)),
        (record_batches, pa.RecordBatch.from_pandas(frame, preserve_index=False)),
    ):
        method = codec(function, batchable=True)
        answers = method.encode_batch(value, [2, 1], [JSON, JSON])
        assert answers == [(b'[{"x":1,"y":"a"},{"x":2,"y":null}]', JSON, ""), (b'[{"x":3,"y":"c"}]', JSON, "")]
        assert method.encode_batch(value, [2, 1], [CSV, JSON]) == [
            (b"x,y\r\n1,a\r\n2,\r\n", CSV, ""),
            (b'[{"x":3,"y":"c"}]', JSON, ""),
        ]
        with pytest.raises(Error, match="got 4 rows and returned 3"):
            method.encode_batch(value, [4], [JSON])
        with pytest.raises(Error, match="got 4 rows and returned 3"):
            method.encode_batch(value, [4], [CSV])
    method = codec(series, batchable=True)
    assert method.encode_batch(pd.Series([1.5, np.nan, 3]), [1, 2], [-1, -1]) == [
        (b"[1.5]", 0, ""),
        (b"[null,3.0]", 0, ""),
    ]
    # Results that are no tables are cut as ever, and tables of methods that take none.
    assert codec(frames, batchable=True).encode_batch(np.arange(2), [1, 1], [0, 0])[1] == (b"[1]", 0, "")
    columns = codec(open_frames, batchable=True).encode_batch({"a": frame["x"], "b": [1, 2, 3]}, [2, 1], [0, 0])
    assert columns == [(b'{"a":[1,2],"b":[1,2]}', 0, ""), (b'{"a":[3],"b":[3]}', 0, "")]


def test_a_column_that_cannot_be_written_fails_the_batch_as_the_methods_fault() -> None:
    with pytest.raises(Error, match="comes twice") as caught:
        codec(frames, batchable=True).encode_batch(pd.DataFrame([[1, 2]], columns=["a", "a"]), [1], [JSON])
    assert caught.value.code == "BAD_OUTPUT"


def test_a_client_of_single_rows_sends_and_gets_one_object() -> None:
    rules: dict[str, Any] = {"batchable": True, "one_row": True}
    method = codec(frames, **rules)
    batch = method.decode_batch(
        [
            (JSON, b'{"t": {"x": 1, "y": "a"}}'),
            (CSV, b"x,y\n2,b\n"),
            (CSV, b"x,y\n2,b\n3,c\n"),
            (JSON, b'{"t": {"x": null, "y": "a"}}'),
            (JSON, b'{"t": [{"x": 1, "y": "a"}]}'),
            (ARROW, stream(pa.table({"x": [3], "y": ["c"]}))),
        ]
    )
    assert batch.arguments["t"].to_dict("list") == {"x": [1, 2, 3], "y": ["a", "b", "c"]}
    assert {index: error.details[0] for index, error in batch.errors.items()} == {
        2: {"path": "t", "reason": "expected one row, got 2"},
        3: {"path": "t.x", "reason": "expected int64, got null"},
        4: {"path": "t", "reason": "expected an object, one row, got a list"},
    }
    frame = batch.arguments["t"]
    assert method.encode_batch(frame, [1, 1, 1], [JSON] * 3)[1] == (b'{"x":2,"y":"b"}', JSON, "")
    assert method.encode_batch(frame, [1, 1, 1], [JSON, CSV, JSON])[:2] == [
        (b'{"x":1,"y":"a"}', JSON, ""),
        (b"x,y\r\n2,b\r\n", CSV, ""),
    ]
    assert method.encode_batch(frame["x"] * 0.5, [1, 1, 1], [JSON] * 3)[2] == (b"1.5", JSON, "")
    one = codec(series, **rules).decode_batch([(JSON, b"1"), (JSON, b"2")])
    assert one.arguments["s"].tolist() == [1, 2]


def test_the_front_counts_rows_where_json_says_them() -> None:
    check = checker(frames, batchable=True).check
    assert check(JSON, b'{"t": [{"x": 1}, {}, {}]}') == 3
    assert check(JSON, b'{"t": {"x": [1, 2], "y": 0.5}}'.replace(b"0.5", b"[]")) == 2
    assert check(MSGPACK, msgspec.msgpack.encode({"t": [{}, {}]})) == 2
    assert check(MSGPACK, msgspec.msgpack.encode({"t": msgspec.msgpack.Ext(2, b"")})) == 1
    for media in (CSV, ARROW, PARQUET):
        assert check(media, b"whatever it is") == 1
    assert refused(check, JSON, b'{"t": []}') == [("t", "expected one row at least, got none")]
    assert refused(check, JSON, b'{"t": 3}')[0][0] == "t"
    assert checker(series, batchable=True).check(JSON, b"[1, 2, 3, 4]") == 4
    assert checker(frames).check(JSON, b'{"t": 3}') == 1  # the worker says what is wrong
    assert checker(frames, batchable=True, one_row=True).check(JSON, b'{"t": {"x": 1}}') == 1


def test_tables_have_their_rows_along_axis_0() -> None:
    with pytest.raises(SpecError, match="a table has its rows along dimension 0"):
        codec(frames, batchable=True, batch_dim=1)
