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

PARENT_ENDED = "the call that made this call has ended"
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
        is not idempotent is not, either, from now on. All calls of a joined run are parents: the child lives as long as one does.

        Returns:
            the call, or None when it was refused.
        """
        origin = WorkerOrigin(handle, message.stream)
        state = self._service(handle, message.service)
        if state is None or message.method >= len(state.spec.methods):
            unknown = f"no service {message.service!r} with method {message.method} in this application"
            origin.receive(system_failure(message.stream, Code.UNAVAILABLE, unknown))
            return None
        calls = self._books.calls
        named = message.meta.get("parent") or message.meta.get("parents") or ""
        parents = [call for call in (calls.get(int(id)) for id in named.split(",") if id) if call is not None]
        if named and not parents:
            origin.receive(system_failure(message.stream, Code.CANCELLED, PARENT_ENDED))
            return None
        id = next(self._ids)
        own = state.spec.methods[message.method].idempotent
        idempotent = own and message.idempotent and all(parent.idempotent for parent in parents)
        deadline = now + message.remaining_s
        if parents:
            deadline = min(deadline, max(parent.deadline for parent in parents))
        for parent in parents:
            if parent.children is None:
                parent.children = set()
            parent.children.add(id)
            if not own:
                parent.idempotent = False
                parent.state.scheduler.made_outside_call(parent.id)
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
            tuple(parent.id for parent in parents),
            True,
        )

    def _service(self, handle: WorkerHandle, name: str) -> ServiceState | None:
        generation = self._books.fleet.numbered(handle.hello.generation)
        return None if generation is None else generation.services.get(name)
