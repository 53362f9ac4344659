"""The `.npy` header and the array extension of msgpack, read without numpy.

Owns both formats' heads; never touches the elements and never evaluates text. Sizes in bytes, shapes in items per dimension.
Format: 6 magic bytes, version, header length, then a Python dict literal that is matched by one pattern, never run.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import NamedTuple

import msgspec

from tiffin.codecs.reasons import invalid
from tiffin.spec.types import ArrayType

MAX_HEADER = 10_000
MAX_DIMS = 32
_CACHED_HEADER = 256  # bytes; clients send the same header again and again
MAX_EMPTY = 1_024  # an array without bytes must not name more rows than this: they would cost memory all the same
EXT_ARRAY = 1

_MAGIC = b"\x93NUMPY"
_HEADER = re.compile(
    rb"\{\s*'descr':\s*'([<>|=]?)([A-Za-z?])([0-9]{1,5})',\s*'fortran_order':\s*(True|False),"
    rb"\s*'shape':\s*\(((?:[0-9]{1,20},\s?)*(?:[0-9]{1,20})?)\)\s*,?\s*\}\s*"
)
_PARTS = msgspec.msgpack.Decoder(tuple[str, tuple[int, ...], memoryview])
_ENCODE = msgspec.msgpack.Encoder().encode

NAMES = {
    "b1": "bool",
    **{f"{kind}{size}": f"{name}{size * 8}" for kind, name in (("i", "int"), ("u", "uint")) for size in (1, 2, 4, 8)},
    **{f"f{size}": f"float{size * 8}" for size in (2, 4, 8)},
}
"""Element types that travel in binary, by kind and size: no objects, no text, no records."""


class ArrayHead(NamedTuple):
    """What a binary array says of itself.

    Attributes:
        code: numpy's type string with its byte order, such as "<f4". name: "float32".
        shape: sizes. fortran: first index fastest. start: offset of the elements. size: of the elements.
    """

    code: str
    name: str
    shape: tuple[int, ...]
    fortran: bool
    start: int
    size: int


def read_head(data: bytes | bytearray | memoryview, total: int, path: str = "") -> ArrayHead:
    """Read the head of a `.npy` body.

    Args:
        data: the body's beginning, the whole header at least. total: the body's size. path: of the array, for the error.

    Raises:
        Error: INVALID_INPUT: not `.npy`, Python objects, text or records in it, or not as many bytes as it says.
    """
    start = bytes(data[:12])
    if start[:6] != _MAGIC or len(start) < 12:
        raise invalid(path, "not a .npy file")
    if start[6] == 1:
        begin, length = 10, int.from_bytes(start[8:10], "little")
    elif start[6] in (2, 3):
        begin, length = 12, int.from_bytes(start[8:12], "little")
    else:
        raise invalid(path, f".npy version {start[6]} is not known: save it with numpy.save")
    if length > MAX_HEADER:
        raise invalid(path, f".npy header of {length} bytes: {MAX_HEADER} at most")
    text = bytes(data[begin : begin + length])
    found = _parsed(text) if length <= _CACHED_HEADER else _parse(text)
    if found is None or len(text) < length:
        raise invalid(
            path, ".npy header is not that of a plain array of numbers (Python objects and records are refused)"
        )
    code, fortran, shape = found
    return _checked(code, shape, fortran, begin + length, total - begin - length, path)


def _parse(text: bytes) -> tuple[str, bool, tuple[int, ...]] | None:
    """Return type string, order and shape of a header, None for any other than a plain array's."""
    found = _HEADER.fullmatch(text)
    if found is None:
        return None
    order, kind, size, fortran, shape = found.groups()
    sizes = tuple(int(part) for part in shape.split(b",") if part.strip())
    return (order + kind + size).decode(), fortran == b"True", sizes


_parsed = lru_cache(256)(_parse)


def read_ext(data: bytes | memoryview, path: str = "") -> tuple[ArrayHead, memoryview]:
    """Read an array from msgpack's extension 1: ``[type string, shape, elements]``, C order.

    Returns:
        Its head, and a view on its elements.

    Raises:
        Error: INVALID_INPUT, as `read_head`.
    """
    try:
        code, sizes, elements = _PARTS.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise invalid(path, "msgpack extension 1 is not [dtype, shape, bytes]") from error
    if any(size < 0 for size in sizes):
        raise invalid(path, f"shape {sizes} has a negative size")
    return _checked(code, sizes, fortran=False, start=0, size=len(elements), path=path), elements


def write_head(code: str, shape: tuple[int, ...]) -> bytes:
    """Return the `.npy` header of an array in C order; what follows it starts at a multiple of 64 bytes.

    Args:
        code: numpy's type string, such as "<f4". shape: sizes.
    """
    sizes = f"({shape[0]},)" if len(shape) == 1 else f"({', '.join(map(str, shape))})"
    text = f"{{'descr': '{code}', 'fortran_order': False, 'shape': {sizes}, }}"
    length = -(len(text) + 11) % 64 + len(text) + 1
    return _MAGIC + b"\x01\x00" + length.to_bytes(2, "little") + text.encode().ljust(length - 1) + b"\n"


def write_ext(code: str, shape: tuple[int, ...], elements: bytes | memoryview) -> bytes:
    """Return the data of msgpack's extension 1 for an array in C order."""
    return _ENCODE((code, shape, elements))


def _checked(code: str, shape: tuple[int, ...], fortran: bool, start: int, size: int, path: str) -> ArrayHead:
    key = code.lstrip("<>|=")
    name = NAMES.get(key)
    if name is None:
        raise invalid(path, f"element type {code[:20]!r} is not served: numbers and booleans only")
    if len(shape) > MAX_DIMS:
        raise invalid(path, f"{len(shape)} dimensions: {MAX_DIMS} at most")
    expected = math.prod(shape) * int(key[1:])
    if expected != size:
        raise invalid(path, f"shape {_shown(shape)} of {name} takes {expected} bytes, got {size}")
    if not size and math.prod(filter(None, shape)) > MAX_EMPTY:
        raise invalid(path, f"shape {_shown(shape)} holds nothing")
    order = code[0] if code[0] in "<>|" else "<"
    return ArrayHead(order + key, name, shape, fortran, start, size)


def check_type(head: ArrayHead, type: ArrayType, path: str) -> None:
    """Check element type and shape of a binary array.

    Raises:
        Error: INVALID_INPUT: another element type, number of dimensions or size than the method takes.
    """
    if type.dtype and head.name != type.dtype:
        raise invalid(path, f"expected {type.dtype}, got {head.name}: convert it before sending")
    check_shape(head.shape, type, path)


def check_shape(shape: tuple[int, ...], type: ArrayType, path: str) -> None:
    """Check the sizes of an array.

    Raises:
        Error: INVALID_INPUT: another number of dimensions or another size than the method takes.
    """
    if type.shape is None:
        return
    if len(shape) != len(type.shape) or any(
        wanted is not None and wanted != size for wanted, size in zip(type.shape, shape, strict=True)
    ):
        raise invalid(path, f"expected shape {_shown(type.shape)}, got {_shown(shape)}")


def _shown(shape: tuple[int | None, ...]) -> str:
    return f"[{', '.join('*' if size is None else str(size) for size in shape[:MAX_DIMS])}]"
