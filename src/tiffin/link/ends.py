"""The worker's end of a link, as the worker sees it.

Owns the protocol that the socket end and the in-process end share; never a thread. Source: docs/architecture.md, "the link".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tiffin.messages.link import LinkMessage, Slot


class LinkClosed(Exception):
    """The other side is gone or broke the protocol."""


class WorkerEnd(Protocol):
    """One connection to an engine."""

    def receive(self) -> list[LinkMessage]:
        """Wait for messages.

        Raises:
            LinkClosed: the engine is gone.
        """
        ...

    def send(self, messages: Sequence[LinkMessage]) -> None:
        """Send messages in order, as one frame; any thread may; waits while the engine is slow.

        Raises:
            LinkClosed: the engine is gone.
        """
        ...

    def body(self, body: bytes | Slot) -> bytes | memoryview:
        """Return a payload; for a Slot a read-only view on the arena, valid until its batch was answered with Ran.

        Raises:
            LinkClosed: the slot lies outside of the arena.
        """
        ...

    def close(self) -> None:
        """Close; a waiting receive raises LinkClosed. Any thread may, more than once."""
        ...
