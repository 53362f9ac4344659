"""Every kind of value that goes out, whole or as an item of a stream."""

import datetime as dt
import decimal
import json
import math
import uuid
from collections import deque
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest

from tests.unit.codecs.kinds import Colour, Frame, Point, User
from tests.unit.codecs.method import codec, refused
from tiffin.errors import Error
from tiffin.messages.link import Media
from tiffin.service.markers import ContentType

JSON, NPY, MSGPACK, TEXT, BYTES, SSE, NDJSON = range(7)


def given(value: Any, accept: int = -1, annotation: Any = Any) -> tuple[bytes, int, str]:
    def method(self):
        raise NotImplementedError

    method.__annotations__["return"] = annotation
    return codec(method).encode(value, accept)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ({"a": [1, 2.5, True, "é"]}, '{"a":[1,2.5,true,"é"]}'),
        ((1, 2), "[1,2]"),
        ({3}, "[3]"),
        ({1: 2}, '{"1":2}'),
        (np.float32(1.5), "1.5"),
        (np.bool_(True), "true"),
        ({"a": np.int64(3), "b": np.arange(2)}, '{"a":3,"b":[0,1]}'),
        (np.arange(4).reshape(2, 2), "[[0,1],[2,3]]"),
        (np.array([1.0, math.nan, math.inf]), "[1.0,null,null]"),
        (math.nan, "null"),
        (Point(1.0, 2.0), '{"x":1.0,"y":2.0}'),
        ([Colour.RED], '["red"]'),
        (User(age=3), '{"age":3,"tags":[]}'),
        ({"u": [User(age=3)]}, '{"u":[{"age":3,"tags":[]}]}'),
        (Frame(np.ones((2, 1), np.float32)), '{"image":[[1.0],[1.0]],"label":""}'),
        (deque([1]), "[1]"),
        (dt.date(2024, 5, 6), '"2024-05-06"'),
        (decimal.Decimal("1.10"), '"1.10"'),
        (uuid.UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
        (10**400, str(10**400)),
    ],
)
def test_value_out(value: Any, text: str) -> None:
    body, media, name = given(value)
    assert body.decode() == text
    assert (media, name) == (JSON, "")


def test_text_and_bytes_go_out_as_they_are() -> None:
    assert given("hé") == ("hé".encode(), TEXT, "")
    assert given("hé", TEXT) == ("hé".encode(), TEXT, "")
    assert given("hé", JSON) == ('"hé"'.encode(), JSON, "")
    assert given(b"\x00") == (b"\x00", BYTES, "")
    assert given(bytearray(b"\x00"), BYTES) == (b"\x00", BYTES, "")
    assert given(b"hi", JSON) == (b'"aGk="', JSON, "")
    assert given({"a": 1}, TEXT) == (b'{"a":1}', JSON, "")
    assert given(b"RIFF", JSON, Annotated[bytes, ContentType("audio/wav")]) == (b"RIFF", BYTES, "audio/wav")
    assert (
        given({"a": 1}, -1, Annotated[dict[str, int], ContentType("application/ld+json")])[2] == "application/ld+json"
    )


def test_array_out_as_npy(tmp_path: Any) -> None:
    for array in (
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.ones((2, 3), order="F"),
        np.zeros((0, 3)),
        np.float64(3),
    ):
        body, media, _ = given(array, NPY)
        assert media == NPY
        (tmp_path / "a.npy").write_bytes(body)
        back = np.load(tmp_path / "a.npy")
        assert back.dtype == array.dtype
        assert back.tolist() == array.tolist()
        assert back.shape == array.shape
    assert given([1], NPY) == (b"[1]", JSON, "")
    assert given(np.ones(1), NPY)[0][:6] == np.lib.format.MAGIC_PREFIX


def test_msgpack_out_carries_arrays_with_their_type() -> None:
    body, media, _ = given({"a": np.array([1.0, math.nan], np.float32), "n": np.int64(3), "u": User(age=1)}, MSGPACK)
    assert media == MSGPACK

    def method(self, a: np.ndarray, n: int, u: User):
        raise NotImplementedError

    back = codec(method).decode(MSGPACK, body)
    assert back["a"].dtype == np.float32
    assert math.isnan(back["a"][1])
    assert (back["n"], back["u"]) == (3, User(age=1))


def test_arrays_in_msgpack_arrive_as_arrays_of_their_own_wherever_they_stand() -> None:
    def anything(self, x):
        raise NotImplementedError

    def inside(self, x: dict[str, Frame | None]):
        raise NotImplementedError

    image = np.array([[1.0, math.nan], [0.0, 2.0]], np.float32)
    body = given({"x": {"a": Frame(image), "b": None}}, MSGPACK)[0]
    for found in (
        codec(anything).decode(MSGPACK, body)["x"]["a"]["image"],
        codec(inside).decode(MSGPACK, body)["x"]["a"].image,
    ):
        assert found.dtype == np.float32
        assert np.array_equal(found, image, equal_nan=True)
        assert found.flags.writeable
        assert not np.shares_memory(found, np.frombuffer(body, np.uint8))
    for data in (b"", b"abc", msgspec.msgpack.encode(("<f4", (2**40,), b""))):
        bad = msgspec.msgpack.encode({"x": msgspec.msgpack.Ext(1, data)})
        assert refused(codec(anything).decode, MSGPACK, bad)


class Loop:
    pass


@pytest.mark.parametrize("value", [1j, object(), {(1, 2): 3}, "\ud800", (x for x in [1]), Loop(), np.array([object()])])
def test_what_cannot_be_written_is_the_methods_mistake(value: Any) -> None:
    with pytest.raises(Error) as caught:
        given(value)
    assert caught.value.code == "BAD_OUTPUT"
    assert "'method'" in caught.value.message


def test_a_result_that_contains_itself_is_the_methods_mistake() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(Error, match="contains itself"):
        given(loop)


def test_items_of_a_stream() -> None:
    def method(self):
        raise NotImplementedError

    item = codec(method).encode_item
    assert item("a", SSE) == b"data: a\n\n"
    assert item("a\nb\r\nc", SSE) == b"data: a\ndata: b\ndata: c\n\n"
    assert item({"t": np.float32(0.5)}, SSE) == b'data: {"t":0.5}\n\n'
    assert item("a\nb", NDJSON) == b'"a\\nb"\n'
    assert item("a", TEXT) == b"a"
    assert item(b"\x00", BYTES) == b"\x00"
    assert item({"a": 1}, TEXT) == b'{"a":1}'
    assert msgspec.msgpack.decode(item({"a": 1}, MSGPACK)) == {"a": 1}
    with pytest.raises(Error, match="cannot be sent"):
        item(object(), SSE)


def test_media_numbers_are_those_of_the_protocol() -> None:
    assert (Media.JSON, Media.NPY, Media.MSGPACK, Media.TEXT, Media.BYTES) == (JSON, NPY, MSGPACK, TEXT, BYTES)
    assert json.loads(given({"a": None})[0]) == {"a": None}
