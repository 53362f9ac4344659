"""One request and its response.

Owns what the client sent and how far the answer is; never parses and never routes. The protocol fills it, a handler answers it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tiffin.link.arena import Arena
from tiffin.messages.link import Slot

if TYPE_CHECKING:
    from tiffin.web.protocol import Connection


class Exchange:
    """A request that was read, and the way to answer it.

    Attributes:
        method: as sent ("POST"). target: path and query as sent. headers: (name as sent, value) in order.
        content_type, accept, request_id, timeout_ms, origin, host: the headers that every call is looked at for; b"" if absent.
        body: the whole body; a Slot when it was received into the arena. body_size: its bytes.
        parts: what has arrived of a body that comes in pieces and not into the arena.
        id: request id of the answer. call: the engine's id, 0 where no call was made. started: when its first byte came.
        cors, extra: header lines of the answer. status: of the answer, once it has begun. chunked: the client speaks HTTP/1.1.
        done: the answer is complete.
        on_gone: called once when the client leaves before the answer is complete.
    """

    __slots__ = (
        "accept",
        "arena",
        "body",
        "body_size",
        "call",
        "chunked",
        "connection",
        "content_length",
        "content_type",
        "cors",
        "done",
        "extra",
        "headers",
        "host",
        "id",
        "keep_alive",
        "method",
        "on_gone",
        "origin",
        "parts",
        "request_id",
        "sse",
        "started",
        "status",
        "streaming",
        "target",
        "timeout_ms",
        "unflushed",
    )

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.method = ""
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.content_type = b""
        self.accept = b""
        self.request_id = b""
        self.timeout_ms = b""
        self.origin = b""
        self.host: bytes | None = None
        self.content_length = -1
        self.body: bytes | Slot = b""
        self.body_size = 0
        self.parts: bytearray | None = None
        self.arena: Arena | None = None
        self.id = ""
        self.cors = b""
        self.extra = b""
        self.keep_alive = True
        self.chunked = True
        self.call = 0
        self.started = 0.0
        self.status = 0
        self.streaming = False
        self.sse = False
        self.unflushed = 0
        self.done = False
        self.on_gone: Callable[[Exchange], None] | None = None

    def header(self, name: bytes) -> bytes:
        """Return the first header of that (lower-case) name; b"" if there is none."""
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return b""

    def collect(self, data: bytes) -> None:
        """Take a piece of the body: into the arena where it has a slot there."""
        at = self.body_size
        self.body_size += len(data)
        if self.arena is not None:
            self.arena.write(self.body, at, data)  # type: ignore[arg-type]
        elif at == 0:
            self.body = data
        elif self.parts is None:
            self.parts = bytearray(self.body) + data  # type: ignore[arg-type]
        else:
            self.parts += data

    def complete(self) -> None:
        """Make one body of what was collected."""
        if self.parts is not None:
            self.body = bytes(self.parts)
            self.parts = None

    def view(self) -> bytes | memoryview:
        """Return the body; a view on the arena where it lies there."""
        if isinstance(self.body, Slot) and self.arena is not None:
            return self.arena.view(self.body)
        return self.body if isinstance(self.body, bytes) else b""

    def release(self) -> None:
        """Give an arena slot back that no call took over."""
        if isinstance(self.body, Slot) and self.arena is not None:
            self.arena.free(self.body)
        self.body = b""
        self.parts = None
