"""The front accepts all that the worker accepts, and counts the same rows: for random types and random bodies."""

import dataclasses
import datetime as dt
import decimal
import enum
import json
import uuid
from collections.abc import Callable
from io import BytesIO
from typing import Annotated, Any, Literal, NamedTuple, TypedDict, Union

import annotated_types
import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pydantic
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.unit.codecs.method import spec
from tiffin.codecs import check
from tiffin.codecs.check import Checker
from tiffin.codecs.values import MethodCodec
from tiffin.errors import Error, SpecError
from tiffin.messages.link import Media
from tiffin.service.columns import Columns
from tiffin.service.markers import DType, Shape


class Number(enum.IntEnum):
    ONE = 1
    TWO = 2


class Word(enum.Enum):
    A = "a"
    B = "b"


class Lenient(enum.Enum):
    A = "a"

    @classmethod
    def _missing_(cls, value: object) -> "Lenient":
        return cls.A


class Bits(enum.Flag):
    X = 1
    Y = 2


@dataclasses.dataclass
class Node:
    value: int
    next: "Node | None" = None


class Partial(TypedDict, total=False):
    a: int
    b: str


class Pair(NamedTuple):
    a: int
    b: float = 0.0


class Strict(msgspec.Struct, forbid_unknown_fields=True, rename="kebab"):
    a_b: int
    c: list[str] = []


class Row(msgspec.Struct, array_like=True):
    a: int
    b: str = ""


class Cat(msgspec.Struct, tag=True):
    a: int


class Dog(msgspec.Struct, tag=True):
    a: str


class Model(pydantic.BaseModel):
    a: int
    b: list[float] = []


LEAVES: list[Any] = [
    Any, None, bool, int, float, str, bytes, dt.datetime, dt.date, dt.timedelta, uuid.UUID,
    decimal.Decimal, Number, Word, Lenient, Bits, Node, Partial, Pair, Strict, Row, Cat, Cat | Dog, Model,
    Literal["a", 1] | None, Literal[True, "b"], np.ndarray,
    Annotated[int, msgspec.Meta(ge=0, lt=10)], Annotated[float, msgspec.Meta(gt=0, multiple_of=0.5)],
    Annotated[str, msgspec.Meta(min_length=1, pattern="^a")], Annotated[bytes, msgspec.Meta(max_length=3)],
    Annotated[list[int], msgspec.Meta(max_length=2)], Annotated[set[int], msgspec.Meta(max_length=2)],
    Annotated[int, annotated_types.Ge(0)], Annotated[str, pydantic.Field(max_length=2)], complex,
    Annotated[np.ndarray, Shape(None, 2), DType("float32")], Annotated[np.ndarray, DType("uint8")],
    Annotated[np.ndarray, Shape(None), DType("int16")], Annotated[np.ndarray, Shape(None, None)],
    Annotated[np.ndarray, Shape(None), DType("bool")], Annotated[np.ndarray, Shape(None), DType("str")],
    pd.DataFrame, pa.Table, pd.Series, Annotated[pd.DataFrame, Columns({"a": "int64"})], Annotated[pd.Series, Columns({"a": str})],
]  # fmt: skip

# The same objects, but built from values: a type checker would read the brackets as annotations.
LIST: Any = list
TUPLE: Any = tuple
DICT: Any = dict
UNION: Any = Union

ANNOTATIONS: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        inner.map(lambda kind: LIST[kind]),
        inner.map(lambda kind: DICT[str, kind]),
        inner.map(lambda kind: DICT[int, kind]),
        inner.map(lambda kind: UNION[kind, None]),
        inner.map(lambda kind: TUPLE[kind, ...]),
        st.tuples(inner, inner).map(lambda kinds: TUPLE[kinds]),
        st.tuples(inner, inner).map(lambda kinds: UNION[kinds]),
    ),
    max_leaves=4,
)

# Spellings that readers of JSON disagree about stand among ordinary values.
TOKENS = st.sampled_from([
    "null", "true", "false", "0", "1", "-1", "1.0", "2.5", "300", "1e400", str(2**63), str(2**64), "9" * 400, "-0.0", "1E2",
    '""', '"a"', '"ab"', '"b"', '"1"', '"1.5"', '"true"', '"YQ=="', '"2024-05-06T07:08:09Z"', '"2024-05-06"', '"PT1S"',
    f'"{uuid.UUID(int=5)}"', '"\\ud800"', '"\\u00e9"', '"Cat"', "NaN", "{}", "[]", '{"a": 1}', '{"a": "b"}', '{"a-b": 1}',
    '{"a-b": 1, "c": ["x"], "d": 2}', '{"value": 1, "next": {"value": 2}}', '{"value": 1, "next": {"value": "x"}}',
    '{"type": "Cat", "a": 1}', '{"type": "Dog", "a": "x"}', '{"a": 1, "b": [1, "2"]}', '{"a": "1"}', '{"1": 1}', '[1, "a"]',
    '[{"a": 1}, {"a": 2}]', '{"a": [1, 2]}', '{"a": ["x"], "b": [null]}', '[{"a": "x"}]',
    "[[1, 2], [3, 4]]", "[[1, 2], [3]]", "[1, 2.0]", "[true]", '["a"]', "[[[1]]]",
])  # fmt: skip

TEXTS = st.recursive(
    TOKENS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: f"[{','.join(parts)}]"),
        st.lists(st.tuples(st.sampled_from(["a", "b", "1", "value", "x"]), inner), max_size=3).map(
            lambda pairs: "{" + ",".join(f'"{key}":{value}' for key, value in pairs) + "}"
        ),
    ),
    max_leaves=6,
)


def function(annotation: Any) -> Callable[..., Any]:
    def method(self, x):
        raise NotImplementedError

    method.__annotations__["x"] = annotation
    return method


def worker_rows(codec: MethodCodec, media: int, body: bytes, *, batchable: bool) -> int | None:
    """Return the rows that the worker sees, None where it refuses."""
    try:
        if not batchable:
            codec.decode(media, body)
            return 1
        batch = codec.decode_batch([(media, body)])
        return batch.counts[0] if not batch.errors else None
    except Error:
        return None


def compare(annotation: Any, media: int, body: bytes, **options: Any) -> bool | None:
    """Check the property; return whether the worker accepts, None where there is no such service."""
    method = function(annotation)
    try:
        data = spec(method, **options)
    except SpecError:
        return None
    rows = worker_rows(MethodCodec(data, method), media, body, batchable=data.batchable)
    front, refusal = None, None
    try:
        front = Checker(data).check(media, body)
    except Error as error:
        refusal = error
    if refusal is not None:
        assert refusal.code == "INVALID_INPUT"
        assert rows is None, f"the front refuses what the worker takes: {refusal.details}"
    else:
        assert rows in (None, front)
    return rows is not None


@given(ANNOTATIONS, TEXTS)
def test_one_value(annotation: Any, text: str) -> None:
    assume(compare(annotation, Media.JSON, b'{"x":%b}' % text.encode()) is not None)


@given(ANNOTATIONS, st.lists(TEXTS, max_size=3), st.booleans())
def test_rows(annotation: Any, texts: list[str], one_row: bool) -> None:
    text = texts[0] if one_row and texts else f"[{','.join(texts)}]"
    assume(
        compare(list[annotation], Media.JSON, b'{"x":%b}' % text.encode(), batchable=True, one_row=one_row) is not None
    )


@given(
    st.sampled_from([None, "float32", "uint8", "int64", "bool", "str"]),
    st.sampled_from([None, (None,), (None, None), (None, 2), (2, None)]),
    TEXTS,
    st.booleans(),
)
def test_rows_of_arrays(dtype: str | None, shape: Any, text: str, one_row: bool) -> None:
    marks = ([DType(dtype)] if dtype else []) + ([Shape(shape)] if shape else [])
    annotation: Any = Annotated[(np.ndarray, *marks)] if marks else np.ndarray
    for dim in (0, 1):
        compare(annotation, Media.JSON, b'{"x":%b}' % text.encode(), batchable=True, one_row=one_row, batch_dim=dim)


@given(
    st.sampled_from(["<f4", ">f8", "|u1", "<i2", "|b1", "<c8", "<U3", "<M8[s]", "|O"]),
    st.lists(st.integers(0, 3), max_size=3),
    st.booleans(),
    st.integers(0, 400),
    st.sampled_from([np.ndarray, Annotated[np.ndarray, Shape(None, 2)], Annotated[np.ndarray, DType("float32")]]),
    st.booleans(),
    st.booleans(),
)
def test_npy(
    code: str, shape: list[int], fortran: bool, cut: int, annotation: Any, batchable: bool, one_row: bool
) -> None:
    out = BytesIO()
    np.save(out, np.zeros(shape, code, order="F" if fortran else "C"), allow_pickle=True)
    body = out.getvalue()
    for data in (body, body[: len(body) - cut % len(body)], body + b"\x00" * cut):
        compare(annotation, Media.NPY, data, batchable=batchable, one_row=one_row and batchable)


EXT = msgspec.msgpack.Ext
PACKED = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(),
        st.text(max_size=3),
        st.binary(max_size=3),
        st.sampled_from([np.ones((1, 2), np.float32), np.ones(2), EXT(2, b"x"), EXT(1, b"x"), EXT(-1, b"abcd")]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b", "value"]), inner, max_size=2)
    ),
    max_leaves=5,
)


@given(ANNOTATIONS, PACKED, st.booleans())
def test_msgpack(annotation: Any, value: Any, batchable: bool) -> None:
    body = MethodCodec(spec(function(Any)), function(Any)).encode({"x": value}, Media.MSGPACK)[0]
    compare(annotation, Media.MSGPACK, body)
    if batchable:
        compare(list[annotation], Media.MSGPACK, body, batchable=True)
        compare(np.ndarray, Media.MSGPACK, body, batchable=True)


@given(st.binary(max_size=60), st.sampled_from([0, 1, 2]), st.sampled_from([np.ndarray, list[int], list[Model]]))
def test_noise(body: bytes, media: int, annotation: Any) -> None:
    if media == Media.NPY and annotation is not np.ndarray:
        return
    compare(annotation, media, body, batchable=True)


@pytest.mark.parametrize(
    "annotation", [list[int], list[Any], np.ndarray, list[Model], Annotated[np.ndarray, Shape(None, 2)]]
)
@pytest.mark.parametrize("row", ["[1,2]", "1", '{"a":1}', '"x"', "null", "[1,2,3]"])
def test_large_bodies_are_only_skimmed(annotation: Any, row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "LARGE_BYTES", 8)
    body = b'{"x":[%b,%b]}' % (row.encode(), row.encode())
    compare(annotation, Media.JSON, body, batchable=True)
    assert Checker(spec(function(annotation), batchable=True)).check(Media.JSON, body) == 2
    assert Checker(spec(function(annotation))).check(Media.JSON, body) == 1


def test_the_worker_takes_something_of_every_kind() -> None:
    """So that the property above is not true for want of accepted bodies."""
    texts = ["1", "null", "true", '"a"', '"b"', '"YQ=="', '"2024-05-06T07:08:09Z"', '"2024-05-06"', '"PT1S"', "[1, 2]", "[[1, 2]]",
             '{"a": 1}', '{"a-b": 1}', '{"value": 1}', '[1, "a"]', '["a"]', "[true]", '{"type": "Cat", "a": 1}',
             f'"{uuid.UUID(int=5)}"', '"1+2j"', '[{"a": 1}]', '{"a": [1, 2]}']  # fmt: skip
    for annotation in LEAVES:
        assert any(compare(annotation, Media.JSON, b'{"x":%b}' % text.encode()) for text in texts), annotation
    assert json.loads("[1]") == [1]
