"""The awaitable forms of `calls`: for `async def` methods and async generators that call another service.

Owns nothing beyond one waiting call. A cancelled waiter cancels its call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
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


async def call(session: Session | None, request: Request) -> Any:
    """Call, wait, and return the value; see `OutgoingCall` for what it raises."""
    box = _Box()
    outgoing = OutgoingCall(session, request, box.put)
    try:
        return outgoing.result(await box.get())
    except BaseException:
        outgoing.cancel()
        raise
    finally:
        outgoing.forget()


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
