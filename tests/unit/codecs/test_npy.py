"""`.npy` heads without numpy: numpy's own files are read, everything else is refused before memory is taken."""

import time
from io import BytesIO
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.codecs.method import checker, refused
from tiffin.codecs.npy import read_head, write_head
from tiffin.errors import Error
from tiffin.service.markers import DType, Shape

NAMES = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
]


def saved(array: Any, version: tuple[int, int] = (1, 0)) -> bytes:
    out = BytesIO()
    np.lib.format.write_array(out, np.asanyarray(array), version=version)
    return out.getvalue()


def head(
    descr: str = "'<f4'",
    order: str = "False",
    shape: str = "(2, 3)",
    length: int | None = None,
    tail: bytes = bytes(24),
) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + (len(text) if length is None else length).to_bytes(2, "little") + text + tail


class Svc:
    def any(self, x: np.ndarray):
        raise NotImplementedError

    def floats(self, x: Annotated[np.ndarray, Shape(None, 3), DType("float32")]):
        raise NotImplementedError


@given(
    st.sampled_from(NAMES),
    st.lists(st.integers(0, 5), max_size=4),
    st.booleans(),
    st.sampled_from(["<", ">"]),
    st.sampled_from([(1, 0), (2, 0), (3, 0)]),
)
def test_numpys_own_files_are_read(
    name: str, shape: list[int], fortran: bool, order: Any, version: tuple[int, int]
) -> None:
    array = np.zeros(shape, np.dtype(name).newbyteorder(order), order="F" if fortran else "C")
    body = saved(array, version)
    found = read_head(body, len(body))
    assert (found.name, found.shape, found.size) == (name, array.shape, array.nbytes)
    assert np.dtype(found.code) == array.dtype
    assert body[found.start :] == array.tobytes("A")


@given(st.sampled_from(NAMES), st.lists(st.integers(0, 5), max_size=4))
def test_our_heads_are_read_by_numpy_and_by_us(name: str, shape: list[int]) -> None:
    array = np.ones(shape, name)
    start = write_head(array.dtype.str, array.shape)
    assert len(start) % 64 == 0
    body = start + array.tobytes()
    assert np.load(BytesIO(body)).tolist() == array.tolist()
    assert read_head(body, len(body)).shape == array.shape


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not a .npy file"),
        (b"PK\x03\x04" + bytes(100), "not a .npy file"),
        (b"\x93NUMPY\x09\x00" + bytes(100), ".npy version 9"),
        (saved(np.zeros(3))[:60], "not that of a plain array"),
        (head("'|O'"), "not that of a plain array"),
        (head("'|O8'"), "element type '|O8'"),
        (head("[('a', '<f4'), ('b', '<i4')]"), "not that of a plain array"),
        (head("'<U3'"), "element type '<U3'"),
        (head("'<M8[s]'"), "not that of a plain array"),
        (head("'<c8'", tail=bytes(48)), "element type '<c8'"),
        (head("'<f16'"), "element type '<f16'"),
        (head(shape="(-2, 3)"), "not that of a plain array"),
        (head(shape="(2, 3.0)"), "not that of a plain array"),
        (head(shape="(1099511627776,)"), "takes 4398046511104 bytes, got 24"),
        (head(shape="(2147483648, 8589934592)"), "takes 73786976294838206464 bytes, got 24"),
        (head(shape="(4294967296, 4294967296, 1)"), "got 24"),
        (head(shape=f"({'9' * 20}, 3)"), "got 24"),
        (head(shape=f"({'9' * 30}, 3)"), "not that of a plain array"),
        (head(shape="(1152921504606846976, 0)", tail=b""), "holds nothing"),
        (head(shape="(" + "1000, " * 10 + "0)", tail=b""), "holds nothing"),
        (head(shape="(" + "1, " * 33 + ")", tail=bytes(4)), "33 dimensions"),
        (head(tail=bytes(23)), "takes 24 bytes, got 23"),
        (head(tail=bytes(25)), "takes 24 bytes, got 25"),
        (head(shape="__import__('os').system('true')"), "not that of a plain array"),
        (head(length=60_000), "60000 bytes: 10000 at most"),
        (b"\x93NUMPY\x02\x00" + (10_000_000).to_bytes(4, "little") + b" " * 20_000, "10000000 bytes: 10000 at most"),
        (head(descr="'" + " " * 9_000), "not that of a plain array"),
    ],
)
def test_everything_else_is_refused(body: bytes, reason: str) -> None:
    started = time.process_time()
    with pytest.raises(Error) as caught:
        read_head(body, len(body), "x")
    assert time.process_time() - started < 0.01
    assert caught.value.code == "INVALID_INPUT"
    assert isinstance(caught.value.details, list)
    assert reason in caught.value.details[0]["reason"]


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    for body in (noise, b"\x93NUMPY\x01\x00" + noise, b"\x93NUMPY\x01\x00\x76\x00{'descr': '" + noise):
        with pytest.raises(Error):
            read_head(body, len(body))


def test_the_front_needs_only_the_head() -> None:
    body = saved(np.zeros((1_000, 3), np.float32))
    check = checker(Svc.floats, batchable=True)
    assert check.check_npy(body[:10_012], len(body)) == 1_000
    assert refused(check.check_npy, body[:10_012], len(body) - 1)[0][1].endswith("takes 12000 bytes, got 11999")


def test_type_and_shape_are_those_of_the_annotation() -> None:
    check = checker(Svc.floats, batchable=True)

    def reason(array: Any) -> str:
        body = saved(array)
        ((path, text),) = refused(check.check_npy, body, len(body))
        assert path == "x"
        return text

    assert reason(np.zeros((2, 3))) == "expected float32, got float64: convert it before sending"
    assert reason(np.zeros((2, 4), np.float32)) == "expected shape [*, 3], got [2, 4]"
    assert reason(np.zeros((0, 3), np.float32)) == "expected one row at least, got none"
    big_endian = saved(np.zeros((2, 3), ">f4"))
    assert check.check_npy(big_endian, len(big_endian)) == 2


def test_an_array_without_the_batch_dimension_is_refused() -> None:
    check = checker(Svc.any, batchable=True, batch_dim=1)
    body = saved(np.zeros(3))
    assert refused(check.check_npy, body, len(body)) == [
        ("x", "expected an array with rows along dimension 1, got 1 dimensions")
    ]
