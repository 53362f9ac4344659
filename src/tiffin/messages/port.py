"""What may cross the wall between edge and engine (the EnginePort), in process or over a socket.

Owns the message structs and the port's two protocols; never keeps a call. Times are CLOCK_MONOTONIC seconds.
From edge to engine: Call, Window, Cancel. From engine to edge: Reply, Data, End, Failure with `stream` = the call's id.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from tiffin.messages.link import Cancel, Data, End, Failure, Reply, Slot, Window


class Call(msgspec.Struct, array_like=True, tag=20):
    """One request as it enters the engine. Fields as in `messages.link.Open`; `deadline` is absolute."""

    id: int
    method: int
    rows: int
    size: int
    media: int
    accept: int
    body: bytes | Slot
    deadline: float
    request_id: str
    meta: dict[str, str] = {}


ToEngine = Call | Window | Cancel
ToEdge = Reply | Data | End | Failure


class EnginePort(Protocol):
    """The engine as the edge sees it."""

    def send(self, message: ToEngine) -> None:
        """Hand over a message; never blocks, never raises for a full queue (the answer is a Failure)."""
        ...


class EdgePort(Protocol):
    """The edge as the engine sees it."""

    def receive(self, message: ToEdge) -> None:
        """Take a message about an open call; one for an unknown id is dropped."""
        ...
