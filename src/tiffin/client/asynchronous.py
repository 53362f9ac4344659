"""`tiffin.AsyncHTTPClient`: calls that are awaited, on asyncio.

Owns the connections and the waiting; what is sent, whether it is sent again and what an answer means is decided elsewhere in this
room. Times in seconds.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import random
import time
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from msgspec import UNSET, UnsetType

from tiffin.client import failures, request
from tiffin.client.arguments import bind
from tiffin.client.decode import UnreadableError, unreadable
from tiffin.client.request import Answer, Deadline, Prepared
from tiffin.client.retry import Failure, Reached, next_delay
from tiffin.client.schema import MethodSchema, ServiceSchema, not_a_server, read_given, read_schema
from tiffin.errors import Error

_POLL_S = 0.2
_T = TypeVar("_T")


class AsyncHTTPClient:
    """Calls a served application: ``async with AsyncHTTPClient(url) as client: await client.predict(images=array)``.

    A method that streams gives its items: ``async for item in client.tokens(n=3)``.

    Args:
        url, timeout, token, headers, retries, server_ready_timeout, schema, pictures: as for `SyncHTTPClient`.
        transport: another way to the server, for tests: `httpx.ASGITransport`, for example.

    Raises:
        UsageError: an address or an option that cannot be meant.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float | UnsetType | None = UNSET,
        token: str = "",
        headers: Mapping[str, str] | None = None,
        retries: int = 2,
        server_ready_timeout: float | None = None,
        schema: ServiceSchema | Mapping[str, Any] | bytes | str | None = None,
        pictures: bool = False,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = request.base_url(url)
        self._options = request.make_options(
            timeout=timeout, token=token, headers=headers, retries=retries, pictures=pictures
        )
        self._ready_s = server_ready_timeout
        self._schema = None if schema is None else read_given(schema)
        self._fetching: asyncio.Lock | None = None
        self._http = httpx.AsyncClient(transport=transport, trust_env=request.by_proxy(self.url))
        self._sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __getattr__(self, name: str) -> Callable[..., AsyncCall]:
        if name.startswith("_"):  # copy, pickle and debuggers ask for such names, and a service has none
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        if self._schema is not None:
            self._schema.find(name)  # a wrong name is said here where it can be

        def bound(*positional: Any, **named: Any) -> AsyncCall:
            return AsyncCall(self, name, positional, named)

        bound.__name__ = name
        return bound

    def __dir__(self) -> list[str]:
        known = [] if self._schema is None else [method.name for method in self._schema.methods]
        return [*super().__dir__(), *known]

    async def close(self) -> None:
        """Close the connections; clients made by `with_options` share them."""
        await self._http.aclose()

    def with_options(self, **changes: Any) -> Self:
        """Return a client on the same connections with another timeout, token, headers, retries or pictures."""
        other = copy.copy(self)
        other._options = request.changed(self._options, changes)
        return other

    async def schema(self) -> ServiceSchema:
        """Return what the server says of itself; fetched when it is first needed.

        Raises:
            Error: the server cannot be reached, or is none of Tiffin's.
        """
        if self._schema is None:
            if self._fetching is None:
                self._fetching = asyncio.Lock()
            async with self._fetching:  # the first calls of many come together; one fetch is enough
                if self._schema is None:
                    self._schema = await self._fetch_schema()
        return self._schema

    async def _fetch_schema(self) -> ServiceSchema:
        await self.wait_until_ready(self._ready_s)
        prepared = request.page(self.url, "/schema.json", self._options)
        try:
            return read_schema(bytes((await self._send(prepared)).body), prepared.url)
        except Error as error:
            raise (not_a_server(self.url) if error.status == 404 else error) from error

    def call(self, method: str, /, *positional: Any, **named: Any) -> AsyncCall:
        """Call a method by its name, for those whose names the client itself has; all else as `SyncHTTPClient.call`."""
        return AsyncCall(self, method, positional, named)

    async def call_raw(self, method: str, arguments: Mapping[str, Any], *, accept: str = "") -> Answer:
        """Call a method and return the answer as it came; of a stream, all of it.

        Args:
            method: name. arguments: by name. accept: media type to ask for, "" for the one that loses nothing.

        Raises:
            Error, AttributeError, TypeError: as `call`.
        """
        return await self._send(await self._prepare(method, (), arguments, accept))

    async def is_ready(self, timeout: float = 1.0) -> bool:
        """Say whether the server takes calls now."""
        return await self._not_ready(timeout) == ""

    async def wait_until_ready(self, timeout: float | None) -> None:
        """Wait until the server takes calls; None and 0 do not wait.

        Raises:
            Error: UNAVAILABLE: it does not within `timeout` seconds.
        """
        deadline = Deadline(timeout or 0.0, time.monotonic)
        while timeout and (reason := await self._not_ready(max(deadline.remaining() or 0.0, 0.01))):
            if deadline.over:
                raise failures.not_ready(self.url, timeout, reason)
            await self._sleep(min(_POLL_S, max(deadline.remaining() or 0.0, 0.0)))

    # -- sending ---------------------------------------------------------------------------------------------------------

    async def _not_ready(self, timeout_s: float) -> str:
        """Return why the server takes no calls, "" where it does."""
        prepared = request.page(self.url, "/readyz", self._options)
        found = await self._attempt(prepared, Deadline(timeout_s, time.monotonic), _whole)
        return found.error.message if isinstance(found, Failure) else ""

    async def _prepare(
        self, name: str, positional: tuple[Any, ...], named: Mapping[str, Any], accept: str = ""
    ) -> Prepared:
        schema = await self.schema()
        method: MethodSchema = schema.find(name)
        return request.prepare(self.url, schema, method, bind(method, positional, named), self._options, accept)

    async def _call(self, name: str, positional: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        prepared = await self._prepare(name, positional, named)
        if prepared.method is not None and prepared.method.streams:
            deadline = self._deadline(prepared)
            response = await self._repeat(prepared, deadline, _untouched)
            items = _read(response, prepared, deadline)
            await anext(items)  # begun, so that a stream which nobody reads is closed when it is dropped
            return AsyncStream(response, items)
        return request.value_of(prepared, await self._send(prepared), self._options)

    async def _send(self, prepared: Prepared) -> Answer:
        return await self._repeat(prepared, self._deadline(prepared), _whole)

    def _deadline(self, prepared: Prepared) -> Deadline:
        return Deadline(request.timeout_of(self._options, prepared.method), time.monotonic)

    async def _repeat(
        self, prepared: Prepared, deadline: Deadline, read: Callable[[httpx.Response], Awaitable[_T]]
    ) -> _T:
        """Send until an answer is good or a failure is final.

        Raises:
            Error: the last attempt's.
        """
        for attempt in itertools.count(1):
            found = await self._attempt(prepared, deadline, read)
            if not isinstance(found, Failure):
                return found
            delay_s = next_delay(
                self._options.retry,
                found,
                attempt=attempt,
                idempotent=prepared.idempotent,
                remaining_s=deadline.remaining(),
                chance=random.random(),
            )
            if delay_s is None:
                raise request.final(found.error, attempt)
            await self._sleep(delay_s)
        raise AssertionError("the loop above ends by itself")

    async def _attempt(
        self, prepared: Prepared, deadline: Deadline, read: Callable[[httpx.Response], Awaitable[_T]]
    ) -> _T | Failure:
        remaining_s = deadline.remaining()
        try:
            async with asyncio.timeout(remaining_s):
                response = await self._http.send(
                    self._http.build_request(
                        prepared.verb,
                        prepared.url,
                        content=_content(prepared),
                        headers=request.headers_now(prepared, remaining_s),
                        timeout=request.timeouts(remaining_s),
                    ),
                    stream=True,
                )
                if response.is_success:
                    return await read(response)
                answer = await _whole(response)
                return failures.from_answer(response.status_code, answer.headers, answer.body, prepared.call)
        except TimeoutError:
            return Failure(failures.deadline(prepared.call, "the answer was not complete"), Reached.SENT)
        except httpx.HTTPError as error:
            return failures.from_transport(
                error, prepared.call, origin=self.url, idempotent=prepared.idempotent, late=deadline.over
            )


class AsyncCall:
    """A call that begins when it is awaited, or, of a method that streams, when its items are asked for.

    ``await`` gives the result, of a method that streams an `AsyncStream`; ``async for`` gives a stream's items.
    """

    def __init__(
        self, client: AsyncHTTPClient, name: str, positional: tuple[Any, ...], named: Mapping[str, Any]
    ) -> None:
        self._client = client
        self._name = name
        self._positional = positional
        self._named = named
        self._begun = False

    def __await__(self) -> Generator[Any, None, Any]:
        self._begun = True
        return self._client._call(self._name, self._positional, self._named).__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        found = await self
        if not isinstance(found, AsyncStream):
            raise TypeError(f"{self._name}() gives no stream: await it")
        async with found:
            async for item in found:
                yield item

    def __del__(self) -> None:
        if not self._begun:
            warnings.warn(f"the call of {self._name}() was never awaited, so nothing was sent", RuntimeWarning, 2)


class AsyncStream(AsyncIterator[Any]):
    """The items of a stream, as they arrive. Closing it, or dropping it, lets the server stop.

    Attributes:
        request_id: under which the server's log knows the call.
    """

    def __init__(self, response: httpx.Response, items: AsyncGenerator[Any, None]) -> None:
        self.request_id: str = response.headers.get("x-request-id", "")
        self._items = items

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def __anext__(self) -> Any:
        """Return the next item.

        Raises:
            Error: the method failed in its midst, the stream broke off, or the call's time is over.
        """
        return await anext(self._items)

    async def close(self) -> None:
        """Stop reading; the server hears that nobody does any more."""
        await self._items.aclose()


def _content(prepared: Prepared) -> bytes | AsyncIterator[bytes] | None:
    if not prepared.pieces:
        return None
    small = request.small_body(prepared)
    return _pieces(prepared) if small is None else small


async def _pieces(prepared: Prepared) -> AsyncIterator[bytes]:
    """Yield a large body piece by piece; files are read in a thread, so that a slow disk holds nobody up."""
    chunks = request.body_chunks(prepared)
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk


async def _whole(response: httpx.Response) -> Answer:
    body = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            body += chunk
    finally:
        await response.aclose()
    return Answer(body, response.headers.get("content-type", ""), dict(response.headers), response.status_code)


async def _untouched(response: httpx.Response) -> httpx.Response:
    return response


async def _read(response: httpx.Response, prepared: Prepared, deadline: Deadline) -> AsyncGenerator[Any, None]:
    """Yield None at once, then the items.

    No method of the stream: it would hold on to the stream, which then could not be dropped.
    """
    request_id = response.headers.get("x-request-id", "")
    items = request.items_of(prepared, response.headers)
    chunks = response.aiter_bytes()
    try:
        yield None
        while True:
            try:
                # For each piece alone: a limit around a `yield` would count the caller's time, in the caller's task.
                async with asyncio.timeout(deadline.remaining()):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                break
            for item in items.feed(chunk):
                yield item
        for item in items.end():
            yield item
    except TimeoutError as error:
        raise failures.deadline(prepared.call, "the stream was not at its end") from error
    except UnreadableError as error:
        raise unreadable(prepared.call, error, request_id) from error
    except httpx.HTTPError as error:
        raise failures.broken_stream(error, prepared.call, late=deadline.over, request_id=request_id) from error
    finally:
        await response.aclose()
