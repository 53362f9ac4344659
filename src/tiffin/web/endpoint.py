"""One method's route: content type → codec check → Call into the engine's port.

Owns what is compiled from the method's spec; never answers (except by raising) and never decodes a value.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from tiffin.codecs.check import Checker
from tiffin.codecs.files import takes_files
from tiffin.codecs.media import accept_media, body_media
from tiffin.errors import Code, Error
from tiffin.messages.link import Cancel, Media
from tiffin.messages.port import Call, EnginePort
from tiffin.spec.service import MethodSpec
from tiffin.web.exchange import Exchange
from tiffin.web.respond import Responder

_NPY_HEAD_BYTES = 16_384
_CACHED = 64
_MAX_CONTENT_TYPE = 1_024


class Endpoint:
    """See the module.

    Args:
        index: of the method in its service. method: what it takes. timeout_s: its default deadline.
        max_timeout_s: longest that a client may ask for. port, responder: where calls go, where answers arrive.
        clock: monotonic seconds. ids: call ids of this edge.
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
        exchange.call = id = next(self._ids)
        exchange.on_gone = self._gone
        exchange.body = b""
        self._waiting[id] = exchange
        self._port.send(
            Call(
                id,
                self._index,
                rows,
                exchange.body_size,
                media,
                accept,
                body,
                self._clock() + timeout_s,
                exchange.id,
                meta,
            )
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
