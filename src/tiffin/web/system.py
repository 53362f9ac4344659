"""The pages that every server has: life, readiness, metrics, schema, OpenAPI, the interactive page.

Owns their bodies; never counts and never judges readiness (the engine does).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tiffin.errors import Code, Error
from tiffin.spec.service import Application
from tiffin.web import pages
from tiffin.web.exchange import Exchange
from tiffin.web.openapi import openapi, schema
from tiffin.web.respond import JSON

_PAGE_HEADERS = (
    b"content-security-policy: default-src 'self'\r\nx-content-type-options: nosniff\r\n"
    b"referrer-policy: no-referrer\r\nx-frame-options: DENY\r\n"
)


class SystemPages:
    """See the module.

    Args:
        status: returns what /readyz shows, with the keys "ready" and "reason" at least.
        metrics: (Accept header) → (body, content type) of /metrics.
        docs: whether /docs is served. prefix: path prefix. version: of Tiffin.
    """

    def __init__(
        self,
        status: Callable[[], dict[str, Any]],
        metrics: Callable[[str], tuple[bytes, str]],
        *,
        docs: bool,
        prefix: str,
        version: str,
    ) -> None:
        self._status = status
        self._metrics = metrics
        self._docs = docs
        self._prefix = prefix
        self._version = version
        self._application: Application | None = None
        self._schema = b""
        self._openapi = b""

    def handlers(self) -> dict[bytes, Callable[[Exchange], None]]:
        """Return the handlers by path."""
        handlers: dict[bytes, Callable[[Exchange], None]] = {
            b"/livez": self._livez,
            b"/readyz": self._readyz,
            b"/healthz": self._readyz,
            b"/metrics": self._metricsz,
            b"/schema.json": self._schema_json,
            b"/openapi.json": self._openapi_json,
        }
        if self._docs:
            handlers[b"/"] = self._root
            handlers[b"/docs"] = self._page("docs.html")
            for name in pages.NAMES:
                handlers[b"/docs/" + name.encode()] = self._page(name)
        return handlers

    def publish(self, application: Application) -> None:
        """Describe this application from now on."""
        self._application = application
        self._schema = self._openapi = b""

    def _livez(self, exchange: Exchange) -> None:
        exchange.connection.respond(exchange, 200, JSON, b'{"live":true}')

    def _readyz(self, exchange: Exchange) -> None:
        status = self._status()
        if not status["ready"]:
            exchange.extra += b"retry-after: 1\r\n"
        exchange.connection.respond(exchange, 200 if status["ready"] else 503, JSON, msgspec.json.encode(status))

    def _metricsz(self, exchange: Exchange) -> None:
        body, media = self._metrics(exchange.accept.decode("latin-1"))
        exchange.connection.respond(exchange, 200, media.encode(), body)

    def _schema_json(self, exchange: Exchange) -> None:
        if not self._schema:
            self._schema = msgspec.json.encode(schema(self._known()))
        exchange.connection.respond(exchange, 200, JSON, self._schema)

    def _openapi_json(self, exchange: Exchange) -> None:
        if not self._openapi:
            self._openapi = msgspec.json.encode(openapi(self._known(), base=self._prefix or "/", version=self._version))
        exchange.connection.respond(exchange, 200, JSON, self._openapi)

    def _known(self) -> Application:
        if self._application is None:
            raise Error("the service is starting", code=Code.STARTING, retry_after_s=1.0)
        return self._application

    def _root(self, exchange: Exchange) -> None:
        exchange.extra += b"location: %b/docs\r\n" % self._prefix.encode()
        exchange.connection.respond(exchange, 307, b"text/plain", b"")

    def _page(self, name: str) -> Callable[[Exchange], None]:
        def page(exchange: Exchange) -> None:
            found = pages.asset(name)
            if found is None:
                raise Error(f"no page {name!r}", code=Code.NOT_FOUND)
            body, media = found
            exchange.extra += _PAGE_HEADERS
            exchange.connection.respond(exchange, 200, media.encode(), body)

        return page
