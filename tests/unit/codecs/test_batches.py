"""Calls joined and split: each gets its own rows, a bad one fails alone, arrays are copied once."""

import json
from io import BytesIO
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
from pydantic import BaseModel, field_validator

from tests.unit.codecs.method import checker, codec
from tiffin.codecs.values import copies
from tiffin.errors import Error, Failed
from tiffin.service.markers import DType, Shape

JSON, NPY, MSGPACK = range(3)


class User(BaseModel):
    age: int

    @field_validator("age")
    @classmethod
    def broken(cls, age: int) -> int:
        if age == 13:
            raise KeyError("boom")
        return age


class Svc:
    def arrays(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def typed(self, x: Annotated[np.ndarray, Shape(None, 2), DType("float32")]) -> np.ndarray:
        raise NotImplementedError

    def ints(self, x: Annotated[np.ndarray, Shape(None, 2), DType("uint8")]) -> np.ndarray:
        raise NotImplementedError

    def columns(self, x: Annotated[np.ndarray, Shape(2, None)]) -> np.ndarray:
        raise NotImplementedError

    def texts(self, x: list[str]) -> list[str]:
        raise NotImplementedError

    def anything(self, x):
        raise NotImplementedError

    def models(self, x: list[User]) -> list[User]:
        raise NotImplementedError

    def both(self, x: np.ndarray, names: list[str]) -> dict[str, Any]:
        raise NotImplementedError

    def pairs(self, x: list[int]) -> tuple[list[int], list[int]]:
        raise NotImplementedError

    def whole(self, x: Annotated[np.ndarray, Shape(None, 2)], /) -> np.ndarray:
        raise NotImplementedError


def body(**fields: Any) -> tuple[int, bytes]:
    return JSON, json.dumps(fields).encode()


def npy(array: Any) -> tuple[int, memoryview]:
    out = BytesIO()
    np.save(out, array)
    return NPY, memoryview(out.getvalue())


def join(function: Any, *members: tuple[int, Any], **options: Any) -> Any:
    """Decode a batch, after the front's check of every member has seen the same rows."""
    batch = codec(function, batchable=True, **options).decode_batch(members)
    check = checker(function, batchable=True, **options)
    counts = iter(batch.counts)
    for index, (media, data) in enumerate(members):
        if index not in batch.errors and index not in batch.rest:
            assert check.check(media, data) == next(counts)
    assert len(batch.counts) + len(batch.errors) + len(batch.rest) == len(members)
    return batch


def wrong(error: Error) -> tuple[str, str]:
    assert isinstance(error.details, list)
    return error.details[0]["path"], error.details[0]["reason"]


@pytest.mark.parametrize("function", [Svc.arrays, Svc.typed])
def test_arrays_are_joined_in_order(function: Any) -> None:
    batch = join(function, body(x=[[1, 2], [3, 4]]), body(x=[[5, 6]]))
    assert batch.counts == [2, 1]
    assert batch.arguments["x"].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert batch.arguments["x"].dtype == (np.float32 if function is Svc.typed else np.int64)


def test_integers_may_be_written_as_floats() -> None:
    assert join(Svc.ints, body(x=[[1, 2]]), body(x=[[3.0, 4]])).arguments["x"].tolist() == [[1, 2], [3, 4]]
    batch = join(Svc.ints, body(x=[[1, 2]]), (JSON, b'{"x": [[3.5, 4]]}'))
    assert wrong(batch.errors[1]) == ("x[0][0]", "expected uint8, got 3.5")
    assert batch.arguments["x"].dtype == np.uint8


def test_a_bad_member_fails_alone() -> None:
    batch = join(Svc.typed, body(x=[[1, 2]]), body(x=[[1]]), (JSON, b"{"), body(x=[]), body(y=1), body(x=[[3, 4]]))
    assert batch.arguments["x"].tolist() == [[1, 2], [3, 4]]
    assert batch.counts == [1, 1]
    assert {index: wrong(error)[0] for index, error in batch.errors.items()} == {1: "x[0]", 2: "", 3: "x", 4: "y"}
    assert wrong(batch.errors[3]) == ("x", "expected one row at least, got none")


def test_all_members_bad() -> None:
    batch = join(Svc.arrays, body(x="a"), body(x=[["a"]]))
    assert (batch.arguments, batch.counts, list(batch.errors)) == ({}, [], [0, 1])


def test_a_broken_validator_fails_its_own_call_only() -> None:
    batch = join(
        Svc.models, body(x=[{"age": 1}]), body(x=[{"age": 13}]), body(x=[{"age": "x"}]), body(x=[{"age": "3"}])
    )
    assert batch.arguments["x"] == [User(age=1), User(age=3)]
    assert batch.errors[1].code == "METHOD_FAILED"
    assert wrong(batch.errors[2])[0] == "x[0].age"


def test_rows_of_another_shape_wait_for_their_own_run() -> None:
    batch = join(Svc.arrays, body(x=[[1, 2]]), body(x=[[1, 2, 3]]), body(x=[[3, 4]]), npy(np.ones((1, 2), np.float32)))
    assert batch.arguments["x"].tolist() == [[1, 2], [3, 4]]
    assert batch.rest == [1, 3]


def test_npy_members_are_copied_once_into_the_batch() -> None:
    members = [npy(np.full((2, 2), number, np.float32)) for number in range(3)]
    before = copies.made
    batch = join(Svc.typed, *members)
    assert copies.made == before + 1
    array = batch.arguments["x"]
    assert array[:, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert array.flags.writeable
    assert not any(np.shares_memory(array, np.frombuffer(data, np.uint8)) for _, data in members)
    one = join(Svc.typed, members[0])
    assert copies.made == before + 2
    assert one.arguments["x"].flags.owndata
    assert one.arguments["x"].flags.writeable


def test_npy_and_json_are_joined() -> None:
    batch = join(
        Svc.typed, npy(np.ones((1, 2), ">f4")), body(x=[[2, 3]]), npy(np.asfortranarray(np.ones((2, 2), np.float32)))
    )
    assert batch.arguments["x"].tolist() == [[1, 1], [2, 3], [1, 1], [1, 1]]
    assert batch.arguments["x"].dtype.isnative


def test_npy_of_another_type_or_shape_is_refused() -> None:
    batch = join(Svc.typed, npy(np.ones((1, 2))), npy(np.ones((2, 1), np.float32)), npy(np.float32(1)))
    assert [wrong(batch.errors[index])[1] for index in range(3)] == [
        "expected float32, got float64: convert it before sending",
        "expected shape [*, 2], got [2, 1]",
        "expected shape [*, 2], got []",
    ]


def test_booleans_from_npy_are_made_safe() -> None:
    media, data = npy(np.array([True, False]))
    odd = bytes(data[:-2]) + b"\x07\x00"
    array = join(Svc.arrays, (media, odd)).arguments["x"]
    assert array.view(np.uint8).tolist() == [1, 0]


def test_msgpack_members() -> None:
    def packed(array: Any) -> tuple[int, bytes]:
        return MSGPACK, codec(Svc.arrays, batchable=True).encode({"x": array}, MSGPACK)[0]

    before = copies.made
    batch = join(Svc.typed, packed(np.ones((1, 2), np.float32)), packed(np.zeros((2, 2), np.float32)))
    assert copies.made == before + 1
    assert batch.arguments["x"].tolist() == [[1, 1], [0, 0], [0, 0]]
    assert batch.arguments["x"].flags.writeable
    batch = join(Svc.typed, packed([[1, 2]]), packed(np.ones((1, 2))), (MSGPACK, b"\x81\xa1x\xc7\x03\x01abc"))
    assert batch.arguments["x"].tolist() == [[1, 2]]
    assert list(batch.errors) == [1, 2]


def test_lists_models_and_anything() -> None:
    assert join(Svc.texts, body(x=["a", "b"]), body(x=["c"])).arguments["x"] == ["a", "b", "c"]
    assert join(Svc.anything, body(x=[1]), body(x=["c", None])).arguments["x"] == [1, "c", None]
    assert join(Svc.models, body(x=[{"age": "1"}]), body(x=[{"age": 2}])).arguments["x"] == [User(age=1), User(age=2)]


def test_several_arguments_bring_the_same_rows() -> None:
    batch = join(
        Svc.both, body(x=[[1], [2]], names=["a", "b"]), body(x=[[3]], names=["c", "d"]), body(x=[[3]], names=["c"])
    )
    assert batch.arguments["x"].tolist() == [[1], [2], [3]]
    assert batch.arguments["names"] == ["a", "b", "c"]
    assert batch.counts == [2, 1]
    assert wrong(batch.errors[1]) == ("names", "expected 1 rows as in x, got 2")


def test_rows_along_another_dimension() -> None:
    batch = join(Svc.columns, body(x=[[1, 2], [3, 4]]), body(x=[[5], [6]]), body(x=[[], []]), batch_dim=1)
    assert batch.arguments["x"].tolist() == [[1, 2, 5], [3, 4, 6]]
    assert batch.counts == [2, 1]
    assert wrong(batch.errors[2])[0] == "x"
    one = codec(Svc.columns, batchable=True, batch_dim=1)
    out = one.encode_batch(batch.arguments["x"], [2, 1], [JSON, JSON])
    assert [json.loads(part[0]) for part in out if isinstance(part, tuple)] == [[[1, 2], [3, 4]], [[5], [6]]]


def test_single_rows_unwrapped() -> None:
    batch = join(Svc.typed, body(x=[1, 2]), body(x=[3, 4]), one_row=True)
    assert batch.arguments["x"].tolist() == [[1, 2], [3, 4]]
    assert batch.counts == [1, 1]
    batch = join(Svc.typed, body(x=[1, 2]), npy(np.ones(2, np.float32)), body(x=[1]), one_row=True)
    assert batch.arguments["x"].tolist() == [[1, 2], [1, 1]]
    assert list(batch.errors) == [2]
    assert join(Svc.texts, body(x="a"), body(x="b"), one_row=True).arguments["x"] == ["a", "b"]
    assert join(Svc.models, body(x={"age": "1"}), one_row=True).arguments["x"] == [User(age=1)]
    assert join(Svc.columns, body(x=[1, 2]), body(x=[3, 4]), one_row=True, batch_dim=1).arguments["x"].tolist() == [
        [1, 3],
        [2, 4],
    ]
    single = codec(Svc.typed, batchable=True, one_row=True)
    assert single.encode_batch(np.ones((2, 2)), [1, 1], [0, 0]) == [(b"[1.0,1.0]", JSON, "")] * 2
    assert single.split(["a", "b"], [1, 1]) == ["a", "b"]


def test_whole_body_of_rows() -> None:
    batch = join(Svc.whole, (JSON, b"[[1, 2]]"), npy(np.ones((1, 2), np.int64)), (JSON, b"[[1]]"))
    assert batch.arguments["x"].tolist() == [[1, 2], [1, 1]]
    assert wrong(batch.errors[2])[0] == "[0]"


def test_joined_arguments_are_not_tied_to_bodies_that_change() -> None:
    data = bytearray(npy(np.ones((1, 2), np.float32))[1])
    batch = codec(Svc.typed, batchable=True).decode_batch([(NPY, memoryview(data))])
    data[-8:] = b"\x00" * 8
    assert batch.arguments["x"].tolist() == [[1, 1]]


# -- results -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "parts"),
    [
        (np.array([[1], [2], [3]]), [[[1], [2]], [[3]]]),
        (np.array([1.0, np.nan, 3.0]), [[1.0, None], [3.0]]),
        (["a", "b", "c"], [["a", "b"], ["c"]]),
        ([np.array([1]), np.array([2]), np.array([3])], [[[1], [2]], [[3]]]),
        ({"k": np.arange(3), "l": ["a", "b", "c"]}, [{"k": [0, 1], "l": ["a", "b"]}, {"k": [2], "l": ["c"]}]),
        ((np.arange(3), ["a", "b", "c"]), [[[0, 1], ["a", "b"]], [[2], ["c"]]]),
        (("a", "b", "c"), [["a", "b"], ["c"]]),
        ([User(age=1), User(age=2), User(age=3)], [[{"age": 1}, {"age": 2}], [{"age": 3}]]),
    ],
)
def test_results_are_split(result: Any, parts: list[Any]) -> None:
    out = codec(Svc.anything, batchable=True).encode_batch(result, [2, 1], [JSON, -1])
    assert [json.loads(part[0]) for part in out if isinstance(part, tuple)] == parts


def test_a_tuple_is_columns_where_the_annotation_says_so() -> None:
    assert codec(Svc.pairs, batchable=True).split(([1, 2], [3, 4]), [1, 1]) == [([1], [3]), ([2], [4])]


@pytest.mark.parametrize("result", [np.ones(2), ["a"], None, 3, {"a": [1, 2]}, np.float64(1), "abc"])
def test_another_number_of_rows_is_the_methods_mistake(result: Any) -> None:
    with pytest.raises(Error) as caught:
        codec(Svc.anything, batchable=True).encode_batch(result, [2, 1], [JSON, JSON])
    assert caught.value.code == "BAD_OUTPUT"


def test_each_caller_gets_the_type_it_asked_for() -> None:
    result = np.arange(3, dtype=np.float32)
    first, second, third = codec(Svc.arrays, batchable=True).encode_batch(result, [1, 1, 1], [NPY, JSON, MSGPACK])
    assert isinstance(first, tuple)
    assert isinstance(third, tuple)
    assert np.load(BytesIO(first[0])).tolist() == [0.0]
    assert second == (b"[1.0]", JSON, "")
    assert isinstance(msgspec.msgpack.decode(third[0]), msgspec.msgpack.Ext)


def test_failed_rows() -> None:
    bad = Failed("app.unknown", "who?", status=404)
    out = codec(Svc.texts, batchable=True).encode_batch(["a", bad, "c", object()], [1, 2, 1], [0, 0, 0])
    assert out[0] == (b'["a"]', JSON, "")
    assert out[1] is bad.error
    assert isinstance(out[2], Error)
    assert out[2].code == "BAD_OUTPUT"
    single = codec(Svc.texts, batchable=True, one_row=True).encode_batch(["a", bad], [1, 1], [0, 0])
    assert single == [(b'"a"', JSON, ""), bad.error]
    columns = codec(Svc.both, batchable=True).encode_batch({"a": [1, bad]}, [1, 1], [0, 0])
    assert columns == [(b'{"a":[1]}', JSON, ""), bad.error]
