"""How `tiffin.depends` calls in a worker: the `Caller` that goes through the engine.

Owns one codec per called method; a call itself is `calls` or `async_calls`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from tiffin.service.depends import Callee
from tiffin.worker import calls
from tiffin.worker.outgoing import Outgoing
from tiffin.worker.session import Session


class LinkCaller:
    """See the module; implements `service.depends.Caller`.

    Args:
        session: returns the link's session, None while there is no link.
    """

    def __init__(self, session: Callable[[], Session | None]) -> None:
        self._session = session
        self._methods: dict[tuple[str, int], Outgoing] = {}

    def _outgoing(self, callee: Callee) -> Outgoing:
        key = (callee.service, callee.index)
        known = self._methods.get(key)
        if known is None:
            known = self._methods[key] = Outgoing(callee)
        return known

    def call(self, callee: Callee, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `Caller.call`."""
        outgoing = self._outgoing(callee)
        return outgoing.result(calls.call(self._session(), outgoing.requests(args, kwargs)))

    async def call_async(self, callee: Callee, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `Caller.call_async`."""
        from tiffin.worker import async_calls  # asyncio is loaded: this is a coroutine

        outgoing = self._outgoing(callee)
        return outgoing.result(await async_calls.call(self._session(), outgoing.requests(args, kwargs)))

    def stream(self, callee: Callee, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Any]:
        """See `Caller.stream`."""
        (request,) = self._outgoing(callee).requests(args, kwargs)
        return calls.call_stream(self._session, request)

    def stream_async(self, callee: Callee, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncIterator[Any]:
        """See `Caller.stream_async`."""
        from tiffin.worker import async_calls  # asyncio is loaded: this is called on its loop

        (request,) = self._outgoing(callee).requests(args, kwargs)
        return async_calls.call_stream(self._session, request)
