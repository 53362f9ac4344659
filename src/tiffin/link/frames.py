"""Frames: a length and a list of messages in MessagePack.

Owns the bytes on the wire; never a socket. A frame is a little-endian u32 with the size of the payload, then the payload.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, Generic, TypeVar

import msgspec

from tiffin.messages.link import LinkMessage

M = TypeVar("M")

MAX_FRAME_BYTES = 1 << 30

_LENGTH = Struct("<I")
_encode = msgspec.msgpack.Encoder().encode
decode_link: Callable[[Any], list[LinkMessage]] = msgspec.msgpack.Decoder(list[LinkMessage]).decode


class BadFrame(Exception):
    """The other side broke the protocol; the link must be closed."""


def encode_frame(messages: Sequence[msgspec.Struct] | msgspec.Struct) -> bytes:
    """Return the bytes of one frame: of a list of messages, or of one alone (the control channel).

    Raises:
        BadFrame: the payload is larger than a frame may be.
    """
    payload = _encode(messages)
    if len(payload) > MAX_FRAME_BYTES:
        raise BadFrame(f"a frame of {len(payload)} bytes is larger than {MAX_FRAME_BYTES}")
    return _LENGTH.pack(len(payload)) + payload


class FrameReader(Generic[M]):
    """Cuts a byte stream into frames and decodes them.

    Args:
        decode: payload → messages; raises msgspec.DecodeError (or its subclass ValidationError) for nonsense.
    """

    __slots__ = ("_buffer", "_decode")

    def __init__(self, decode: Callable[[Any], list[M]]) -> None:
        self._buffer = bytearray()
        self._decode = decode

    def feed(self, data: bytes | memoryview) -> list[M]:
        """Take bytes; return the messages of all frames that are now complete, in order.

        Raises:
            BadFrame: an impossible length or an undecodable payload.
        """
        buffer: bytes | bytearray | memoryview = data
        if self._buffer:
            self._buffer += data
            buffer = self._buffer
        size = len(buffer)
        if size < 4:
            if buffer is not self._buffer:
                self._buffer += data
            return []
        messages: list[M] = []
        at = 0
        with memoryview(buffer) as view:
            while size - at >= 4:
                (length,) = _LENGTH.unpack_from(view, at)
                if length > MAX_FRAME_BYTES:
                    raise BadFrame(f"a frame of {length} bytes is larger than {MAX_FRAME_BYTES}")
                if size - at - 4 < length:
                    break
                try:
                    decoded = self._decode(view[at + 4 : at + 4 + length])
                except msgspec.DecodeError as error:
                    raise BadFrame(f"undecodable frame of {length} bytes: {error}") from None
                if messages:
                    messages += decoded
                else:
                    messages = decoded
                at += 4 + length
        if buffer is self._buffer:
            del self._buffer[:at]
        elif at < size:
            self._buffer += data[at:]
        return messages
