"""Calls that a method makes to another service through depends(): they enter the engine from a worker, not from the edge.

Owns their ids; the engine owns the calls. Times are CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Protocol

from tiffin.engine.calls import OpenCall, WorkerOrigin, system_failure
from tiffin.engine.fleet import Fleet
from tiffin.engine.generation import ServiceState
from tiffin.engine.worker import WorkerHandle
from tiffin.errors import Code
from tiffin.messages.link import Open

_FIRST_ID = 1 << 62  # far above every edge's


class Books(Protocol):
    """What is needed of the engine."""

    @property
    def fleet(self) -> Fleet:
        """The workers and generations."""
        ...

    @property
    def calls(self) -> Mapping[int, OpenCall]:
        """The open calls."""
        ...


class InnerCalls:
    """See the module."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._ids = count(_FIRST_ID)

    def open(self, handle: WorkerHandle, message: Open, now: float) -> OpenCall | None:
        """Make the call that a worker asks for.

        A child has no more time than its parent, goes first, ends with it, and is idempotent only if both are; a parent whose child
        is not idempotent is not, either, from now on.

        Returns:
            the call, or None when it was refused.
        """
        origin = WorkerOrigin(handle, message.stream)
        state = self._service(handle, message.service)
        if state is None or message.method >= len(state.spec.methods):
            unknown = f"no service {message.service!r} with method {message.method} in this application"
            origin.receive(system_failure(message.stream, Code.UNAVAILABLE, unknown))
            return None
        id = next(self._ids)
        parent = self._books.calls.get(int(message.meta.get("parent", "0")))
        idempotent = state.spec.methods[message.method].idempotent
        deadline = now + message.remaining_s
        if parent is not None:
            if parent.children is None:
                parent.children = set()
            parent.children.add(id)
            deadline = min(deadline, parent.deadline)
            if not idempotent:
                parent.idempotent = False
                parent.state.scheduler.made_outside_call(parent.id)
            idempotent = idempotent and parent.idempotent
        handle.outside[message.stream] = id
        body = message.body
        return OpenCall(
            id,
            state,
            origin,
            message.method,
            message.rows,
            len(body) if isinstance(body, bytes) else body.size,
            message.media,
            message.accept,
            body,
            now,
            deadline,
            message.request_id,
            message.root,
            message.meta,
            idempotent,
            None,
            0 if parent is None else parent.id,
            True,
        )

    def _service(self, handle: WorkerHandle, name: str) -> ServiceState | None:
        generation = self._books.fleet.numbered(handle.hello.generation)
        return None if generation is None else generation.services.get(name)
