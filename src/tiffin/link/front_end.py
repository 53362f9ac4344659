"""The engine's end of the links: accepts workers on the Unix socket, checks who they are, moves frames.

Owns the accepted connections; never decides what a message means.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from tiffin.link.arena import Arena
from tiffin.link.frames import BadFrame, FrameReader, decode_link, encode_frame
from tiffin.messages.link import Hello, LinkMessage

_PEER_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
_BUFFER_BYTES = 1_048_576
_CHUNK_BYTES = 262_144
_RETRY_S = 0.5


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

    def poll(self) -> None:
        """Take what has arrived, now; never blocks."""
        ...

    def close(self, reason: str) -> None:
        """Close; the handler hears `closed`."""
        ...


Greeter = Callable[[EngineLink, Hello], LinkHandler | None]


class SocketEngineLink:
    """One accepted connection; reads and writes its socket itself, so that the engine can look for answers at any time.

    Args:
        loop: says when the socket is ready. sock: accepted, not blocking.
        greet: called with the first message, Hello; returns who takes the rest, or None to refuse.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, greet: Greeter) -> None:
        self._loop = loop
        self._socket: socket.socket | None = sock
        self._fd = sock.fileno()
        self._greet = greet
        self._reader = FrameReader(decode_link)
        self._chunk = bytearray(_CHUNK_BYTES)
        self._view = memoryview(self._chunk)
        self._unsent: deque[memoryview] = deque()
        self._handler: LinkHandler | None = None
        self._taking = False
        loop.add_reader(self._fd, self.poll)

    def poll(self) -> None:
        """See `EngineLink.poll`."""
        if self._socket is None or self._taking:
            return
        try:
            size = self._socket.recv_into(self._chunk)
            messages = self._reader.feed(self._view[:size])
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, BadFrame) as error:
            self.close(str(error))
            return
        if not size:
            self.close("the worker closed the link")
        elif messages:
            self._taking = True  # who takes them may look for more: those wait until these are taken, in order
            try:
                self._take(messages)
            finally:
                self._taking = False

    def _take(self, messages: list[LinkMessage]) -> None:
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

    def send(self, messages: Sequence[LinkMessage]) -> None:
        """See `EngineLink.send`."""
        if self._socket is None:
            return
        frame = encode_frame(messages)
        if not self._unsent:
            try:
                sent = self._socket.send(frame)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                return  # the reading side tells why
            if sent == len(frame):
                return
            self._loop.add_writer(self._fd, self._send_rest)
            frame = frame[sent:]
        self._unsent.append(memoryview(frame))

    def _send_rest(self) -> None:
        while self._unsent and self._socket is not None:
            rest = self._unsent[0]
            try:
                sent = self._socket.send(rest)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._unsent.clear()
                break
            if sent == len(rest):
                self._unsent.popleft()
            else:
                self._unsent[0] = rest[sent:]
        self._loop.remove_writer(self._fd)

    def close(self, reason: str) -> None:
        """See `EngineLink.close`."""
        if self._socket is None:
            return
        sock, self._socket = self._socket, None
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._unsent.clear()
        sock.close()
        handler, self._handler = self._handler, None
        if handler is not None:
            # Not within the caller's own work: it may be about to forget this link itself.
            self._loop.call_soon(handler.closed, reason)


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
        self._listen()

    def _listen(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket.fileno(), self._accept)

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
            except OSError:  # no descriptor is left: the worker waits in the kernel's queue meanwhile
                self._loop.remove_reader(self._socket.fileno())
                self._loop.call_later(_RETRY_S, self._listen)
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
            SocketEngineLink(self._loop, sock, self._greet)
