"""Array parameters in the worker: nested lists, `.npy` bodies and msgpack extensions → numpy arrays that the method owns.

Owns the conversion rules and the joining of rows; never keeps a body. Imported only where a method has arrays, because it loads
numpy. Rules: nothing is converted silently except where no value changes: integers to floats, 3.0 to an integer, byte order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
from msgspec.msgpack import Ext

from tiffin.codecs.copies import copies
from tiffin.codecs.grammar import array_type, element, int_range, strict_int
from tiffin.codecs.npy import EXT_ARRAY, NAMES, check_shape, check_type, read_ext, read_head, write_ext
from tiffin.codecs.reasons import invalid, join
from tiffin.errors import Error
from tiffin.spec.types import ArrayType

Array = np.ndarray[Any, np.dtype[Any]]
Body = bytes | bytearray | memoryview


class ArrayReader:
    """Reads one array parameter.

    Args:
        type: what it accepts. path: of the parameter, "" for the whole body.

    Attributes:
        json: msgspec type of its JSON. lax: the same with integers that may be written 3.0; None where `json` says it all.
    """

    __slots__ = ("_dtype", "_kind", "json", "lax", "path", "type")

    def __init__(self, type: ArrayType, path: str) -> None:
        self.type = type
        self.path = path
        self._dtype = np.dtype(type.dtype) if type.dtype and type.dtype != "str" else None
        self._kind = "U" if type.dtype == "str" else self._dtype.kind if self._dtype is not None else ""
        self.json: Any = Any
        self.lax: Any = None
        if type.shape is not None:
            self.json = array_type(type, element(type.dtype))
            if self._kind in ("i", "u"):
                self.lax = self.json
                self.json = array_type(type, strict_int(type.dtype))

    def lists(self, value: Any, *, exact: bool = False) -> Array:
        """Return the array of nested lists.

        Args:
            value: the lists. exact: they were decoded by `json`, so that their elements need no second look.

        Raises:
            Error: INVALID_INPUT: rows of different lengths, another shape, another kind of element, a value out of range.
        """
        array = self.try_lists(value, exact=exact)
        if array is None:
            raise self._why_not(value)
        return array

    def try_lists(self, value: Any, *, exact: bool = False) -> Array | None:
        """Return the array of nested lists, None where there is none that the method takes; arguments as in `lists`."""
        dtype = self._dtype if exact and self.type.shape is not None else None
        try:
            if dtype is not None and dtype.kind == "f" and dtype.itemsize < 8:
                with np.errstate(over="ignore"):  # looked for below, without a warning
                    array = np.array(value, dtype)
            else:
                array = np.array(value, dtype)
        except (ValueError, TypeError, OverflowError, RecursionError):
            return None  # rows of different lengths, or deeper than numpy goes
        shape = self.type.shape
        if shape is not None:
            if array.ndim != len(shape):
                if array.size or array.ndim > len(shape):
                    return None
                array = array.reshape(array.shape + tuple(size or 0 for size in shape[array.ndim :]))
            for size, wanted in zip(array.shape, shape, strict=True):
                if wanted is not None and size != wanted:
                    return None
        if dtype is None or dtype.kind not in "biu":
            return self._converted(array)
        return array

    def _converted(self, array: Array) -> Array | None:
        """Return an array of the declared element type, None where values would change."""
        kind, wanted, dtype = array.dtype.kind, self._kind, self._dtype
        if not array.size:
            return array if dtype is None else array.astype(dtype)
        if dtype is None:
            return array if kind in (wanted or "biuf") else None
        if wanted == "f" and kind in "iuf":
            with np.errstate(over="ignore"):
                array = array.astype(dtype, copy=False)
            # JSON has no infinity: one that is there now (NaN: from msgpack) was out of range.
            return array if dtype.itemsize == 8 or not np.isinf(array).any() else None
        if array.dtype == dtype:
            return array
        if wanted in "iu" and kind in "iuf":
            low, high = int_range(dtype.name)
            if kind == "f" and not (np.floor(array) == array).all():
                return None
            if array.min() < low or array.max() > high or (kind == "f" and array.max() >= float(high) + 1):
                return None
            return array.astype(dtype)
        return None

    def binary(self, body: Body) -> Array:
        """Return a read-only view on a `.npy` body.

        Raises:
            Error: INVALID_INPUT: not `.npy`, or another element type or shape.
        """
        head = read_head(body, len(body), self.path)
        check_type(head, self.type, self.path)
        flat = (
            np.frombuffer(body, np.dtype(head.code), offset=head.start)
            if head.size
            else np.empty(0, np.dtype(head.code))
        )
        return flat.reshape(head.shape, order="F" if head.fortran else "C")

    def loose(self, value: Any) -> Array:
        """Return the array of what msgpack said: a view on an extension's bytes, or nested lists.

        Raises:
            Error: INVALID_INPUT.
        """
        if not is_array(value):
            return self.lists(value)
        name = "bool" if value.dtype.kind == "b" else value.dtype.name
        if self.type.dtype and name != self.type.dtype:
            raise invalid(self.path, f"expected {self.type.dtype}, got {name}: convert it before sending")
        check_shape(value.shape, self.type, self.path)
        return value

    def conform(self, array: Array) -> Array:
        """Return an array of the declared element type and shape, made of one of any.

        Raises:
            Error: INVALID_INPUT.
        """
        check_shape(array.shape, self.type, self.path)
        changed = self._converted(array)
        if changed is None:
            raise invalid(self.path, f"expected {self.type.dtype}, got {array.dtype.name} that cannot be converted")
        return changed

    # -- rows ------------------------------------------------------------------------------------------------------------

    def rows(self, array: Array, axis: int) -> int:
        """Return the rows of an array.

        Raises:
            Error: INVALID_INPUT, it has no such dimension.
        """
        if array.ndim <= axis:
            raise invalid(self.path, f"expected an array with rows along dimension {axis}, got {array.ndim} dimensions")
        return int(array.shape[axis])

    def wrapped(self, array: Array, axis: int) -> Array:
        """Return a single row as an array of one row.

        Raises:
            Error: INVALID_INPUT, it has too few dimensions.
        """
        if array.ndim < axis:
            raise invalid(self.path, f"expected at least {axis} dimensions, got {array.ndim}")
        return np.expand_dims(array, axis)

    def key(self, array: Array, axis: int) -> tuple[Any, ...]:
        """Return what rows must have in common to be joined: their shape and element type."""
        shape = array.shape
        return (shape[:axis], shape[axis + 1 :], array.dtype.newbyteorder("="))

    def own(self, view: Array) -> Array:
        """Return a copy that nobody else holds."""
        return owned(view)

    def join(self, arrays: Sequence[Array], axis: int) -> Array:
        """Return the rows of several calls, in one copy that nobody else holds."""
        return joined(arrays, axis)

    def _why_not(self, value: Any) -> Error:
        """Return the reason why nested lists are no array that the method takes."""
        uneven = _uneven(value)
        if uneven is not None:
            return invalid(join(self.path, uneven[0]), uneven[1])
        try:
            array = np.array(value)
        except (ValueError, TypeError, OverflowError, RecursionError):
            return invalid(self.path, "nested deeper than an array can be")
        if self.type.shape is not None:
            try:
                check_shape(array.shape, self.type, self.path)
            except Error as error:
                return error
        where, found = _odd_element(value, self._kind, self.type.dtype)
        return invalid(join(self.path, where), f"expected {self.type.dtype or 'a number'}, got {found}")


def owned(array: Array) -> Array:
    """Return a writable array in C order and this machine's byte order, copied from a view on a body."""
    return joined([array], 0)


def joined(arrays: Sequence[Array], axis: int) -> Array:
    """Join arrays of one element type along an axis, in one copy that nobody else holds."""
    first = arrays[0]
    native = first.dtype.newbyteorder("=")
    copies.made += 1
    if first.ndim == 0:
        out = np.array(first, dtype=native)
    elif native.kind == "b":
        # A byte of a boolean that is neither 0 nor 1 would be undefined behaviour further on.
        out = np.concatenate([array.view(np.uint8) for array in arrays], axis=axis)
        np.minimum(out, 1, out=out)
        return out.view(np.bool_)
    elif len(arrays) == 1:
        out = np.array(first, dtype=native, order="C", copy=True)
    else:
        out = np.concatenate(arrays, axis=axis, dtype=native)
    return out


def view_hook(code: int, data: memoryview) -> Array:
    """Read msgpack's extension 1 as a view on its bytes.

    Raises:
        Error: INVALID_INPUT.
    """
    if code != EXT_ARRAY:
        raise invalid("", f"msgpack extension {code} is not known")
    head, elements = read_ext(data)
    dtype = np.dtype(head.code)
    return (np.frombuffer(elements, dtype) if head.size else np.empty(0, dtype)).reshape(head.shape)


def own_hook(code: int, data: memoryview) -> Any:
    """Read msgpack's extension 1 as an array of its own, extension 2 as a table.

    Raises:
        Error: INVALID_INPUT.
    """
    if code == 2:
        from tiffin.codecs.table_results import unpack_table  # only where a table has arrived

        return unpack_table(data)
    return owned(view_hook(code, data))


def inner_hook(cls: type, value: Any) -> Any:
    """Read an array inside a list, an object, …: msgspec's hook for types that it does not know.

    Raises:
        NotImplementedError: another class than np.ndarray.
        ValueError: no array can be made of the value.
    """
    if cls is not np.ndarray:
        raise NotImplementedError(f"{cls.__name__} cannot be read")
    if is_array(value):
        return value
    try:
        return _ANY_ARRAY.lists(value)
    except Error as error:
        wrong = error.details[0]
        # msgspec adds the path that leads here.
        raise ValueError(wrong["reason"] + (f" (in {wrong['path']})" if wrong["path"] else "")) from error


def as_array(value: Any) -> Array:
    """Return an array, or what can become one (a tensor on any device), in C order; bfloat16, which numpy has not, as float32."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
    array: Array = np.asarray(value)
    if array.dtype.name == "bfloat16":  # of ml_dtypes, as TensorFlow gives it
        array = array.astype(np.float32)
    return np.ascontiguousarray(array).reshape(array.shape)


def elements(array: Array) -> bytes | memoryview:
    """Return the bytes of an array in C order, without a copy."""
    return array.reshape(-1).view(np.uint8).data if array.size else b""


def extension(array: Array) -> Any:
    """Return an array in C order as msgpack's extension 1, as nested lists where its elements are no numbers."""
    if array.dtype.str[1:] not in NAMES:
        return array.tolist()
    return Ext(EXT_ARRAY, write_ext(array.dtype.str, array.shape, elements(array)))


_ANY_ARRAY = ArrayReader(ArrayType(), "")


def is_array(value: Any) -> TypeGuard[Array]:
    """Say whether a value is a numpy array."""
    return isinstance(value, np.ndarray)


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _uneven(value: Any) -> tuple[str, str] | None:
    """Return path and reason of the first list that is not as long as those before it, None where all are."""
    level: list[tuple[str, Any]] = [("", value)]
    while level and _is_list(level[0][1]):
        size = len(level[0][1])
        below: list[tuple[str, Any]] = []
        for path, part in level:
            if not _is_list(part):
                return path, f"expected a list of {size} items as before it, got {type(part).__name__}"
            if len(part) != size:
                return path, f"expected {size} items as in the lists before it, got {len(part)}"
            below += [(f"{path}[{index}]", item) for index, item in enumerate(part)]
        level = below
    for path, part in level:
        if _is_list(part):
            return path, "expected a number as before it, got a list"
    return None


def _odd_element(value: Any, kind: str, dtype: str, path: str = "") -> tuple[str, str]:
    """Return path and description of the first element that the array cannot hold."""
    if _is_list(value):
        for index, item in enumerate(value):
            found = _odd_element(item, kind, dtype, f"{path}[{index}]")
            if found[1]:
                return found
        return "", "" if path else "other values"
    if isinstance(value, bool):
        return (path, "" if kind in ("b", "") else "bool")
    if isinstance(value, str) or value is None or not isinstance(value, int | float):
        return (
            path,
            "" if kind == "U" and isinstance(value, str) else "null" if value is None else type(value).__name__,
        )
    if kind in ("i", "u"):
        low, high = int_range(dtype)
        return (path, "" if low <= value <= high and value == int(value) else f"{value!s:.40}")
    if kind == "f":
        return (path, "" if abs(value) <= float(np.finfo(dtype).max) else f"{value!s:.40}, out of range")
    if kind == "" and isinstance(value, int):
        return (path, "" if -(2**63) <= value < 2**64 else "an integer of more than 64 bits")
    return (path, "bool expected" if kind == "b" else type(value).__name__ if kind == "U" else "")
