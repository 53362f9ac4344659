"""What the buffers of one Arrow message would take decompressed, read from its head before anything is decompressed.

Owns the few fields of Arrow's FlatBuffers head that this needs; never touches the buffers but for the 8 bytes that say their size.
Layout: https://arrow.apache.org/docs/format/Columnar.html, Message.fbs.
"""

from __future__ import annotations

import struct

_BATCH, _DICTIONARY = 3, 2  # MessageHeader
_HEAD_TYPE, _HEAD = 1, 2  # fields of Message
_DATA = 1  # of DictionaryBatch
_BUFFERS, _COMPRESSION = 2, 3  # of RecordBatch


def compressed_bytes(metadata: memoryview, body: memoryview) -> int:
    """Return how many bytes a record batch's or dictionary's buffers say that they take decompressed; 0 where none is compressed.

    Args:
        metadata: the message's head, without its length. body: its buffers.

    Raises:
        ValueError: the head is not that of such a message.
    """
    try:
        return _claimed(metadata, body)
    except struct.error as error:
        raise ValueError("a message's head ends too early") from error


def _claimed(data: memoryview, body: memoryview) -> int:
    message = _pointed(data, 0)
    kind = _field(data, message, _HEAD_TYPE)
    head = _field(data, message, _HEAD)
    if not kind or not head:
        raise ValueError("a message without a head")
    table = _pointed(data, head)
    if data[kind] == _DICTIONARY:
        inner = _field(data, table, _DATA)
        if not inner:
            raise ValueError("a dictionary without data")
        table = _pointed(data, inner)
    elif data[kind] != _BATCH:
        raise ValueError("a message of another kind than it says")
    buffers = _field(data, table, _BUFFERS)
    if not _field(data, table, _COMPRESSION) or not buffers:
        return 0
    vector = _pointed(data, buffers)
    (count,) = struct.unpack_from("<I", data, vector)
    if count * 16 > len(data):
        raise ValueError("more buffers than the head has room for")
    total = 0
    for offset, size in struct.iter_unpack("<qq", data[vector + 4 : vector + 4 + count * 16]):
        if not size:
            continue
        if offset < 0 or size < 8 or offset + size > len(body):
            raise ValueError("a buffer lies outside of the message")
        (claimed,) = struct.unpack_from("<q", body, offset)  # -1: not compressed after all
        if claimed < -1:
            raise ValueError("a buffer of a negative size")
        total += max(claimed, size)
    return total


def _pointed(data: memoryview, at: int) -> int:
    """Return where an offset points to."""
    (offset,) = struct.unpack_from("<I", data, at)
    return at + int(offset)


def _field(data: memoryview, table: int, index: int) -> int:
    """Return where a table's field is, 0 where it has none."""
    (back,) = struct.unpack_from("<i", data, table)
    fields = table - int(back)
    if fields < 0:
        raise ValueError("a table's layout lies outside of the head")
    (size,) = struct.unpack_from("<H", data, fields)
    if 4 + 2 * index + 2 > size:
        return 0
    (offset,) = struct.unpack_from("<H", data, fields + 4 + 2 * index)
    return table + int(offset) if offset else 0
