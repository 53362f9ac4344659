"""The control channel between supervisor and front, as the supervisor holds it.

Owns its end of the socket pair and what could not be sent yet; never blocks. A frame is one message: a little-endian u32 with the
size, then MessagePack.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import msgspec

from tiffin.link.frames import BadFrame, FrameReader
from tiffin.messages.control import ToFront, ToSupervisor
from tiffin.server.loop import Loop

_READ_BYTES = 65_536


class Channel:
    """Sends and receives messages.

    Args:
        loop: calls back. sock: our end. on_message: gets every message. on_closed: the other end is gone, or speaks nonsense (then
            with the reason).
    """

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        on_message: Callable[[ToSupervisor], None],
        on_closed: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._socket = sock
        self._on_message = on_message
        self._on_closed = on_closed
        self._encode = msgspec.msgpack.Encoder().encode
        decode = msgspec.msgpack.Decoder(ToSupervisor).decode
        self._reader: FrameReader[ToSupervisor] = FrameReader(lambda payload: [decode(payload)])
        self._unsent = bytearray()
        self._open = True
        sock.setblocking(False)
        loop.watch(sock.fileno(), self._readable)

    def send(self, message: ToFront) -> None:
        """Send a message, or keep it until the front reads again; dropped when the channel is closed."""
        if not self._open:
            return
        payload = self._encode(message)
        self._unsent += len(payload).to_bytes(4, "little") + payload
        self._flush()

    def close(self) -> None:
        """Close our end: the front takes that as its end."""
        if self._open:
            self._open = False
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()

    def _flush(self) -> None:
        try:
            while self._unsent:
                sent = self._socket.send(self._unsent)
                del self._unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:
            return  # the reading side sees the end too, and says so
        self._loop.watch(self._socket.fileno(), self._readable, self._flush if self._unsent else None)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost("")
            return
        try:
            messages = self._reader.feed(data)
        except BadFrame as error:
            self._lost(str(error))
            return
        for message in messages:
            if self._open:
                self._on_message(message)

    def _lost(self, reason: str) -> None:
        self.close()
        self._on_closed(reason)
