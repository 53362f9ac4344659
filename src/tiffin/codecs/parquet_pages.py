"""What the pages of a Parquet file would take decompressed, read from the pages' own heads.

Owns a walk over these heads (Thrift's compact protocol); never decompresses anything. The file's footer says sizes too, but whoever
wrote the file wrote both: what a reader will allocate is what the head of a page says.
Layout: https://parquet.apache.org/docs/file-format/, PageHeader.
"""

from __future__ import annotations

from typing import Any

_DEPTH = 8  # a page's head has 3 levels
_MAX_HEAD = 2**20
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_UNCOMPRESSED, _COMPRESSED = 2, 3  # fields of PageHeader


def page_bytes(metadata: Any, data: memoryview, limit: int) -> int:
    """Return the decompressed bytes of all pages; where it is above the limit, no more pages are looked at.

    Args:
        metadata: pyarrow's, of the file. data: the file.

    Raises:
        ValueError: a column's pages are not where the footer says, or a head is none.
    """
    total = 0
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for index in range(row_group.num_columns):
            column = row_group.column(index)
            start = column.data_page_offset
            if column.has_dictionary_page and column.dictionary_page_offset is not None:
                start = min(start, column.dictionary_page_offset) if column.dictionary_page_offset > 0 else start
            end = start + column.total_compressed_size
            if not 0 <= start <= end <= len(data):
                raise ValueError(f"column {index} lies outside of the file")
            while start < end:
                head = _Head(data[start : min(end, start + _MAX_HEAD)])
                start += head.size + head.compressed
                total += head.uncompressed
                if total > limit:
                    return total
    return total


class _Head:
    """One page's head.

    Attributes:
        size: its own. compressed, uncompressed: of the page after it.
    """

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.size = 0
        sizes = self._struct(0)
        self.uncompressed = sizes.get(_UNCOMPRESSED, -1)
        self.compressed = sizes.get(_COMPRESSED, -1)
        if self.uncompressed < 0 or self.compressed < 0:
            raise ValueError("a page without a size")

    def _byte(self) -> int:
        if self.size >= len(self._data):
            raise ValueError("a page's head ends too early")
        self.size += 1
        return self._data[self.size - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits in a page's head")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _struct(self, depth: int) -> dict[int, int]:
        """Return a struct's integers by field number, and go past all of it."""
        if depth > _DEPTH:
            raise ValueError("a page's head is nested too deep")
        found: dict[int, int] = {}
        field = 0
        while (byte := self._byte()) != 0:
            step = byte >> 4
            field = field + step if step else self._zigzag()
            kind = byte & 15
            if kind in (_I16, _I32, _I64):
                found[field] = self._zigzag()
            elif kind not in (_TRUE, _FALSE):
                self._skip(kind, depth)
        return found

    def _skip(self, kind: int, depth: int) -> None:
        if kind in (_TRUE, _FALSE, _BYTE):
            self._byte()
        elif kind in (_I16, _I32, _I64):
            self._varint()
        elif kind == _DOUBLE:
            self.size += 8
        elif kind == _BINARY:
            length = self._varint()
            self.size += length  # beyond the end: the next byte is missing
        elif kind == _STRUCT:
            self._struct(depth + 1)
        elif kind in (_LIST, _SET):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            for _ in range(count):
                self._skip(head & 15, depth + 1)
        else:
            raise ValueError("a page's head has a field of an unknown kind")
