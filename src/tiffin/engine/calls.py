"""An open call, the lease on its payload, and the way back for a call that a worker made.

Owns nothing beyond one call; the engine owns them all. Times are CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from tiffin.errors import FACTS, Code, Error
from tiffin.link.arena import Arena
from tiffin.messages.link import Data, End, Failure, Reply, Slot
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


class OpenCall:
    """A call that was accepted and has not ended.

    Attributes:
        id: the stream's id on every link. state: the service it is for. origin: who gets the answer.
        worker: who has it now, None while it is queued. attempt: how often it was handed to a worker.
        children: ids of calls that the method made through depends(). parent: id of the call that made this one, 0 for none.
        label: code or "OK" with which the streamed answer will be counted.
    """

    __slots__ = (
        "accept",
        "arrived",
        "attempt",
        "body",
        "children",
        "deadline",
        "id",
        "idempotent",
        "lease",
        "meta",
        "media",
        "method",
        "origin",
        "parent",
        "request_id",
        "root",
        "rows",
        "state",
        "streaming",
        "worker",
    )

    def __init__(
        self,
        id: int,
        state: ServiceState,
        origin: Origin,
        method: int,
        rows: int,
        media: int,
        accept: int,
        body: bytes | Slot,
        arrived: float,
        deadline: float,
        request_id: str,
        root: str,
        meta: dict[str, str],
        idempotent: bool,
        lease: Lease | None = None,
        parent: int = 0,
    ) -> None:
        self.id = id
        self.state = state
        self.origin = origin
        self.method = method
        self.rows = rows
        self.media = media
        self.accept = accept
        self.body = body
        self.arrived = arrived
        self.deadline = deadline
        self.request_id = request_id
        self.root = root
        self.meta = meta
        self.idempotent = idempotent
        self.lease = lease
        self.parent = parent
        self.worker: WorkerHandle | None = None
        self.attempt = 0
        self.streaming = False
        self.children: set[int] | None = None


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


def failure(stream: int, error: Error) -> Failure:
    """Return the message that says `error`."""
    return Failure(
        stream=stream,
        code=str(error.code),
        message=error.message,
        status=error.status,
        retryable=error.retryable,
        retry_after_s=error.retry_after_s or 0.0,
        details=b"" if error.details is None else msgspec.json.encode(error.details),
    )


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


TERMINAL = (Reply, End, Failure)
