"""Answers and streams → values, however their bytes are cut."""

from __future__ import annotations

import io
import itertools
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.client.shop import IMAGES, ITEM, LOOSE
from tiffin.client.decode import Items, Result, UnreadableError, decode
from tiffin.codecs.results import ResultCodec, encode_msgpack
from tiffin.errors import Error
from tiffin.spec.service import MethodSpec
from tiffin.spec.types import ANY

BYTES = {"type": "string", "contentEncoding": "base64"}
TEXT = {"type": "string"}
SSE, NDJSON = "text/event-stream", "application/x-ndjson"


def read(schema: Any, media: str, body: bytes, **more: Any) -> Any:
    return decode(Result(schema, {"Item": ITEM}), media, bytearray(body), **more)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    "array", [np.arange(6, dtype="<f4").reshape(2, 3), np.zeros((0, 3)), np.array(5), np.array([True])]
)
def test_an_array_is_the_callers_own(array):
    found = read(IMAGES, "application/x-npy", npy(array))
    assert np.array_equal(found, array)
    assert found.dtype == array.dtype
    assert found.flags.writeable


@pytest.mark.parametrize("array", [np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(3, dtype=">i4")])
def test_an_array_of_another_order_is_made_this_machines(array):
    found = read(IMAGES, "application/x-npy", npy(array))
    assert np.array_equal(found, array)
    assert found.flags.c_contiguous
    assert found.dtype.isnative


def test_lists_become_what_the_schema_says_wherever_they_are():
    schema = {
        "type": "object",
        "properties": {
            "x": IMAGES,
            "raw": BYTES,
            "pair": {"type": "array", "prefixItems": [LOOSE, {"type": "integer"}]},
            "many": {"type": "array", "items": LOOSE},
            "plain": {"type": "array", "items": {"type": "number"}},
            "item": {"$ref": "#/definitions/Item"},
        },
        "additionalProperties": LOOSE,
    }
    item = {"name": "a", "next": None}
    body = {
        "x": [[1, 2]],
        "raw": "AP8=",
        "pair": [[1], 2],
        "many": [[1], [2.5]],
        "plain": [1.0],
        "item": item,
        "other": [3],
    }
    found = read(schema, "application/json", msgspec.json.encode(body))
    assert found["x"].dtype == np.float32
    assert found["raw"] == b"\x00\xff"
    assert isinstance(found["pair"][0], np.ndarray)
    assert found["pair"][1] == 2
    assert [each.tolist() for each in found["many"]] == [[1], [2.5]]
    assert (found["plain"], found["item"]) == ([1.0], item)
    assert isinstance(found["other"], np.ndarray)


def test_an_optional_array_may_be_none():
    assert read({"anyOf": [IMAGES, {"type": "null"}]}, "application/json", b"null") is None
    assert read({"anyOf": [IMAGES, {"type": "null"}]}, "application/json", b"[[1,2]]").dtype == np.float32


def test_a_schema_that_refers_to_itself_ends():
    loop = {"$ref": "#/definitions/A", "anyOf": [LOOSE, TEXT]}
    assert decode(Result(loop, {"A": loop}), "application/json", bytearray(b"[1]")) == [1]


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False)
        | st.text()
        | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_msgpack_brings_back_what_was_sent(value):
    assert read({}, "application/msgpack", encode_msgpack(value)) == value


def test_msgpack_holds_arrays():
    found = read({}, "application/msgpack", encode_msgpack({"a": [np.arange(3, dtype="u1")], "b": float("nan")}))
    assert found["a"][0].dtype == np.uint8
    found["a"][0][0] = 7
    assert np.isnan(found["b"])


def test_text_bytes_and_pictures():
    assert read(TEXT, "text/plain; charset=utf-8", "hé".encode()) == "hé"
    assert read(BYTES, "application/octet-stream", b"\x00") == b"\x00"
    assert read(BYTES, "Image/PNG", b"\x89PNG") == b"\x89PNG"


def test_a_picture_is_one_of_pillows_where_that_is_asked_for():
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.new("RGB", (2, 3)).save(file, "PNG")
    assert read(BYTES, "image/png", file.getvalue(), pictures=True).size == (2, 3)


def test_tables_come_as_dataframes():
    pd = pytest.importorskip("pandas")
    rows = {"type": "array", "items": {}, "x-tiffin-type": "table"}
    assert read(rows, "application/json", b'[{"a":1},{"a":2}]').equals(pd.DataFrame({"a": [1, 2]}))
    assert read(rows, "application/json", b'{"a":[1,2]}').equals(pd.DataFrame({"a": [1, 2]}))
    assert read(rows, "application/json", b"[1.5,2]").equals(pd.Series([1.5, 2]))
    assert read(rows, "application/json", b'{"a":1}') == {"a": 1}
    pa = pytest.importorskip("pyarrow")
    sink = io.BytesIO()
    table = pa.table({"a": [1, 2]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write(table)
    arrow = sink.getvalue()
    assert read(rows, "application/vnd.apache.arrow.stream", arrow).equals(pd.DataFrame({"a": [1, 2]}))
    packed = msgspec.msgpack.encode({"t": msgspec.msgpack.Ext(2, arrow)})
    assert read({}, "application/msgpack", packed)["t"].equals(pd.DataFrame({"a": [1, 2]}))
    with pytest.raises(UnreadableError):
        read(rows, "application/vnd.apache.arrow.stream", arrow[:20])


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ("application/json", b"<html>"),
        ("application/json", b"[" * 100_000),
        ("application/x-npy", b"[1]"),
        ("application/msgpack", b"\xc1"),
        ("application/msgpack", b"\xc7\x01\x07x"),
        ("text/plain", b"\xff"),
    ],
)
def test_an_answer_that_is_not_what_it_says_cannot_be_read(media, body):
    with pytest.raises(UnreadableError, match=f"it is not {media}"):
        read({}, media, body)


def test_base64_that_is_none_cannot_be_read():
    with pytest.raises(UnreadableError):
        read(BYTES, "application/json", b'"***"')


# -- streams ---------------------------------------------------------------------------------------------------------------

CODEC = ResultCodec(MethodSpec(name="f", route="/f", returns=ANY, kind="generator"))
SSE_NUMBER, NDJSON_NUMBER = 5, 6


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(ends)]


def items(schema: Any, media: str, pieces: list[bytes]) -> list[Any]:
    reader = Items(Result(schema, {}), media, lambda data: Error(data.decode(), code="app.failed"))
    found = [item for piece in pieces for item in reader.feed(piece)]
    return [*found, *reader.end()]


PLACES = st.lists(st.integers(0, 400), max_size=12)


@given(
    st.lists(st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]), max_size=30), max_size=8),
    PLACES,
)
def test_texts_come_as_the_server_wrote_them_however_the_bytes_are_cut(texts, places):
    data = b"".join(CODEC.encode_item(text, SSE_NUMBER) for text in texts)
    assert items(TEXT, SSE, cut(data, places)) == texts


VALUES = st.lists(st.none() | st.integers(-9, 9) | st.text(max_size=9) | st.lists(st.text(max_size=3)), max_size=8)


@given(VALUES, PLACES)
def test_json_lines_come_as_they_were(values, places):
    data = b"".join(CODEC.encode_item(value, NDJSON_NUMBER) for value in values)
    assert items({}, NDJSON, cut(data, places)) == values


def test_items_are_shaped_by_the_schema():
    assert items(BYTES, SSE, [b'data: "AP8="\n\n']) == [b"\x00\xff"]
    assert items(IMAGES, NDJSON, [b"[[1,2]]\n"])[0].dtype == np.float32


def test_other_servers_ways_to_write_events_are_understood():
    pieces = [b": hello\r\nid: 7\r\nevent: message\r\ndata:1\r\n\r", b"\n\r\nretry: 5\n\ndata: [2,\ndata: 3]\n\n"]
    assert items({}, SSE, pieces) == [1, [2, 3]]


def test_an_error_event_is_raised_after_the_items_before_it():
    reader = Items(Result({}, {}), SSE, lambda data: Error(data.decode(), code="app.failed"))
    found = reader.feed(b"data: 1\n\nevent: error\ndata: gone\n\n")
    assert next(found) == 1
    with pytest.raises(Error, match="gone"):
        next(found)


def test_a_stream_that_ends_within_an_event_is_not_taken_for_whole():
    with pytest.raises(UnreadableError, match="ends within an event"):
        items({}, SSE, [b"data: 1\n\ndata: 2\n"])
    with pytest.raises(UnreadableError, match="not JSON"):
        items({}, NDJSON, [b'{"a":'])
    assert items({}, NDJSON, [b"1\n2"]) == [1, 2]


def test_plain_text_keeps_letters_whole():
    assert items(TEXT, "text/plain", [b"h\xc3", b"\xa9", b"!"]) == ["h", "é", "!"]
    with pytest.raises(UnreadableError, match="UTF-8"):
        items(TEXT, "text/plain", [b"\xc3"])


def test_raw_bytes_come_as_they_arrive():
    assert items(BYTES, "application/octet-stream", [b"a", b"", b"b"]) == [b"a", b"b"]
