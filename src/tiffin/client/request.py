"""One call, made ready: what is sent, how long it may take, what its answer becomes. Shared by both clients.

Owns the options and the headers of a call; never does I/O. Times in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypedDict
from urllib.parse import urlsplit

import httpx
import msgspec
from msgspec import UNSET, UnsetType

from tiffin.client.decode import Items, Result, UnreadableError, decode, unreadable
from tiffin.client.encode import encode
from tiffin.client.failures import from_event
from tiffin.client.files import CHUNK, Piece, chunks, size_of
from tiffin.client.retry import RetryPolicy
from tiffin.client.schema import Json, MethodSchema, ServiceSchema
from tiffin.errors import Error, UsageError
from tiffin.version import VERSION

TIMEOUT_S = 60.0
CONNECT_S = 5.0  # a server that is there accepts at once; one that is not must not use up the call's time
_MAX_TIMEOUT_MS = 10**11 - 1  # what the header can say


class ClientOptions(TypedDict, total=False):
    """What both clients take besides the address; see `SyncHTTPClient`."""

    timeout: float | UnsetType | None
    token: str
    headers: Mapping[str, str] | None
    retries: int
    server_ready_timeout: float | None
    schema: ServiceSchema | Mapping[str, Any] | bytes | str | None
    pictures: bool


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a client's user chose.

    Attributes:
        timeout_s: of a call in all, None for no limit here, UNSET for the method's own deadline.
        headers: of every request. retry: how persistent. pictures: images as PIL images.
    """

    timeout_s: float | UnsetType | None = UNSET
    headers: dict[str, str] = {}
    retry: RetryPolicy = RetryPolicy()
    pictures: bool = False


def timeout_of(options: Options, method: MethodSchema | None) -> float | None:
    """Return how long a call may take: what the user says, else the method's own deadline, else `TIMEOUT_S`."""
    if options.timeout_s is not UNSET:
        return options.timeout_s
    return TIMEOUT_S if method is None or method.timeout_s is None else method.timeout_s


class Prepared(msgspec.Struct, frozen=True):
    """A request that may be sent more than once.

    Attributes:
        verb, url: as in the request line. headers: without the deadline. pieces: of the body.
        idempotent: whether it may be run twice. method: what is called, None for the server's own pages.
        definitions: of the schema.
    """

    verb: str
    url: str
    headers: dict[str, str]
    pieces: tuple[Piece, ...] = ()
    idempotent: bool = True
    method: MethodSchema | None = None
    definitions: dict[str, Json] = {}

    @property
    def call(self) -> str:
        """What is asked for, as errors name it."""
        return f"{self.verb} {self.url}"


class Answer(msgspec.Struct, frozen=True):
    """A whole answer as it came: body, Content-Type, headers (lower-case names), HTTP status."""

    body: bytearray
    content_type: str
    headers: dict[str, str]
    status: int = 200

    @property
    def request_id(self) -> str:
        """The id under which the server's log knows the call."""
        return self.headers.get("x-request-id", "")


class Deadline:
    """When a call must be over.

    Args:
        timeout_s: from now, None for no limit. clock: monotonic seconds.
    """

    def __init__(self, timeout_s: float | None, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at = math.inf if timeout_s is None else clock() + timeout_s

    def remaining(self) -> float | None:
        """Return the seconds left, 0 or less when it is over; None for no limit."""
        return None if self._at == math.inf else self._at - self._clock()

    @property
    def over(self) -> bool:
        """Whether no time is left."""
        return self._clock() >= self._at


def base_url(url: str) -> str:
    """Return the address of a server without a trailing slash.

    Raises:
        UsageError: it is no http:// or https:// address.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        hint = (
            f"did you mean http://{url.removeprefix('//')}?"
            if "://" not in url
            else "http://HOST:PORT or https://HOST:PORT"
        )
        raise UsageError(f"{url!r} is not the address of a server", hint=hint)
    if parts.query or parts.fragment:
        raise UsageError(
            f"{url!r} has a query: give the server's address alone",
            hint=url[: min(filter(lambda at: at > 0, (url.find("?"), url.find("#"))))],
        )
    return url.rstrip("/")


def by_proxy(base: str) -> bool:
    """Say whether the environment's proxies are asked for an address: none of them can reach this machine's own."""
    parts = urlsplit(base)
    return parts.scheme == "https" or parts.hostname not in ("localhost", "127.0.0.1", "::1")


def make_options(
    *, timeout: float | UnsetType | None, token: str, headers: Mapping[str, str] | None, retries: int, pictures: bool
) -> Options:
    """Return the options as the clients' users say them.

    Raises:
        UsageError: a timeout that is not above 0, retries below 0.
    """
    if timeout is not None and timeout is not UNSET and not timeout > 0:
        raise UsageError(
            f"timeout={timeout!r} leaves no time for a call", hint="seconds above 0, or None for the server's own limit"
        )
    if retries < 0:
        raise UsageError(f"retries={retries!r} is below 0", hint="0 sends every call once")
    every = {"user-agent": f"tiffin/{VERSION}", **{name.lower(): value for name, value in (headers or {}).items()}}
    if token:
        every["authorization"] = f"Bearer {token}"
    for name, value in every.items():
        if not (name and name.isascii() and name.isprintable() and value.isascii() and value.isprintable()):
            # Not the value: it may be a secret.
            raise UsageError(
                f"header {name!r} cannot be sent", hint="names and values are printable ASCII, without line ends"
            )
    return Options(timeout_s=timeout, headers=every, retry=RetryPolicy(retries=retries), pictures=pictures)


def changed(options: Options, changes: Mapping[str, Any]) -> Options:
    """Return options with some of them replaced: timeout, token, headers (added to those before), retries, pictures.

    Raises:
        TypeError: a name that is none of these. UsageError: as `make_options`.
    """
    wrong = changes.keys() - {"timeout", "token", "headers", "retries", "pictures"}
    if wrong:
        raise TypeError(
            f"with_options() takes timeout, token, headers, retries, pictures; not {', '.join(sorted(wrong))}"
        )
    return make_options(
        timeout=changes.get("timeout", options.timeout_s),
        token=changes.get("token", ""),
        headers={**options.headers, **(changes.get("headers") or {})},
        retries=changes.get("retries", options.retry.retries),
        pictures=changes.get("pictures", options.pictures),
    )


def prepare(
    base: str,
    schema: ServiceSchema,
    method: MethodSchema,
    arguments: Mapping[str, Any],
    options: Options,
    accept: str = "",
) -> Prepared:
    """Return the request of a call.

    Args:
        base: address of the server. schema: of the service. method: what is called. arguments: by name.
        options: of the client. accept: media type to ask for, "" for the one that loses nothing.

    Raises:
        Error, TypeError, OSError: as `encode`.
    """
    encoded = encode(method, arguments, schema.definitions, accept)
    headers = {
        **options.headers,
        "content-type": encoded.content_type,
        "content-length": str(encoded.size),
        "accept": encoded.accept,
    }
    return Prepared("POST", base + method.route, headers, encoded.pieces, method.idempotent, method, schema.definitions)


def page(base: str, path: str, options: Options) -> Prepared:
    """Return the request of one of the server's own pages."""
    return Prepared("GET", base + path, {**options.headers, "accept": "application/json"})


def headers_now(prepared: Prepared, remaining_s: float | None) -> dict[str, str]:
    """Return the headers of an attempt: with the time that the server has left for it."""
    if remaining_s is None or prepared.method is None:
        return prepared.headers
    left_ms = min(max(1, math.ceil(remaining_s * 1000)), _MAX_TIMEOUT_MS)
    return {**prepared.headers, "tiffin-timeout-ms": str(left_ms)}


def timeouts(remaining_s: float | None) -> httpx.Timeout:
    """Return the limits of an attempt's steps."""
    if remaining_s is None:
        return httpx.Timeout(None, connect=CONNECT_S)
    left = max(remaining_s, 0.001)
    return httpx.Timeout(left, connect=min(left, CONNECT_S))


def small_body(prepared: Prepared) -> bytes | None:
    """Return a body that is sent at once; None for one that goes piece by piece."""
    if sum(map(size_of, prepared.pieces)) > CHUNK:
        return None
    return b"".join(chunk for piece in prepared.pieces for chunk in chunks(piece))


def body_chunks(prepared: Prepared) -> Iterator[bytes]:
    """Yield a large body piece by piece, from the start."""
    for piece in prepared.pieces:
        for chunk in chunks(piece):
            yield chunk if isinstance(chunk, bytes) else bytes(chunk)


def value_of(prepared: Prepared, answer: Answer, options: Options) -> Any:
    """Return what a call gives.

    Raises:
        Error: BAD_OUTPUT: the answer cannot be read.
    """
    if answer.status == 204:
        return None
    try:
        return decode(_result(prepared), answer.content_type, answer.body, pictures=options.pictures)
    except UnreadableError as error:
        raise unreadable(prepared.call, error, answer.request_id) from error


def _result(prepared: Prepared) -> Result:
    return Result({} if prepared.method is None else prepared.method.returns, prepared.definitions)


def items_of(prepared: Prepared, headers: Mapping[str, str]) -> Items:
    """Return the reader of a stream that begins."""
    request_id = headers.get("x-request-id", "")
    return Items(
        _result(prepared), headers.get("content-type", ""), lambda data: from_event(data, prepared.call, request_id)
    )


def final(error: Error, attempt: int) -> Error:
    """Return the error that a call ends with, with a note of how often it was sent."""
    if attempt > 1:
        error.add_note(f"sent {attempt} times")
    return error
