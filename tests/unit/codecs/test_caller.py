"""`depends()`: what one service sends, another gets, and the answer comes back as its annotated type."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from tests.unit.codecs.method import checker, codec, spec
from tiffin.codecs.caller import CallerCodec
from tiffin.errors import Error

MSGPACK = 2


class User(BaseModel):
    age: int


@dataclasses.dataclass
class Point:
    x: float


@dataclasses.dataclass
class Frame:
    image: np.ndarray
    user: str = ""


class Svc:
    def points(self, a: Point, b: int = 2, *, c: User | None = None) -> Point:
        raise NotImplementedError

    def rows(self, x: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
        raise NotImplementedError

    def whole(self, x: bytes, /) -> bytes:
        raise NotImplementedError

    def users(self, x: list[User]) -> list[User]:
        raise NotImplementedError

    def frames(self, x: Frame) -> Frame:
        raise NotImplementedError

    def anything(self, x):
        raise NotImplementedError

    def stream(self, n: int) -> Iterator[Point]:
        raise NotImplementedError


def there_and_back(function: Any, *args: Any, value: Any, **kwargs: Any) -> tuple[dict[str, Any], Any]:
    """Return what the callee gets, and what the caller gets of `value`."""
    caller = CallerCodec(spec(function), function)
    body, rows = caller.encode(args, kwargs)
    assert checker(function).check(MSGPACK, body) == rows == 1
    callee = codec(function)
    answer, media, _ = callee.encode(value, MSGPACK)
    return callee.decode(MSGPACK, body), caller.decode(media, answer)


def test_values_keep_their_types() -> None:
    assert there_and_back(Svc.points, Point(1.5), c=User(age=3), value=Point(2.0)) == (
        {"a": Point(1.5), "c": User(age=3)},
        Point(2.0),
    )
    assert there_and_back(Svc.whole, b"\x00\xff", value=b"\xff") == ({"x": b"\x00\xff"}, b"\xff")
    assert there_and_back(Svc.users, [User(age=1)], value=[User(age=2)]) == ({"x": [User(age=1)]}, [User(age=2)])
    assert there_and_back(Svc.anything, {"a": None}, value="text") == ({"x": {"a": None}}, "text")


def test_arrays_keep_type_shape_and_nan() -> None:
    image = np.array([[1.0, np.nan]], np.float16)
    given, got = there_and_back(Svc.frames, Frame(image, "u"), value=Frame(image))
    for frame in (given["x"], got):
        assert frame.image.dtype == np.float16
        assert frame.image.shape == (1, 2)
        assert np.isnan(frame.image[0, 1])
        assert frame.image.flags.writeable
    given, got = there_and_back(Svc.anything, image, value=image)
    assert given["x"].dtype == got.dtype == np.float16


def test_rows_are_counted() -> None:
    method = spec(Svc.rows, batchable=True)
    caller = CallerCodec(method, Svc.rows)
    body, rows = caller.encode((np.ones((3, 2), np.float32), ["a", "b", "c"]), {})
    assert rows == 3
    batch = codec(Svc.rows, batchable=True).decode_batch([(MSGPACK, body)])
    assert batch.counts == [3]
    assert batch.arguments["x"].dtype == np.float32
    with pytest.raises(Error, match="names brings 1 rows and x 3"):
        caller.encode((np.ones((3, 2)), ["a"]), {})


def test_wrong_calls_are_errors_of_the_caller() -> None:
    caller = CallerCodec(spec(Svc.points), Svc.points)
    with pytest.raises(TypeError):
        caller.encode((), {})
    with pytest.raises(TypeError):
        caller.encode((Point(1.0),), {"d": 1})
    with pytest.raises(Error, match="cannot be sent"):
        caller.encode((object(),), {})


def test_an_answer_of_another_type_is_named() -> None:
    caller = CallerCodec(spec(Svc.points), Svc.points)
    answer = codec(Svc.anything).encode({"x": "a"}, MSGPACK)[0]
    with pytest.raises(Error) as caught:
        caller.decode(MSGPACK, answer)
    assert caught.value.code == "BAD_OUTPUT"
    assert "x: expected float, got str" in caught.value.message
    users = CallerCodec(spec(Svc.users), Svc.users)
    with pytest.raises(Error, match="annotated type"):
        users.decode(MSGPACK, codec(Svc.anything).encode([{"age": "x"}], MSGPACK)[0])


def test_items_of_a_stream() -> None:
    caller = CallerCodec(spec(Svc.stream), Svc.stream)
    assert caller.decode(MSGPACK, codec(Svc.stream).encode_item(Point(1.0), MSGPACK)) == Point(1.0)
