"""The awaitable forms of `calls`: for `async def` methods and async generators that call another service.

Owns nothing beyond one waiting call. A cancelled waiter cancels its call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from tiffin.messages.link import Data, End, Media
from tiffin.worker.calls import OutgoingCall, Request
from tiffin.worker.session import Answer, Session


class _Box:
    """Answers on their way from the reader thread to the loop that waits for them."""

    __slots__ = ("_answers", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._answers: asyncio.Queue[Answer] = asyncio.Queue()

    def put(self, answer: Answer) -> None:
        """Deliver; any thread may."""
        try:
            self._loop.call_soon_threadsafe(self._answers.put_nowait, answer)
        except RuntimeError:  # the loop has ended: nobody waits
            pass

    async def get(self) -> Answer:
        """Wait for the next answer."""
        return await self._answers.get()


async def call(session: Session | None, requests: Sequence[Request]) -> list[Any]:
    """Call, wait, and return the values, in order; the first failure cancels the others. Raises what `OutgoingCall` does."""
    waiting: list[tuple[OutgoingCall, _Box]] = []
    try:
        for request in requests:
            box = _Box()
            waiting.append((OutgoingCall(session, request, box.put), box))
        values: list[Any] = []
        for outgoing, box in waiting:
            answer = await box.get()
            outgoing.forget()
            values.append(outgoing.result(answer))
        return values
    finally:
        for outgoing, _box in waiting:
            outgoing.cancel()  # does nothing for those that were answered


async def call_stream(session: Callable[[], Session | None], request: Request) -> AsyncIterator[Any]:
    """Call a generator method and yield its items; the call is made with the first step, as a generator's is."""
    box = _Box()
    outgoing = OutgoingCall(session(), request, box.put)
    try:
        while True:
            answer = await box.get()
            if not isinstance(answer, Data):
                outgoing.forget()
                if not isinstance(answer, End):
                    outgoing.result(answer)
                return
            if answer.data:
                yield request.read(Media.MSGPACK, answer.data)
                outgoing.took(len(answer.data))
    finally:
        outgoing.cancel()
