"""The engine's end of the links: accepts workers on the Unix socket, checks who they are, moves frames.

Owns the accepted connections; never decides what a message means.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from tiffin.link.arena import Arena
from tiffin.link.frames import BadFrame, FrameReader, decode_link, encode_frame
from tiffin.messages.link import Hello, LinkMessage

_PEER_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
_BUFFER_BYTES = 1_048_576


class LinkHandler(Protocol):
    """Who takes the messages of a link; one handler per worker."""

    def messages(self, messages: list[LinkMessage]) -> None:
        """Take the messages of the frames that have arrived."""
        ...

    def closed(self, reason: str) -> None:
        """The link is gone; no message follows."""
        ...


class EngineLink(Protocol):
    """The engine's end of one link, over a socket or in process."""

    def send(self, messages: Sequence[LinkMessage]) -> None:
        """Send messages as one frame; never blocks; after a close they are dropped."""
        ...

    def close(self, reason: str) -> None:
        """Close; the handler hears `closed`."""
        ...


Greeter = Callable[[EngineLink, Hello], LinkHandler | None]


class SocketEngineLink(asyncio.Protocol):
    """One accepted connection.

    Args:
        greet: called with the first message, Hello; returns who takes the rest, or None to refuse.
    """

    def __init__(self, greet: Greeter) -> None:
        self._greet = greet
        self._reader = FrameReader(decode_link)
        self._transport: asyncio.Transport | None = None
        self._handler: LinkHandler | None = None
        self._reason = "the worker closed the link"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport (asyncio calls this)."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are none by inheritance

    def data_received(self, data: bytes) -> None:
        """Cut frames and hand their messages on (asyncio calls this)."""
        try:
            messages = self._reader.feed(data)
        except BadFrame as error:
            self.close(str(error))
            return
        if not messages:
            return
        if self._handler is None:
            hello = messages[0]
            if not isinstance(hello, Hello):
                self.close(f"expected Hello, got {type(hello).__name__}")
                return
            self._handler = self._greet(self, hello)
            if self._handler is None:
                self.close("refused")
                return
            messages = messages[1:]
        if messages:
            self._handler.messages(messages)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the handler (asyncio calls this)."""
        self._transport = None
        if self._handler is not None:
            handler, self._handler = self._handler, None
            handler.closed(str(exc) if exc else self._reason)

    def send(self, messages: Sequence[LinkMessage]) -> None:
        """See `EngineLink.send`."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode_frame(messages))

    def close(self, reason: str) -> None:
        """See `EngineLink.close`."""
        self._reason = reason
        if self._transport is not None:
            self._transport.abort()


class LinkServer:
    """Accepts workers.

    Args:
        loop: the running loop. fd: the listening Unix socket, inherited from the supervisor. arena: handed to every worker.
        greet: see `SocketEngineLink`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, arena: Arena | None, greet: Greeter) -> None:
        self._loop = loop
        self._arena_fds = [] if arena is None else [arena.fd]
        self._greet = greet
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._tasks: set[asyncio.Task[Any]] = set()
        loop.add_reader(fd, self._accept)

    def close(self) -> None:
        """Stop accepting; links stay."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _address = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
            raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
            if _PEER_CREDENTIALS.unpack(raw)[1] != os.getuid():
                sock.close()  # the folder is 0700; whoever comes past that as another user is refused here
                continue
            try:
                socket.send_fds(sock, [b"\0"], self._arena_fds)
            except OSError:
                sock.close()  # the worker is gone already
                continue
            connecting = self._loop.connect_accepted_socket(lambda: SocketEngineLink(self._greet), sock)
            task = self._loop.create_task(connecting)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
