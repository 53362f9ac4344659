"""Tables as results: JSON in both orientations, CSV, Parquet, Arrow, msgpack; and round trips of random tables."""

from __future__ import annotations

import datetime as dt
import io
import sys
from typing import Annotated, Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.codecs.method import codec, refused, spec
from tests.unit.codecs.tables import ARROW, CSV, JSON, MSGPACK, PARQUET
from tiffin import Columns, ContentType, Error
from tiffin.codecs.results import ResultCodec
from tiffin.codecs.values import MethodCodec

FRAME = pd.DataFrame(
    {
        "n": pd.array([1, None], "Int64"),
        "f": [0.5, np.nan],
        "s": ["a,b", None],
        "b": [True, False],
        "t": pd.to_datetime(["2024-05-31T12:30:00.5", None]).tz_localize("UTC").tz_convert("Europe/Berlin"),
        "c": pd.Categorical(["x", "y"]),
    }
)
LISTS: dict[str, list[Any]] = {
    "n": [1, None],
    "f": [0.5, None],
    "s": ["a,b", None],
    "b": [True, False],
    "t": ["2024-05-31T12:30:00.500Z", None],
    "c": ["x", "y"],
}


def rows(self, x: int) -> pd.DataFrame: ...
def columns(self, x: int) -> Annotated[pd.DataFrame, Columns(orient="columns")]: ...
def anything(self, x: int): ...
def csv(self, x: int) -> Annotated[pd.DataFrame, ContentType("text/csv")]: ...
def many(self, x: int) -> dict[str, pd.DataFrame]: ...  # type: ignore[empty-body]


def encoded(function: Any, value: Any, accept: int) -> bytes:
    body, media, name = ResultCodec(spec(function)).encode(value, accept)
    assert media == accept
    assert name == ""
    return body


def test_json_has_rows_or_columns_as_the_marker_says() -> None:
    shown = [dict(zip(LISTS, row, strict=True)) for row in zip(*LISTS.values(), strict=True)]
    for value in (
        FRAME,
        pa.Table.from_pandas(FRAME),
        pa.RecordBatch.from_pandas(FRAME),
        FRAME.convert_dtypes(dtype_backend="pyarrow"),
    ):
        assert msgspec.json.decode(encoded(rows, value, JSON)) == shown
        assert msgspec.json.decode(encoded(columns, value, JSON)) == LISTS
        assert msgspec.json.decode(ResultCodec(spec(anything)).encode(value, -1)[0]) == shown
        assert msgspec.json.decode(encoded(many, {"a": value}, JSON)) == {"a": shown}
    assert encoded(rows, pd.Series([1.5, np.nan], name="y"), JSON) == b"[1.5,null]"
    assert encoded(rows, pd.Series(pd.to_datetime(["2024-05-31"])), JSON) == b'["2024-05-31T00:00:00"]'
    assert encoded(rows, pd.DataFrame({"x": [[1, 2], {"y": None}]}), JSON) == b'[{"x":[1,2]},{"x":{"y":null}}]'


def test_a_named_index_is_sent_and_a_plain_one_is_not() -> None:
    frame = pd.DataFrame({"city": ["a", "b", "a"], "n": [1, 2, 3]})
    assert encoded(rows, frame.groupby("city").sum(), JSON) == b'[{"city":"a","n":4},{"city":"b","n":2}]'
    assert encoded(rows, frame[frame["n"] > 1], JSON) == b'[{"city":"b","n":2},{"city":"a","n":3}]'
    assert encoded(rows, frame.groupby("city")["n"].sum(), JSON) == b"[4,2]"
    assert encoded(rows, frame.groupby("city")["n"].sum(), CSV) == b"city,n\r\na,4\r\nb,2\r\n"


def test_other_media_hold_the_same() -> None:
    text = b'n,f,s,b,t,c\r\n1,0.5,"a,b",true,2024-05-31T12:30:00.500Z,x\r\n,,,false,,y\r\n'
    assert encoded(rows, FRAME, CSV) == encoded(rows, pa.Table.from_pandas(FRAME), CSV) == text
    for body in (encoded(rows, FRAME, PARQUET), encoded(rows, pa.Table.from_pandas(FRAME), PARQUET)):
        pd.testing.assert_frame_equal(
            pq.read_table(io.BytesIO(body)).to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get), FRAME
        )
    found = pa.ipc.open_stream(encoded(rows, FRAME, ARROW)).read_all()
    assert found.schema.field("t").type == pa.timestamp("us", "Europe/Berlin")
    assert found.to_pydict()["n"] == [1, None]
    extension = msgspec.msgpack.decode(encoded(rows, FRAME, MSGPACK))
    assert extension.code == 2
    assert pa.ipc.open_stream(extension.data).read_all().schema.remove_metadata() == found.schema
    assert encoded(rows, pd.Series([1, 2]), CSV) == b"value\r\n1\r\n2\r\n"


def test_a_fixed_media_type_of_a_table_is_written_as_such() -> None:
    assert ResultCodec(spec(csv)).encode(pd.DataFrame({"a": [1]}), -1) == (b"a\r\n1\r\n", CSV, "text/csv")


@pytest.mark.parametrize(
    ("value", "accept", "reason"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), JSON, "a table whose column 'a' comes twice cannot be sent"),
        (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), JSON, "columns in levels"),
        (pd.DataFrame({"a": [object()]}), JSON, "object is no type that can be written"),
        (pd.DataFrame({"a": [object()]}), PARQUET, "column 'a' cannot be written in Arrow"),
        (pd.DataFrame({"a": [object()]}), MSGPACK, "column 'a' cannot be written in Arrow"),
    ],
)
def test_what_cannot_be_sent_is_the_methods_fault(value: Any, accept: int, reason: str) -> None:
    with pytest.raises(Error, match=reason) as caught:
        ResultCodec(spec(rows)).encode(value, accept)
    assert caught.value.code == "BAD_OUTPUT"


def test_a_table_in_msgpack_that_nothing_declares_is_of_the_library_that_it_came_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def loose(self, x: Any, /): ...

    frame = pd.DataFrame({"a": [1, 2]})
    method = codec(loose)
    for value in (frame, frame["a"], pa.Table.from_pandas(frame), pa.RecordBatch.from_pandas(frame)):
        found = method.decode(MSGPACK, encoded(rows, value, MSGPACK))["x"]
        assert type(found) is type(value)
        assert len(found) == 2
    stranger = pa.BufferOutputStream()
    with pa.ipc.new_stream(stranger, (table := pa.table({"a": [1]})).schema) as writer:
        writer.write_table(table)
    body = msgspec.msgpack.encode(msgspec.msgpack.Ext(2, stranger.getvalue().to_pybytes()))
    assert isinstance(method.decode(MSGPACK, body)["x"], pd.DataFrame)
    for data in (b"", b"no stream", body[:40]):
        assert refused(method.decode, MSGPACK, msgspec.msgpack.encode(msgspec.msgpack.Ext(2, data)))
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "pandas")
        assert isinstance(method.decode(MSGPACK, body)["x"], pa.Table)
        patch.delitem(sys.modules, "pyarrow")
        with pytest.raises(Error, match="loads neither pandas nor pyarrow"):
            method.decode(MSGPACK, body)


# -- round trips -----------------------------------------------------------------------------------------------------------

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff"), max_size=8)
MOMENTS = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))  # noqa: DTZ001 - naive ones
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "int8": st.integers(-128, 127),
    "Int64": st.none() | st.integers(-(2**63), 2**63 - 1),
    "float64": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "float32": st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32),
    "bool": st.booleans(),
    "boolean": st.none() | st.booleans(),
    "str": st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6),
    "category": st.none() | st.sampled_from(["a", "b", "c"]),
    "datetime64[us]": st.none() | MOMENTS,
    "datetime64[ns]": st.none() | MOMENTS,
    "datetime64[us, Europe/Berlin]": st.none() | MOMENTS,
}


@st.composite
def frames(draw: st.DrawFn) -> tuple[dict[str, str], pd.DataFrame]:
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    kinds = {name: draw(st.sampled_from(sorted(KINDS))) for name in names}
    size = draw(st.integers(0, 5))
    made = {}
    for name, kind in kinds.items():
        values = draw(st.lists(KINDS[kind], min_size=size, max_size=size))
        if "," in kind:
            made[name] = pd.Series(values, dtype="datetime64[us]").dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")
        else:
            made[name] = pd.Series(values, dtype=kind)
    return kinds, pd.DataFrame(made)


def taking(annotation: Any) -> MethodCodec:
    def method(self, table, /): ...

    method.__annotations__.update({"table": annotation, "return": annotation})
    return codec(method)


@settings(max_examples=150, deadline=None)
@given(frames(), st.sampled_from([JSON, CSV, PARQUET, ARROW, MSGPACK]), st.sampled_from(["records", "columns"]))
def test_what_is_written_is_read_as_the_same(
    made: tuple[dict[str, str], pd.DataFrame], media: int, orient: Any
) -> None:
    kinds, frame = made
    both = taking(Annotated[pd.DataFrame, Columns(kinds, orient=orient)])
    body, written, _name = both.encode(frame, media)
    assert written == media
    found = both.decode(written, body)["table"]
    # The order of categories is their users' own.
    pd.testing.assert_frame_equal(found, frame, check_categorical=False)
    arrow = taking(Annotated[pa.Table, Columns(kinds, orient=orient)])
    table = arrow.decode(written, body)["table"]
    again, _media, _name = arrow.encode(table, media)
    pd.testing.assert_frame_equal(both.decode(media, again)["table"], frame, check_categorical=False)


@settings(max_examples=50, deadline=None)
@given(frames(), st.sampled_from([PARQUET, ARROW, MSGPACK]))
def test_types_that_travel_need_no_marker(made: tuple[dict[str, str], pd.DataFrame], media: int) -> None:
    _kinds, frame = made
    both = taking(pd.DataFrame)
    found = both.decode(media, both.encode(frame, media)[0])["table"]
    for name in frame:
        assert [None if pd.isna(value) else value for value in found[name]] == [
            None if pd.isna(value) else value for value in frame[name]
        ]
