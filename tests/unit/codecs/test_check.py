"""The front's check: rows counted, wrong bodies refused with path and reason, hostile ones cheaply."""

import subprocess
import sys
import time
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
from pydantic import BaseModel

from tests.unit.codecs.method import checker, refused
from tiffin.codecs.check import LARGE_BYTES
from tiffin.messages.link import Media
from tiffin.service.markers import DType, Shape

JSON, NPY, MSGPACK, TEXT, BYTES = range(5)


class User(BaseModel):
    age: int


class Svc:
    def scalar(self, x: float, y: int = 1):
        raise NotImplementedError

    def floats(self, x: Annotated[np.ndarray, Shape(None, 2), DType("float32")]):
        raise NotImplementedError

    def loose(self, x: np.ndarray):
        raise NotImplementedError

    def columns(self, x: Annotated[np.ndarray, Shape(2, None)]):
        raise NotImplementedError

    def two(self, x: list[str], y: np.ndarray):
        raise NotImplementedError

    def models(self, x: list[User]):
        raise NotImplementedError

    def text(self, x: str, /):
        raise NotImplementedError

    def rows(self, x: list[int], /):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("function", "options", "body", "rows"),
    [
        (Svc.scalar, {}, b'{"x": 1}', 1),
        (Svc.scalar, {}, b'{"y": 2, "x": 1.5}', 1),
        (Svc.floats, {"batchable": True}, b'{"x": [[1, 2], [3, 4], [5, 6]]}', 3),
        (Svc.floats, {}, b'{"x": [[1, 2], [3, 4], [5, 6]]}', 1),
        (Svc.floats, {"batchable": True, "one_row": True}, b'{"x": [1, 2]}', 1),
        (Svc.loose, {"batchable": True}, b'{"x": [1, 2]}', 2),
        (Svc.loose, {"batchable": True, "batch_dim": 1}, b'{"x": [[1, 2, 3], [4, 5, 6]]}', 3),
        (Svc.columns, {"batchable": True, "batch_dim": 1}, b'{"x": [[1, 2, 3], [4, 5, 6]]}', 3),
        (Svc.two, {"batchable": True}, b'{"x": ["a", "b"], "y": [1, 2]}', 2),
        (Svc.models, {"batchable": True}, b'{"x": [{"age": "lax"}, null]}', 2),
        (Svc.rows, {"batchable": True}, b"[1, 2, 3, 4]", 4),
    ],
)
def test_rows(function: Any, options: dict[str, Any], body: bytes, rows: int) -> None:
    check = checker(function, **options)
    assert check.check(JSON, body) == rows
    assert check.check(JSON, memoryview(bytearray(body))) == rows
    packed = msgspec.msgpack.encode(msgspec.json.decode(body))
    assert check.check(MSGPACK, packed) == rows


@pytest.mark.parametrize(
    ("function", "batchable", "body", "wrong"),
    [
        (Svc.scalar, False, b'{"x": "1"}', ("x", "expected float, got str")),
        (Svc.scalar, False, b'{"y": 1}', ("x", "required, but missing")),
        (Svc.scalar, False, b'{"x": 1, "z": 1}', ("z", "unknown field")),
        (Svc.scalar, False, b"", ("", "the body is empty")),
        (Svc.scalar, False, b'{"x": 1', ("", "incomplete: the data ends too early")),
        (Svc.scalar, False, b"\x93NUMPY\x01", ("", "not JSON but .npy: send it with content-type application/x-npy")),
        (Svc.scalar, False, b"{]", ("", "not JSON: object keys must be strings (byte 1)")),
        (Svc.scalar, False, b"[]", ("", "expected object with x, y, got array")),
        (Svc.floats, True, b'{"x": [[1, 2], [3, "a"]]}', ("x[1][1]", "expected float, got str")),
        (Svc.floats, True, b'{"x": [[1, 2], [3]]}', ("x[1]", "expected array of length >= 2")),
        (Svc.floats, True, b'{"x": []}', ("x", "expected one row at least, got none")),
        (Svc.two, True, b'{"x": ["a"], "y": [1, 2]}', ("y", "expected 1 rows as in x, got 2")),
        (Svc.loose, True, b'{"x": 3}', ("x", "expected array, got int")),
        (Svc.rows, True, b'[1, "a"]', ("[1]", "expected int, got str")),
    ],
)
def test_wrong(function: Any, batchable: bool, body: bytes, wrong: tuple[str, str]) -> None:
    assert refused(checker(function, batchable=batchable).check, JSON, body) == [wrong]


def test_a_wrong_key_has_a_path() -> None:
    def keyed(self, x: dict[int, str]):
        raise NotImplementedError

    assert refused(checker(keyed).check, JSON, b'{"x": {"a": "b"}}') == [("x", "expected int, got str as a key")]


def test_bounds_of_a_set_count_what_is_left_of_it() -> None:
    def unique(self, x: Annotated[set[int], msgspec.Meta(min_length=2, max_length=2)]):
        raise NotImplementedError

    assert checker(unique).check(JSON, b'{"x": [1, 1, 2]}') == 1


def test_too_deep_is_said_so() -> None:
    assert refused(checker(Svc.models).check, JSON, HOSTILE["deep arrays"]) == [("", "nested too deep")]


def test_text_and_bytes_bodies_have_nothing_to_count() -> None:
    assert checker(Svc.text).check(TEXT, b"\xff") == 1
    assert checker(Svc.text).check(BYTES, b"") == 1


def test_arrays_in_msgpack_are_counted_by_their_head() -> None:
    check = checker(Svc.floats, batchable=True)
    ext = msgspec.msgpack.Ext(1, msgspec.msgpack.encode(("<f4", (3, 2), bytes(24))))
    assert check.check(MSGPACK, msgspec.msgpack.encode({"x": ext})) == 3
    for code, data in ((2, b""), (1, b"x"), (1, msgspec.msgpack.encode(("<f4", (-3, -2), bytes(24))))):
        assert (
            refused(check.check, MSGPACK, msgspec.msgpack.encode({"x": msgspec.msgpack.Ext(code, data)}))[0][0] == "x"
        )


def test_large_bodies_are_skimmed() -> None:
    row = b"[" + b"1.5," * 2_000 + b'"not a number"]'
    body = b'{"x": [' + b",".join([row] * (LARGE_BYTES // len(row) + 1)) + b"]}"
    assert len(body) > LARGE_BYTES
    assert checker(Svc.floats, batchable=True).check(JSON, body) == body.count(b"not")
    refused(checker(Svc.floats, batchable=True).check, JSON, body[:-2])


HOSTILE = {
    "deep arrays": b'{"x": ' + b"[" * 1_000_000,
    "deep closed": b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 200_000,
    "huge integer": b'{"x": ' + b"9" * 100_000 + b"}",
    "overflow": b'{"x": 1e400}',
    "nan": b'{"x": NaN}',
    "surrogate key": b'{"\\ud800": 1}',
    "many duplicate keys": b"{" + b'"z":1,' * 500_000 + b'"x":1}',
    "null bytes": b"\x00" * 100_000,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("function", [Svc.scalar, Svc.loose, Svc.models])
def test_hostile_json_is_refused_quickly(name: str, function: Any) -> None:
    check = checker(function, batchable=function is not Svc.scalar)
    started = time.process_time()
    reasons = refused(check.check, JSON, HOSTILE[name])
    assert time.process_time() - started < 0.05
    assert len(str(reasons)) < 1_000


def test_every_one_of_duplicate_keys_is_checked() -> None:
    body = b"{" + b'"x":"a",' * 3 + b'"x":1}'
    refused(checker(Svc.scalar).check, JSON, body)


def test_the_front_loads_neither_numpy_nor_pydantic() -> None:
    code = (
        "import sys, tiffin.codecs.check, tiffin.codecs.media\n"
        "print([name for name in ('numpy', 'pydantic', 'torch') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_checkers_come_and_go() -> None:
    """A reload makes new ones; a union that msgspec would free wrongly must not be among their decoders."""
    code = (
        "from tiffin.codecs.check import Checker\n"
        "from tiffin.spec.service import MethodSpec, Param\n"
        "from tiffin.spec.types import *\n"
        "text = StrType(pattern='^a', min_length=1)\n"
        "others = (ListType(item=text), DictType(key=StrType(), value=text), TupleType(items=(text, IntType(ge=0))),\n"
        "          StructType(name='S', fields=(), array_like=True), ArrayType(shape=(2,)))\n"
        "for number in range(3_000):\n"
        "    union = UnionType(variants=(text, others[number % 5]))\n"
        "    Checker(MethodSpec(name='m', route='/m', params=(Param(name='x', type=union),), returns=ANY))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_media_of_npy_goes_through_check_too() -> None:
    assert refused(checker(Svc.scalar).check, Media.NPY, b"") == [("x", "no array is expected here")]
