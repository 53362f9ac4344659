"""Every kind of value that comes in, and what a client hears of a wrong one."""

import datetime as dt
import decimal
import uuid
from collections import OrderedDict, deque
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import pytest
from pydantic import Field

from tests.unit.codecs.kinds import Cat, Colour, Dog, Frame, Mixed, Options, Pair, Point, Shot, Tree, User
from tests.unit.codecs.method import checker, codec, refused
from tiffin.service.markers import DType, Shape

JSON, NPY, MSGPACK, TEXT, BYTES, SSE, NDJSON = range(7)


def taken(annotation: Any, text: str) -> Any:
    """Return what a method with one parameter `x` of that annotation gets for that JSON."""

    def method(self, x):
        raise NotImplementedError

    method.__annotations__["x"] = annotation
    body = b'{"x": %b}' % text.encode()
    assert checker(method).check(JSON, body) == 1
    (value,) = codec(method).decode(JSON, body).values()
    return value


def reasons(annotation: Any, text: str) -> list[tuple[str, str]]:
    def method(self, x):
        raise NotImplementedError

    method.__annotations__["x"] = annotation
    return refused(codec(method).decode, JSON, b'{"x": %b}' % text.encode())


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (int, "3", 3),
        (int, "9" * 400, int("9" * 400)),
        (float, "3", 3.0),
        (bool, "true", True),
        (str, '"hé"', "hé"),
        (bytes, '"aGk="', b"hi"),
        (None, "null", None),
        (Any, '{"a": [1, null]}', {"a": [1, None]}),
        (int | None, "null", None),
        (int | str, '"a"', "a"),
        (Literal["a", 2], "2", 2),
        (Literal[True], "true", True),
        (Colour, '"red"', Colour.RED),
        (Mixed, '"two"', Mixed.TWO),
        (list[int], "[1, 2]", [1, 2]),
        (set[int], "[1, 1]", {1}),
        (tuple[int, str], '[1, "a"]', (1, "a")),
        (tuple[int, ...], "[1, 2]", (1, 2)),
        (dict[str, list[float]], '{"a": [1]}', {"a": [1.0]}),
        (dict[int, str], '{"3": "x"}', {3: "x"}),
        (deque[int], "[1, 2]", deque([1, 2])),
        (OrderedDict[str, int], '{"a": 1}', OrderedDict(a=1)),
        (Point, '{"x": 1}', Point(1.0)),
        (Tree, '{"name": "a", "kids": [{"name": "b"}]}', Tree("a", [Tree("b")])),
        (Options, "{}", {}),
        (Pair, "[1]", Pair(1)),
        (Shot, '{"longName": 3}', Shot(3)),
        (Cat | Dog, '{"type": "dog", "tricks": ["sit"]}', Dog(["sit"])),
        (list[int] | tuple[str, int], '["a", 1]', ("a", 1)),
        (dt.datetime, '"2024-05-06T07:08:09Z"', dt.datetime(2024, 5, 6, 7, 8, 9, tzinfo=dt.UTC)),
        (dt.date, '"2024-05-06"', dt.date(2024, 5, 6)),
        (dt.timedelta, '"PT5S"', dt.timedelta(seconds=5)),
        (decimal.Decimal, '"1.10"', decimal.Decimal("1.10")),
        (decimal.Decimal, "1.5", decimal.Decimal("1.5")),
        (uuid.UUID, f'"{uuid.UUID(int=7)}"', uuid.UUID(int=7)),
        (Annotated[int, msgspec.Meta(ge=3)], "3", 3),
        (Annotated[int, Field(ge=3)], '"4"', 4),  # pydantic's own lax rules
        (User, '{"age": "7"}', User(age=7)),
        (list[User], '[{"age": 7}]', [User(age=7)]),
        (dict[str, User | int], '{"a": 3, "b": {"age": 1}}', {"a": 3, "b": User(age=1)}),
    ],
)
def test_value_in(annotation: Any, text: str, value: Any) -> None:
    got = taken(annotation, text)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("annotation", "text", "wrong"),
    [
        (int, '"3"', [("x", "expected int, got str")]),
        (int, "1.5", [("x", "expected int, got float")]),
        (list[float], '[1, 2, 3, "a"]', [("x[3]", "expected float, got str")]),
        (dict[str, list[int]], '{"a": [true]}', [("x[...][0]", "expected int, got bool")]),
        (Point, '{"y": 1}', [("x.x", "required, but missing")]),
        (Shot, '{"longName": 1, "more": 2}', [("x.more", "unknown field")]),
        (Tree, '{"name": "a", "kids": [{"name": 3}]}', [("x.kids[0].name", "expected str, got int")]),
        (Annotated[int, msgspec.Meta(ge=3)], "2", [("x", "expected int >= 3")]),
        (bytes, '"a b"', [("x", "invalid base64 encoded string")]),
        (User, '{"age": -1, "tags": [1]}', [
            ("x.age", "input should be greater than or equal to 0"),
            ("x.tags[0]", "input should be a valid string"),
        ]),
        (list[User], '[{"age": 1}, {}]', [("x[1].age", "field required")]),
        (Annotated[str, Field(max_length=2)], '"abc"', [("x", "string should have at most 2 characters")]),
        (float, "1e400", [("x", "number out of range")]),
        (np.ndarray, "[[1, 2], [3]]", [("x[1]", "expected 2 items as in the lists before it, got 1")]),
        (np.ndarray, '[1, "a"]', [("x[1]", "expected a number, got str")]),
        (np.ndarray, "[null]", [("x[0]", "expected a number, got null")]),
        (Annotated[np.ndarray, Shape(None, None)], "[[1, 2], [3]]", [
            ("x[1]", "expected 2 items as in the lists before it, got 1"),
        ]),
        (Annotated[np.ndarray, Shape(None, 2)], "[[1, 2], [3, 4], [5]]", [("x[2]", "expected array of length >= 2")]),
        (Annotated[np.ndarray, DType("uint8")], "[1, 256]", [("x[1]", "expected uint8, got 256")]),
        (Annotated[np.ndarray, DType("uint8"), Shape(None)], "[1, 256]", [("x[1]", "expected int <= 255")]),
        (Annotated[np.ndarray, DType("int64"), Shape(None)], "[1, 2.5]", [("x[1]", "expected int64, got 2.5")]),
        (Annotated[np.ndarray, DType("int64")], "[1, 2.5]", [("x[1]", "expected int64, got 2.5")]),
        (Annotated[np.ndarray, DType("float32"), Shape(None)], "[1, 1e39]", [
            ("x[1]", "expected float32, got 1e+39, out of range"),
        ]),
        (Annotated[np.ndarray, DType("bool"), Shape(None)], "[1]", [("x[0]", "expected bool, got int")]),
        (np.ndarray, f"[1, {2**70}]", [("x[1]", "expected a number, got an integer of more than 64 bits")]),
        (np.ndarray, "[" * 70 + "1" + "]" * 70, [("x", "nested deeper than an array can be")]),
        (Frame, '{"image": [[1]]}', [("x.image", "expected shape [2, *], got [1, 1]")]),
        (list[np.ndarray], "[[1], [[1], [2, 3]]]", [
            ("x[1]", "expected 1 items as in the lists before it, got 2 (in [1])"),
        ]),
    ],
)  # fmt: skip
def test_wrong_value_in(annotation: Any, text: str, wrong: list[tuple[str, str]]) -> None:
    assert reasons(annotation, text) == wrong


@pytest.mark.parametrize(
    ("marks", "text", "dtype", "value"),
    [
        ([], "[1, 2]", "int64", [1, 2]),
        ([], "[[1, 2.5]]", "float64", [[1.0, 2.5]]),
        ([], "3", "int64", 3),
        ([DType("float32")], "[1, 2]", "float32", [1.0, 2.0]),
        ([DType("float32"), Shape(None)], "[1, 2]", "float32", [1.0, 2.0]),
        ([DType("uint8"), Shape(None)], "[1, 2.0, 255]", "uint8", [1, 2, 255]),
        ([DType("int64"), Shape(None)], f"[{2**63 - 1}]", "int64", [2**63 - 1]),
        ([DType("uint64"), Shape(None)], f"[{2**64 - 1}, 1]", "uint64", [2**64 - 1, 1]),
        ([DType("bool"), Shape(None)], "[true, false]", "bool", [True, False]),
        ([DType("str"), Shape(None)], '["a", "bc"]', "<U2", ["a", "bc"]),
        ([Shape(None, 3)], "[]", "float64", []),
        ([Shape(2, "columns")], "[[1], [2]]", "int64", [[1], [2]]),
    ],
)
def test_array_in(marks: list[Any], text: str, dtype: str, value: Any) -> None:
    annotation = Annotated[(np.ndarray, *marks)] if marks else np.ndarray
    got = taken(annotation, text)
    assert got.dtype == np.dtype(dtype)
    assert got.tolist() == value
    assert got.flags.writeable
    assert got.flags.owndata or got.base.flags.owndata


def test_empty_array_has_all_its_dimensions() -> None:
    assert taken(Annotated[np.ndarray, Shape(None, 3)], "[]").shape == (0, 3)


def test_arrays_inside_other_values_have_their_declared_type() -> None:
    frame = taken(Frame, '{"image": [[1, 2], [3, 4]], "label": "l"}')
    assert frame.label == "l"
    assert frame.image.dtype == np.float32
    assert frame.image.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    many = taken(dict[str, list[Annotated[np.ndarray, DType("int8")]]], '{"a": [[1], [[2]]]}')
    assert [part.dtype for part in many["a"]] == [np.int8, np.int8]
    assert taken(np.ndarray | None, "null") is None


def test_several_parameters_with_defaults() -> None:
    def method(self, a: int, b: str = "dflt", *, c: User | None = None):
        raise NotImplementedError

    both = codec(method)
    assert both.decode(JSON, b'{"a": 1}') == {"a": 1}
    assert both.decode(JSON, b'{"c": {"age": 2}, "a": 1}') == {"a": 1, "c": User(age=2)}
    assert both.decode(MSGPACK, msgspec.msgpack.encode({"a": 1, "c": {"age": "2"}})) == {"a": 1, "c": User(age=2)}
    assert refused(both.decode, JSON, b'{"a": 1, "d": 2}') == [("d", "unknown field")]
    assert refused(both.decode, JSON, b"{}") == [("a", "required, but missing")]
    assert refused(both.decode, JSON, b"") == [("", "incomplete: the data ends too early")]


def test_empty_body_where_nothing_is_required() -> None:
    def method(self, a: int = 3):
        raise NotImplementedError

    assert checker(method).check(JSON, b"") == 1
    assert codec(method).decode(JSON, b"") == {}


def test_whole_bodies() -> None:
    def text(self, x: Annotated[str, msgspec.Meta(max_length=3)], /):
        raise NotImplementedError

    def raw(self, x: bytes, /):
        raise NotImplementedError

    def model(self, x: User, /):
        raise NotImplementedError

    def array(self, x: Annotated[np.ndarray, Shape(2)], /):
        raise NotImplementedError

    assert codec(text).decode(TEXT, memoryview("hé".encode())) == {"x": "hé"}
    assert codec(text).decode(JSON, b'"hey"') == {"x": "hey"}
    assert refused(codec(text).decode, TEXT, b"hello") == [("", "expected str of length <= 3")]
    assert refused(codec(text).decode, TEXT, b"\xff") == [("", "not UTF-8 at byte 0")]
    assert codec(raw).decode(BYTES, memoryview(b"\x00\xff")) == {"x": b"\x00\xff"}
    assert codec(raw).decode(JSON, b'"aGk="') == {"x": b"hi"}
    assert codec(model).decode(JSON, memoryview(b'{"age": 3}')) == {"x": User(age=3)}
    assert refused(codec(model).decode, JSON, b'{"age": -3}') == [("age", "input should be greater than or equal to 0")]
    assert codec(array).decode(JSON, b"[1, 2]")["x"].tolist() == [1, 2]
    assert refused(codec(array).decode, JSON, b"[1]") == [("", "expected array of length >= 2")]


@pytest.mark.parametrize("depth", [1_000, 100_000])
@pytest.mark.parametrize("annotation", [Any, int, list[Any], User, np.ndarray, Tree])
def test_deep_nesting_is_a_clients_mistake(annotation: Any, depth: int) -> None:
    for opening in ("[", '{"kids":'):
        assert len(reasons(annotation, opening * depth)) == 1

    def method(self, x):
        raise NotImplementedError

    method.__annotations__["x"] = annotation
    refused(checker(method).check, JSON, b'{"x": ' + b"[" * depth)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"nul",
        b'{"x": NaN}',
        b'{"x": 1e400}',
        b'{"x": "\\ud800"}',
        b'{"x": "\xff"}',
        b'{"x": 1} 2',
        b"\x00",
    ],
)
def test_what_is_not_json_is_a_clients_mistake(body: bytes) -> None:
    def method(self, x):
        raise NotImplementedError

    refused(codec(method).decode, JSON, body)


def test_a_broken_validator_is_no_clients_mistake() -> None:
    with pytest.raises(KeyError):
        taken(User, '{"age": 1, "tags": ["boom"]}')
