"""The worker's end of a Unix-socket link: blocking, one reader thread, any number of writers.

Owns the socket and the arena view; never reconnects (the worker does).
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence

from tiffin.link.arena import ArenaView
from tiffin.link.ends import LinkClosed
from tiffin.link.frames import BadFrame, FrameReader, decode_link, encode_frame
from tiffin.messages.link import PROTOCOL, Hello, LinkMessage, Slot, Welcome

_CHUNK_BYTES = 262_144
_BUFFER_BYTES = 1_048_576


class SocketWorkerEnd:
    """A `WorkerEnd` over a connected Unix socket; make it with `connect_worker`."""

    def __init__(self, sock: socket.socket, arena_fd: int | None) -> None:
        self._socket = sock
        self._arena_fd = arena_fd
        self._arena: ArenaView | None = None
        self._reader = FrameReader(decode_link)
        self._chunk = bytearray(_CHUNK_BYTES)
        self._chunk_view = memoryview(self._chunk)
        self._write_lock = threading.Lock()

    def map_arena(self, size: int) -> None:
        """Map the arena whose descriptor came with the first byte.

        Raises:
            LinkClosed: there is none, or it is not as said.
        """
        if size and self._arena_fd is not None:
            try:
                self._arena = ArenaView(self._arena_fd, size)
            except (OSError, ValueError) as error:
                raise LinkClosed(f"the shared arena cannot be used: {error}") from error
            finally:
                self._arena_fd = None

    def receive(self) -> list[LinkMessage]:
        """See `WorkerEnd.receive`."""
        while True:
            try:
                size = self._socket.recv_into(self._chunk)
            except OSError as error:
                raise LinkClosed(f"the link broke: {error}") from error
            if not size:
                raise LinkClosed("the engine closed the link")
            try:
                messages = self._reader.feed(self._chunk_view[:size])
            except BadFrame as error:
                raise LinkClosed(str(error)) from error
            if messages:
                return messages

    def send(self, messages: Sequence[LinkMessage]) -> None:
        """See `WorkerEnd.send`."""
        frame = encode_frame(messages)
        try:
            with self._write_lock:
                self._socket.sendall(frame)
        except OSError as error:
            raise LinkClosed(f"the link broke: {error}") from error

    def body(self, body: bytes | Slot) -> bytes | memoryview:
        """See `WorkerEnd.body`."""
        if isinstance(body, bytes):
            return body
        if self._arena is None:
            raise LinkClosed(f"{body} on a link without an arena")
        try:
            return self._arena.body(body)
        except ValueError as error:
            raise LinkClosed(str(error)) from error

    def close(self) -> None:
        """See `WorkerEnd.close`."""
        if self._arena_fd is not None:
            os.close(self._arena_fd)
            self._arena_fd = None
        try:
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits in receive; close alone does not
        except OSError:
            pass
        self._socket.close()


def connect_worker(path: str, hello: Hello) -> tuple[SocketWorkerEnd, Welcome]:
    """Connect to the engine's Unix socket and shake hands.

    Args:
        path: of the listening socket; it belongs to the supervisor, so a connection waits there while a front restarts.
        hello: who this worker is.

    Raises:
        LinkClosed: nobody listens, the engine refused this worker, or speaks another protocol version.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.connect(path)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        first, fds, _flags, _address = socket.recv_fds(sock, 1, 1)
    except OSError as error:
        sock.close()
        raise LinkClosed(f"no engine at {path}: {error}") from error
    if not first:
        sock.close()
        raise LinkClosed("the engine closed the link at once")
    end = SocketWorkerEnd(sock, fds[0] if fds else None)
    try:
        end.send([hello])
        messages = end.receive()
        welcome = messages[0]
        if not isinstance(welcome, Welcome) or len(messages) != 1:
            raise LinkClosed(f"expected Welcome, got {messages!r:.100}")
        if welcome.protocol != PROTOCOL:
            raise LinkClosed(f"the engine speaks link protocol {welcome.protocol}, this worker {PROTOCOL}")
        end.map_arena(welcome.arena_size)
    except LinkClosed:
        end.close()
        raise
    return end, welcome
