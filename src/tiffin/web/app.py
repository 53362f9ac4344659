"""The edge's application: request id, host rule, CORS, route; then an endpoint or a system page.

Owns the routes; never reads a body and never knows a worker.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from tiffin.config.parts import Config
from tiffin.errors import Code, Error
from tiffin.messages.port import EnginePort
from tiffin.spec.service import Application
from tiffin.web.endpoint import Endpoint
from tiffin.web.exchange import Exchange
from tiffin.web.respond import Responder, answer_error
from tiffin.web.system import SystemPages

if TYPE_CHECKING:
    from tiffin.web.fetching import Fetching

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:+/=-]{1,128}\Z")
_LOOPBACK = re.compile(rb"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])\.?(?::[0-9]{1,5})?\Z", re.IGNORECASE)
_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?\Z")
_CACHED = 256
_LOG = logging.getLogger("tiffin")


@dataclass(frozen=True, slots=True)
class Route:
    """What answers one path, the HTTP methods that it takes, and the index of its method for the metrics."""

    methods: tuple[str, ...]
    handle: Callable[[Exchange], None]
    index: int = -1


class App:
    """See the module; the `web.listener.Handler` of this edge.

    Args:
        config: http and traffic settings. port: the engine. responder: where its answers arrive.
        pages: /livez, /metrics, /docs and their like. clock: monotonic seconds.
        refused: counts what never became a call: (index of the method or -1, code). edge: number of this edge, part of call ids.
        fetching: gets files by URL, None where that is off.
    """

    def __init__(
        self,
        config: Config,
        port: EnginePort,
        responder: Responder,
        pages: SystemPages,
        clock: Callable[[], float],
        refused: Callable[[int, str], None],
        edge: int = 0,
        fetching: Fetching | None = None,
    ) -> None:
        self._config = config
        self._port = port
        self._responder = responder
        self._pages = pages
        self._clock = clock
        self._refused = refused
        self._fetching = fetching
        self._ids = count((edge << 48) + 1)
        self._id_prefix = os.urandom(6).hex()
        self._id_numbers = count(1)
        self._prefix = config.http.path_prefix.rstrip("/").encode()
        self._hosts: dict[bytes | None, bool] = {}
        self._system = {
            self._prefix + path: Route(("GET", "HEAD"), handle) for path, handle in pages.handlers().items()
        }
        self._routes = dict(self._system)
        self._published = False

    def publish(self, application: Application) -> None:
        """Serve the methods of an application's entry service from now on."""
        traffic = self._config.traffic
        entry = application.entry
        default_s = float(entry.traffic.get("timeout_s", traffic.timeout_s))
        max_s = float(entry.traffic.get("max_timeout_s", traffic.max_timeout_s))
        routes = dict(self._system)
        if self._fetching is not None:
            self._fetching.publish()
        for index, method in enumerate(entry.methods):
            timeout_s = method.timeout_s or default_s
            endpoint = Endpoint(
                index,
                method,
                timeout_s,
                max_s,
                self._port,
                self._responder,
                self._clock,
                self._ids,
                self._fetching,
            )
            routes[self._prefix + method.route.encode()] = Route(("POST",), endpoint.handle, index)
        self._routes = routes
        self._published = True
        self._pages.publish(application)

    def handle(self, exchange: Exchange) -> None:
        """See `Handler.handle`."""
        index = -1
        try:
            exchange.id = self._request_id(exchange.request_id)
            if not self._hosts.get(exchange.host, False):
                self._check_host(exchange)
            if exchange.origin and self._cross_origin(exchange):
                return
            route = self._routes.get(exchange.target)
            if route is None:
                route = self._find(exchange)
            index = route.index
            if exchange.method not in route.methods:
                exchange.extra += b"allow: %b\r\n" % ", ".join(route.methods).encode()
                raise Error(
                    f"{exchange.method} is not answered here, {' or '.join(route.methods)} is",
                    code=Code.METHOD_NOT_ALLOWED,
                )
            route.handle(exchange)
        except Error as error:
            self._refused(index, str(error.code))
            answer_error(exchange, error)
        except Exception:  # wall: what this request set off must not end its connection without an answer
            _LOG.exception("request %s could not be handled", exchange.id)
            self._refused(index, Code.INTERNAL)
            answer_error(exchange, Error("the request could not be handled", code=Code.INTERNAL))

    def refuse(self, exchange: Exchange, error: Error) -> None:
        """See `Handler.refuse`."""
        exchange.id = self._request_id(b"")
        self._refused(-1, str(error.code))
        answer_error(exchange, error)

    def flushed(self, exchange: Exchange, size: int) -> None:
        """See `Handler.flushed`."""
        self._responder.flushed(exchange, size)

    def _request_id(self, given: bytes) -> str:
        if given and _REQUEST_ID.match(given):
            return given.decode("ascii")
        return f"{self._id_prefix}-{next(self._id_numbers):x}"

    def _find(self, exchange: Exchange) -> Route:
        """Look a path up that is not written as it was published: with a query, or percent-encoded."""
        path = exchange.target.split(b"?", 1)[0]
        if path[:4].lower() == b"http":  # the form that proxies are sent: http://host/path
            authority, _slash, path = path.partition(b"://")[2].partition(b"/")
            if exchange.host is None or authority.lower() != exchange.host.lower():
                raise Error("the request target names another host than the Host header", code=Code.INVALID_INPUT)
            path = b"/" + path
        if b"%" in path:
            path = unquote_to_bytes(path)
        route = self._routes.get(path)
        if route is not None:
            return route
        shown = path.decode("utf-8", "replace")[:200]
        if not self._published:
            raise Error("the service is starting", code=Code.STARTING, retry_after_s=1.0)
        known = ", ".join(sorted(route.decode() for route in self._routes if route not in self._system))
        raise Error(f"nothing is served at {shown!r}; methods are at {known}", code=Code.NOT_FOUND)

    def _check_host(self, exchange: Exchange) -> None:
        """Refuse a host name that is not ours: a page of another site may reach a local port under its own name."""
        host = exchange.host
        if host is None and not exchange.chunked:
            return  # HTTP/1.0 has none, and no browser speaks that
        if host is None or not _HOST.match(host):
            raise Error("the Host header is missing or malformed", code=Code.INVALID_INPUT)
        http = self._config.http
        if http.allowed_hosts:
            name = host.rsplit(b":", 1)[0] if not host.endswith(b"]") else host
            allowed = name.decode("latin-1").lower().rstrip(".") in {known.lower() for known in http.allowed_hosts}
        else:
            allowed = not _is_loopback(http.host) or _LOOPBACK.match(host) is not None
        if not allowed:
            raise Error(
                f"this server does not answer to the host name {host.decode('latin-1')[:100]!r} (http.allowed_hosts)",
                code=Code.MISDIRECTED,
            )
        if len(self._hosts) < _CACHED:
            self._hosts[host] = True

    def _cross_origin(self, exchange: Exchange) -> bool:
        """Add what a browser wants to hear; answer a preflight.

        Returns:
            whether the exchange was answered.
        """
        http = self._config.http
        origin = exchange.origin.decode("latin-1")
        anyone = "*" in http.cors_origins
        if anyone or origin in http.cors_origins:
            with_cookies = http.cors_credentials and not anyone
            exchange.cors = b"access-control-allow-origin: %b\r\n%b%b" % (
                b"*" if anyone else exchange.origin,
                b"" if anyone else b"vary: origin\r\n",
                b"access-control-allow-credentials: true\r\n" if with_cookies else b"",
            )
            if exchange.method != "OPTIONS":
                exchange.cors += b"access-control-expose-headers: x-request-id, retry-after\r\n"
        if exchange.method != "OPTIONS" or not exchange.header(b"access-control-request-method"):
            return False
        if exchange.cors:
            exchange.cors += (
                b"access-control-allow-methods: GET, POST\r\naccess-control-allow-headers: %b\r\n"
                b"access-control-max-age: %d\r\n" % (", ".join(http.cors_headers).encode(), http.cors_max_age_s)
            )
        exchange.connection.respond(exchange, 204 if exchange.cors else 403, b"text/plain", b"")
        return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.") or host == "::1"
