"""What a Parquet file would take when it is read, from its footer and from the heads of its pages, before anything reads it.

Owns a reader of these heads (Thrift's compact protocol); never decompresses anything. The footer says sizes too, but what a reader
will allocate for a page is what the page's own head says. pyarrow's view of the footer is not asked: where a footer contradicts
itself, pyarrow 26 ends the process (ColumnChunkMetaData is made outside of any catch).
Layout: https://parquet.apache.org/docs/file-format/, FileMetaData and PageHeader.
"""

from __future__ import annotations

from typing import Any, NamedTuple

MAX_FOOTER = 8 * 2**20
_DEPTH = 16  # levels of structs; a footer has 6
_MAX_HEAD = 2**20
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
# Numbers of fields, by struct.
_ROWS, _GROUPS = 3, 4  # FileMetaData
_COLUMNS, _GROUP_ROWS = 1, 3  # RowGroup
_PATH, _META = 1, 3  # ColumnChunk
_COMPRESSED_SIZE, _DATA_PAGE, _DICTIONARY_PAGE = 7, 9, 11  # ColumnMetaData
_UNCOMPRESSED, _COMPRESSED = 2, 3  # PageHeader


class Footer(NamedTuple):
    """What of a file's footer is needed here.

    Attributes:
        rows: of all row groups. chunks: start and end of each column's pages in each row group.
    """

    rows: int
    chunks: list[tuple[int, int]]


def read_footer(data: memoryview) -> Footer:
    """Read a file's footer.

    Args:
        data: the whole file, as unsigned bytes.

    Raises:
        ValueError: it is none, it is larger than 8 MiB, or it names other files or places outside of this one.
    """
    if len(data) < 12 or bytes(data[-4:]) != b"PAR1":
        raise ValueError("the file does not end as Parquet does (an encrypted one cannot be read)")
    size = int.from_bytes(data[-8:-4], "little")
    if size > MAX_FOOTER:
        raise ValueError(f"a footer of {size} bytes: {MAX_FOOTER} at most")
    if size > len(data) - 12:
        raise ValueError("the footer is larger than the file")
    footer = _Reader(data[-8 - size : -8]).struct()
    rows = 0
    chunks: list[tuple[int, int]] = []
    for group in _structs(footer, _GROUPS):
        if _number(group, _GROUP_ROWS) < 0:
            raise ValueError("a negative number of rows")
        rows += _number(group, _GROUP_ROWS)
        for chunk in _structs(group, _COLUMNS):
            if _PATH in chunk:
                raise ValueError("a column lies in another file")
            (meta,) = _structs({_META: [chunk.get(_META)]}, _META)
            start = _number(meta, _DATA_PAGE)
            dictionary: Any = meta.get(_DICTIONARY_PAGE)
            if isinstance(dictionary, int) and dictionary > 0 and not 0 < start <= dictionary:
                start = dictionary  # without rows there may be no page but this one, and the other is said to be at 0
            end = start + _number(meta, _COMPRESSED_SIZE)
            if not 0 <= start <= end <= len(data):
                raise ValueError("a column lies outside of the file")
            chunks.append((start, end))
    return Footer(max(rows, _number(footer, _ROWS)), chunks)


def page_bytes(footer: Footer, data: memoryview, limit: int) -> int:
    """Return the decompressed bytes of all pages; where it is above the limit, no more pages are looked at.

    Args:
        footer: of the file. data: the file, as unsigned bytes.

    Raises:
        ValueError: a page has no head.
    """
    total = 0
    for start, end in footer.chunks:
        at = start
        while at < end:
            reader = _Reader(data[at : min(end, at + _MAX_HEAD)])
            head = reader.struct()
            compressed, uncompressed = _number(head, _COMPRESSED), _number(head, _UNCOMPRESSED)
            if compressed < 0 or uncompressed < 0:
                raise ValueError("a page of a negative size")
            at += reader.at + compressed
            total += uncompressed
            if total > limit:
                return total
    return total


def _number(struct: dict[int, Any], field: int) -> int:
    value = struct.get(field)
    if isinstance(value, int):
        return value
    raise ValueError(f"field {field} of a head is missing")


def _structs(struct: dict[int, Any], field: int) -> list[dict[int, Any]]:
    found: list[Any] = struct.get(field) or []
    if not all(isinstance(part, dict) for part in found):
        raise ValueError(f"field {field} of a head is no list of structs")
    return found


class _Reader:
    """Reads Thrift's compact protocol: structs as dicts by field number, without their texts.

    Attributes:
        at: bytes read so far.
    """

    __slots__ = ("_data", "at")

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.at = 0

    def _byte(self) -> int:
        if self.at >= len(self._data):
            raise ValueError("a head ends too early")
        self.at += 1
        return self._data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits in a head")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Return the struct that starts here."""
        if depth > _DEPTH:
            raise ValueError("a head is nested too deep")
        found: dict[int, Any] = {}
        field = 0
        while (byte := self._byte()) != 0:
            step = byte >> 4
            field = field + step if step else self._zigzag()
            kind = byte & 15
            found[field] = None if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (_I16, _I32, _I64):
            return self._zigzag()
        if kind == _BINARY:
            size = self._varint()
            self.at += size  # beyond the end: the next byte is missing
        elif kind == _STRUCT:
            return self.struct(depth + 1)
        elif kind in (_LIST, _SET):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            if depth > _DEPTH:
                raise ValueError("a head is nested too deep")
            if count > len(self._data) - self.at:
                raise ValueError("a list longer than its head")
            return [self._value(head & 15, depth + 1) for _ in range(count)]
        elif kind == _DOUBLE:
            self.at += 8
        elif kind in (_TRUE, _FALSE, _BYTE):
            self._byte()
        else:
            raise ValueError("a field of an unknown kind in a head")
        return None
