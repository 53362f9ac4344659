"""The in-process link: both ends in one process, the worker on threads of its own, messages handed over as they are.

Owns a queue and a pair of ends; never encodes. What it lacks: no isolation, no kill, no arena.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Sequence

from tiffin.link.ends import LinkClosed
from tiffin.link.front_end import Greeter, LinkHandler
from tiffin.messages.link import Hello, LinkMessage, Slot, Welcome


class InlineEngineLink:
    """The engine's end; see `EngineLink`. Lives on the loop's thread."""

    def __init__(self, to_worker: queue.SimpleQueue[list[LinkMessage] | None]) -> None:
        self._to_worker = to_worker
        self.handler: LinkHandler | None = None

    def send(self, messages: Sequence[LinkMessage]) -> None:
        """See `EngineLink.send`."""
        self._to_worker.put(list(messages))

    def poll(self) -> None:
        """See `EngineLink.poll`: messages come by themselves."""

    def close(self, reason: str) -> None:
        """See `EngineLink.close`."""
        handler, self.handler = self.handler, None
        self._to_worker.put(None)
        if handler is not None:
            handler.closed(reason)

    def receive(self, messages: list[LinkMessage]) -> None:
        """Take what the worker sent."""
        if self.handler is not None:
            self.handler.messages(messages)


class InlineWorkerEnd:
    """The worker's end; see `WorkerEnd`.

    Args:
        loop: the engine's. link: the other end. inbox: messages from there; None closes.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        link: InlineEngineLink,
        inbox: queue.SimpleQueue[list[LinkMessage] | None],
    ) -> None:
        self._loop = loop
        self._link = link
        self._inbox = inbox
        self._closed = False

    def receive(self) -> list[LinkMessage]:
        """See `WorkerEnd.receive`."""
        messages = None if self._closed else self._inbox.get()
        if messages is None:
            self._closed = True
            raise LinkClosed("the engine closed the link")
        return messages

    def send(self, messages: Sequence[LinkMessage]) -> None:
        """See `WorkerEnd.send`."""
        if self._closed:
            raise LinkClosed("the engine closed the link")
        try:
            self._loop.call_soon_threadsafe(self._link.receive, list(messages))
        except RuntimeError as error:  # the loop is closed
            raise LinkClosed("the engine is gone") from error

    def body(self, body: bytes | Slot) -> bytes | memoryview:
        """See `WorkerEnd.body`."""
        if isinstance(body, Slot):
            raise LinkClosed(f"{body} on a link without an arena")
        return body

    def close(self) -> None:
        """See `WorkerEnd.close`."""
        self._closed = True
        self._inbox.put(None)


def connect_inline(loop: asyncio.AbstractEventLoop, greet: Greeter, hello: Hello) -> tuple[InlineWorkerEnd, Welcome]:
    """Make a link in this process; call it on the loop's thread.

    Raises:
        LinkClosed: the engine refused.
    """
    inbox: queue.SimpleQueue[list[LinkMessage] | None] = queue.SimpleQueue()
    link = InlineEngineLink(inbox)
    link.handler = greet(link, hello)
    if link.handler is None:
        raise LinkClosed("the engine refused this worker")
    end = InlineWorkerEnd(loop, link, inbox)
    (welcome,) = end.receive()
    if not isinstance(welcome, Welcome):
        raise LinkClosed(f"expected Welcome, got {welcome!r:.100}")
    return end, welcome
