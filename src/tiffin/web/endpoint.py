"""One method's route: content type → codec check → Call into the engine's port.

Owns what is compiled from the method's spec; never answers (except by raising) and never decodes a value.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

from tiffin.codecs.check import Checker
from tiffin.codecs.files import takes_files
from tiffin.codecs.media import accept_media, body_media
from tiffin.errors import Code, Error
from tiffin.messages.link import Cancel, Media, Slot
from tiffin.messages.port import Call, EnginePort
from tiffin.spec.service import MethodSpec
from tiffin.web.exchange import Exchange
from tiffin.web.respond import Responder

if TYPE_CHECKING:
    from tiffin.web.fetching import Fetching

_NPY_HEAD_BYTES = 16_384
_CACHED = 64
_MAX_CONTENT_TYPE = 1_024


class Endpoint:
    """See the module.

    Args:
        index: of the method in its service. method: what it takes. timeout_s: its default deadline.
        max_timeout_s: longest that a client may ask for. port, responder: where calls go, where answers arrive.
        clock: monotonic seconds. ids: call ids of this edge. fetching: gets files by URL, None where that is off.
    """

    def __init__(
        self,
        index: int,
        method: MethodSpec,
        timeout_s: float,
        max_timeout_s: float,
        port: EnginePort,
        responder: Responder,
        clock: Callable[[], float],
        ids: count[int],
        fetching: Fetching | None = None,
    ) -> None:
        self._index = index
        self._method = method
        self._timeout_s = timeout_s
        self._max_timeout_s = max_timeout_s
        self._port = port
        self._waiting = responder.waiting
        self._clock = clock
        self._ids = ids
        self._checker = Checker(method)
        self._files = takes_files(method)
        self._fetching = fetching if self._files else None
        self._urls = None if self._fetching is None else self._fetching.urls(method)
        self._medias: dict[tuple[bytes, bytes], tuple[int, int]] = {}

    def handle(self, exchange: Exchange) -> None:
        """Check a request and make it a call.

        Raises:
            Error: its content type, its body or its deadline cannot be served.
        """
        key = (exchange.content_type, exchange.accept)
        medias = self._medias.get(key)
        if medias is None:
            medias = self._negotiate(key)
        media, accept = medias
        body = exchange.body
        meta: dict[str, str] = {}
        if media == Media.MULTIPART or (media == Media.BYTES and self._files):
            meta["content-type"] = content_type = self._content_type(exchange, media)
            rows = self._checker.check_file(media, exchange.view(), content_type)
        elif media == Media.NPY:
            view = exchange.view()
            rows = self._checker.check_npy(bytes(view[:_NPY_HEAD_BYTES]), len(view))
        else:
            rows = self._checker.check(media, body if type(body) is bytes else exchange.view())
        timeout_s = self._timeout_s if not exchange.timeout_ms else self._asked_s(exchange.timeout_ms)
        traceparent = exchange.header(b"traceparent") if len(exchange.headers) > 3 else b""
        if traceparent:
            meta["traceparent"] = traceparent.decode("latin-1")[:128]
        now = self._clock()
        if self._fetching is not None and self._fetching.concerns(media, exchange):
            self._fetch(exchange, rows, media, accept, now, now + timeout_s, meta)
        else:
            self._send(exchange, body, exchange.body_size, rows, media, accept, now + timeout_s, meta)

    def _send(
        self,
        exchange: Exchange,
        body: bytes | Slot,
        size: int,
        rows: int,
        media: int,
        accept: int,
        deadline: float,
        meta: dict[str, str],
    ) -> None:
        exchange.call = id = next(self._ids)
        exchange.on_gone = self._gone
        exchange.body = b""
        self._waiting[id] = exchange
        self._port.send(Call(id, self._index, rows, size, media, accept, body, deadline, exchange.id, meta))

    def _fetch(
        self, exchange: Exchange, rows: int, media: int, accept: int, now: float, deadline: float, meta: dict[str, str]
    ) -> None:
        """Have the files fetched whose URLs are in the body; then the request becomes a call."""
        if self._fetching is None or self._urls is None:
            raise RuntimeError("URLs where none are fetched")

        def send(body: bytes | Slot, size: int, content_type: str) -> None:
            if content_type:
                meta["content-type"] = content_type
            self._send(exchange, body, size, rows, media, accept, deadline, meta)

        self._fetching.start(
            exchange, self._index, self._urls, media, meta.get("content-type", ""), now, deadline, send
        )

    def _content_type(self, exchange: Exchange, media: int) -> str:
        """Return the Content-Type that travels with a body of files.

        Raises:
            Error: it is too long, or the form comes from a page of another site: browsers send those without asking first.
        """
        origin = exchange.origin
        if media == Media.MULTIPART and origin and not exchange.cors:
            site = origin.partition(b"://")[2]
            if not site or exchange.host is None or site.lower() != exchange.host.lower():
                raise Error(
                    f"a form from a page of another site ({origin.decode('latin-1')[:100]!r}) is not taken: "
                    "name that site in http.cors_origins",
                    code=Code.UNSUPPORTED_MEDIA,
                )
        if len(exchange.content_type) > _MAX_CONTENT_TYPE:
            raise Error(f"a content type of more than {_MAX_CONTENT_TYPE} bytes", code=Code.INVALID_INPUT)
        return exchange.content_type.decode("latin-1")

    def _gone(self, exchange: Exchange) -> None:
        if self._waiting.pop(exchange.call, None) is not None:
            self._port.send(Cancel(exchange.call))

    def _negotiate(self, key: tuple[bytes, bytes]) -> tuple[int, int]:
        medias = body_media(key[0], self._method), accept_media(key[1], self._method)
        if len(self._medias) < _CACHED and len(key[0]) + len(key[1]) < 512:
            self._medias[key] = medias
        return medias

    def _asked_s(self, header: bytes) -> float:
        """Return the deadline that the client asks for, in seconds."""
        if not header.isdigit() or not 0 < len(header) < 12 or not int(header):
            raise Error(
                f"header tiffin-timeout-ms: {header.decode('latin-1')[:40]!r} is not a number of milliseconds above 0",
                code=Code.INVALID_INPUT,
            )
        return min(int(header) / 1000, self._max_timeout_s)
