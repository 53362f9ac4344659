"""An open call, the lease on its payload, and the way back for a call that a worker made.

Owns nothing beyond one call; the engine owns them all. Times are CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from tiffin.errors import FACTS, Code
from tiffin.link.arena import Arena
from tiffin.messages.link import Data, Failure, Slot
from tiffin.messages.port import ToEdge

if TYPE_CHECKING:
    from tiffin.engine.generation import ServiceState
    from tiffin.engine.worker import WorkerHandle


class Origin(Protocol):
    """Where a call came from, and where its answer goes: an edge or a worker."""

    def receive(self, message: ToEdge) -> None:
        """Take a message about an open call."""
        ...


class Lease:
    """Holds a slot of the arena until the call is over and no worker can be reading it."""

    __slots__ = ("_arena", "_holders", "_slot")

    def __init__(self, arena: Arena, slot: Slot) -> None:
        self._arena = arena
        self._slot = slot
        self._holders = 1

    def hold(self) -> None:
        """Count one more holder: a batch that a worker has."""
        self._holders += 1

    def release(self) -> None:
        """Count one less; the last one frees the slot."""
        self._holders -= 1
        if not self._holders:
            self._arena.free(self._slot)


class OpenCall(msgspec.Struct, eq=False):
    """A call that was accepted and has not ended.

    Attributes:
        id: the stream's id on every link. state: the service it is for. origin: who gets the answer.
        method, rows, media, accept, body, request_id, root, meta, idempotent: as in `messages.link.Open`. size: bytes of the body.
        arrived, deadline: when. lease: what keeps the body in the arena, None where it is not there.
        parents: ids of the calls whose joined run made this one through depends(); it ends with the last of them.
        inner: it was made through depends().
        worker: who has it now, None while it is queued. attempt: how often it was handed to a worker.
        streaming: its first piece was sent. children: ids of calls that its method made.
    """

    id: int
    state: ServiceState
    origin: Origin
    method: int
    rows: int
    size: int
    media: int
    accept: int
    body: bytes | Slot
    arrived: float
    deadline: float
    request_id: str
    root: str
    meta: dict[str, str]
    idempotent: bool
    lease: Lease | None = None
    parents: tuple[int, ...] = ()
    inner: bool = False
    worker: WorkerHandle | None = None
    attempt: int = 0
    streaming: bool = False
    children: set[int] | None = None


class WorkerOrigin:
    """The way back for a call that a worker's method made through depends()."""

    __slots__ = ("_handle", "_stream")

    def __init__(self, handle: WorkerHandle, stream: int) -> None:
        self._handle = handle
        self._stream = stream

    def receive(self, message: ToEdge) -> None:
        """Send the message to the worker, under the worker's own stream id."""
        message.stream = self._stream
        if not isinstance(message, Data):
            self._handle.outside.pop(self._stream, None)
        self._handle.link.send([message])


def system_failure(stream: int, code: Code, message: str, retry_after_s: float = 0.0) -> Failure:
    """Return the message for a failure that the system itself reports."""
    facts = FACTS[code]
    return Failure(
        stream=stream,
        code=code.value,
        message=message,
        status=facts.status,
        retryable=facts.retryable,
        retry_after_s=retry_after_s,
    )
