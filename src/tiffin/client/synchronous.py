"""`tiffin.SyncHTTPClient`: calls that wait.

Owns the connections and the waiting; what is sent, whether it is sent again and what an answer means is decided elsewhere in this
room. Times in seconds.
"""

from __future__ import annotations

import copy
import itertools
import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from msgspec import UNSET, UnsetType

from tiffin.client import failures, request
from tiffin.client.arguments import bind, signature
from tiffin.client.decode import UnreadableError, unreadable
from tiffin.client.request import Answer, Deadline, Prepared
from tiffin.client.retry import Failure, Reached, next_delay
from tiffin.client.schema import MethodSchema, ServiceSchema, not_a_server, read_given, read_schema
from tiffin.errors import Error

_POLL_S = 0.2
_T = TypeVar("_T")


class SyncHTTPClient:
    """Calls a served application: ``with SyncHTTPClient("http://127.0.0.1:3000") as client: client.predict(images=array)``.

    The methods are the service's, read from /schema.json at the first use. Safe to use from several threads.

    Args:
        url: address of the server, with its path prefix if it has one.
        timeout: of a call in all, further attempts included; by default the method's own deadline, or 60; None for no limit here.
        token: goes as ``Authorization: Bearer …``. headers: go with every request.
        retries: further attempts where a failure is worth one; 0 for none.
        server_ready_timeout: wait so long for the server to become ready before the first call; None does not wait.
        schema: the service's /schema.json, so that it is not fetched.
        pictures: give images as `PIL.Image` where Pillow is installed, else bytes.
        transport: another way to the server, for tests: `httpx.MockTransport`, for example.

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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = request.base_url(url)
        self._options = request.make_options(
            timeout=timeout, token=token, headers=headers, retries=retries, pictures=pictures
        )
        self._ready_s = server_ready_timeout
        self._schema = None if schema is None else read_given(schema)
        self._http = httpx.Client(transport=transport, trust_env=request.by_proxy(self.url))
        self._sleep: Callable[[float], None] = time.sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):  # copy, pickle and debuggers ask for such names, and a service has none
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        method = self.schema.find(name)

        def bound(*positional: Any, **named: Any) -> Any:
            return self._call(method, bind(method, positional, named))

        bound.__name__, bound.__doc__ = name, method.doc
        bound.__signature__ = signature(method)  # type: ignore[attr-defined]
        return bound

    def __dir__(self) -> list[str]:
        known = [] if self._schema is None else [method.name for method in self._schema.methods]
        return [*super().__dir__(), *known]

    def close(self) -> None:
        """Close the connections; clients made by `with_options` share them."""
        self._http.close()

    def with_options(self, **changes: Any) -> Self:
        """Return a client on the same connections with another timeout, token, headers, retries or pictures."""
        other = copy.copy(self)
        other._options = request.changed(self._options, changes)
        return other

    @property
    def schema(self) -> ServiceSchema:
        """What the server says of itself; fetched when it is first needed.

        Raises:
            Error: the server cannot be reached, or is none of Tiffin's.
        """
        if self._schema is None:
            self.wait_until_ready(self._ready_s)
            prepared = request.page(self.url, "/schema.json", self._options)
            try:
                self._schema = read_schema(bytes(self._send(prepared).body), prepared.url)
            except Error as error:
                raise (not_a_server(self.url) if error.status == 404 else error) from error
        return self._schema

    def call(self, method: str, /, *positional: Any, **named: Any) -> Any:
        """Call a method by its name, for those whose names the client itself has.

        Args:
            method: name. positional, named: its arguments; those that are `msgspec.UNSET` are left out.

        Returns:
            The result, for a method that streams a `Stream` of its items.

        Raises:
            Error: the call failed; code, status, details, retryable and request_id say how.
            AttributeError: the service has no such method. TypeError: arguments that it does not take, or that cannot be sent.
        """
        found = self.schema.find(method)
        return self._call(found, bind(found, positional, named))

    def call_raw(self, method: str, arguments: Mapping[str, Any], *, accept: str = "") -> Answer:
        """Call a method and return the answer as it came; of a stream, all of it.

        Args:
            method: name. arguments: by name. accept: media type to ask for, "" for the one that loses nothing.

        Raises:
            Error, AttributeError, TypeError: as `call`.
        """
        found = self.schema.find(method)
        return self._send(
            request.prepare(self.url, self.schema, found, bind(found, (), arguments), self._options, accept)
        )

    def is_ready(self, timeout: float = 1.0) -> bool:
        """Say whether the server takes calls now."""
        return self._not_ready(timeout) == ""

    def wait_until_ready(self, timeout: float | None) -> None:
        """Wait until the server takes calls; None and 0 do not wait.

        Raises:
            Error: UNAVAILABLE: it does not within `timeout` seconds.
        """
        deadline = Deadline(timeout or 0.0, time.monotonic)
        while timeout and (reason := self._not_ready(max(deadline.remaining() or 0.0, 0.01))):
            if deadline.over:
                raise failures.not_ready(self.url, timeout, reason)
            self._sleep(min(_POLL_S, max(deadline.remaining() or 0.0, 0.0)))

    # -- sending ---------------------------------------------------------------------------------------------------------

    def _not_ready(self, timeout_s: float) -> str:
        """Return why the server takes no calls, "" where it does."""
        prepared = request.page(self.url, "/readyz", self._options)
        found = self._attempt(prepared, Deadline(timeout_s, time.monotonic), self._whole)
        return found.error.message if isinstance(found, Failure) else ""

    def _call(self, method: MethodSchema, arguments: Mapping[str, Any]) -> Any:
        prepared = request.prepare(self.url, self.schema, method, arguments, self._options)
        if method.streams:
            deadline = self._deadline(prepared)
            return Stream(self._repeat(prepared, deadline, lambda response, _deadline: response), prepared, deadline)
        return request.value_of(prepared, self._send(prepared), self._options)

    def _send(self, prepared: Prepared) -> Answer:
        return self._repeat(prepared, self._deadline(prepared), self._whole)

    def _deadline(self, prepared: Prepared) -> Deadline:
        return Deadline(request.timeout_of(self._options, prepared.method), time.monotonic)

    def _repeat(self, prepared: Prepared, deadline: Deadline, read: Callable[[httpx.Response, Deadline], _T]) -> _T:
        """Send until an answer is good or a failure is final.

        Raises:
            Error: the last attempt's.
        """
        for attempt in itertools.count(1):
            found = self._attempt(prepared, deadline, read)
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
            self._sleep(delay_s)
        raise AssertionError("the loop above ends by itself")

    def _attempt(
        self, prepared: Prepared, deadline: Deadline, read: Callable[[httpx.Response, Deadline], _T]
    ) -> _T | Failure:
        remaining_s = deadline.remaining()
        try:
            response = self._http.send(
                self._http.build_request(
                    prepared.verb,
                    prepared.url,
                    content=self._content(prepared, deadline),
                    headers=request.headers_now(prepared, remaining_s),
                    timeout=request.timeouts(remaining_s),
                ),
                stream=True,
            )
            if response.is_success:
                return read(response, deadline)
            answer = self._whole(response, deadline)
            return failures.from_answer(response.status_code, answer.headers, answer.body, prepared.call)
        except _OverError as error:
            return Failure(failures.deadline(prepared.call, str(error)), Reached.SENT)
        except httpx.HTTPError as error:
            return failures.from_transport(
                error, prepared.call, origin=self.url, idempotent=prepared.idempotent, late=deadline.over
            )

    @staticmethod
    def _content(prepared: Prepared, deadline: Deadline) -> bytes | Iterator[bytes] | None:
        if not prepared.pieces:
            return None
        small = request.small_body(prepared)
        return _watched(request.body_chunks(prepared), deadline) if small is None else small

    @staticmethod
    def _whole(response: httpx.Response, deadline: Deadline) -> Answer:
        body = bytearray()
        try:
            for chunk in response.iter_bytes():
                body += chunk
                if deadline.over:
                    raise _OverError("the answer was not complete")
        finally:
            response.close()
        return Answer(body, response.headers.get("content-type", ""), dict(response.headers), response.status_code)


class Stream(Iterator[Any]):
    """The items of a stream, as they arrive. Closing it, or dropping it, lets the server stop.

    Attributes:
        request_id: under which the server's log knows the call.
    """

    def __init__(self, response: httpx.Response, prepared: Prepared, deadline: Deadline) -> None:
        self.request_id: str = response.headers.get("x-request-id", "")
        self._response = response
        self._items = _read(response, prepared, deadline)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __next__(self) -> Any:
        """Return the next item.

        Raises:
            Error: the method failed in its midst, the stream broke off, or the call's time is over.
        """
        return next(self._items)

    def close(self) -> None:
        """Stop reading; the server hears that nobody does any more."""
        self._items.close()
        self._response.close()


class _OverError(Exception):
    """The call's time is over while bytes still come or go."""


def _watched(chunks: Iterator[bytes], deadline: Deadline) -> Iterator[bytes]:
    """Pass the pieces of a body on while there is time: each write has a limit of its own, so a slow drip would have none."""
    for chunk in chunks:
        if deadline.over:
            raise _OverError("the body was not sent")
        yield chunk


def _read(response: httpx.Response, prepared: Prepared, deadline: Deadline) -> Generator[Any, None, None]:
    """Yield the items. No method of the stream: it would hold on to the stream, which then could not be dropped."""
    request_id = response.headers.get("x-request-id", "")
    items = request.items_of(prepared, response.headers)
    try:
        for chunk in response.iter_bytes():
            yield from items.feed(chunk)
            if deadline.over:
                raise failures.deadline(prepared.call, "the stream was not at its end")
        yield from items.end()
    except UnreadableError as error:
        raise unreadable(prepared.call, error, request_id) from error
    except httpx.HTTPError as error:
        raise failures.broken_stream(error, prepared.call, late=deadline.over, request_id=request_id) from error
    finally:
        response.close()
