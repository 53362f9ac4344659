"""The listening side of the edge: accepts connections, sweeps the slow ones, stops without losing a request.

Owns the servers and the set of connections; never reads a request. Times are CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import ssl
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate
from typing import Protocol

from tiffin.config.parts import HttpConfig, LinkConfig
from tiffin.errors import Error, StartError
from tiffin.link.arena import Arena
from tiffin.web.exchange import Exchange
from tiffin.web.protocol import Connection

_SWEEP_S = 1.0
_SETTLE_S = 0.02
_SO_ATTACH_FILTER = 26
# Load the TCP flags, keep SYN and ACK; SYN alone: drop the packet, else take all of it.
_NO_SYN = struct.pack(
    "HBBI" * 5, 0x30, 0, 0, 13, 0x54, 0, 0, 0x12, 0x15, 0, 1, 2, 0x06, 0, 0, 0, 0x06, 0, 0, 0xFFFFFFFF
)
_GOODBYE_S = 1.0  # for a client to answer the end of its TLS session; many never do


class Handler(Protocol):
    """Who answers requests."""

    def handle(self, exchange: Exchange) -> None:
        """Answer a request, now or later, by the exchange's connection."""
        ...

    def refuse(self, exchange: Exchange, error: Error) -> None:
        """Answer what was not a valid request."""
        ...

    def flushed(self, exchange: Exchange, size: int) -> None:
        """So many bytes of a streamed answer have left: more may follow."""
        ...


class Listener:
    """All listening sockets of one edge.

    Args:
        http, link: settings. handler: answers requests. arena: where large bodies are received, None for no arena.
        clock: monotonic seconds. access: writes a line of the access log, None for no log.

    Attributes:
        connections: those that are open. stopping: answers say that the connection will be closed.
        date_line: the Date header of this second.
    """

    def __init__(
        self,
        http: HttpConfig,
        link: LinkConfig,
        handler: Handler,
        arena: Arena | None,
        clock: Callable[[], float],
        access: Callable[[str], None] | None = None,
    ) -> None:
        self.http = http
        self.handler = handler
        self.arena = arena
        self.arena_threshold = link.arena_threshold_bytes
        self.clock = clock
        self.connections: set[Connection] = set()
        self.stopping = False
        self.date_line = b""
        self._access = access
        self._servers: list[asyncio.Server] = []
        self._sockets: list[socket.socket] = []
        self._sweeper: asyncio.TimerHandle | None = None

    async def start(self, sockets: list[socket.socket]) -> None:
        """Accept on sockets that listen already.

        Raises:
            StartError: the certificate or its key cannot be used.
        """
        loop = asyncio.get_running_loop()
        context = tls_context(self.http)
        self._sweep()
        for sock in sockets:
            server = await loop.create_server(
                lambda: Connection(self),
                sock=sock,
                ssl=context,
                ssl_handshake_timeout=None if context is None else self.http.header_timeout_s,
                ssl_shutdown_timeout=None if context is None else _GOODBYE_S,
                backlog=self.http.backlog,
            )
            self._servers.append(server)
            self._sockets.append(sock)

    def opened(self, connection: Connection) -> None:
        """A client connected; beyond http.max_connections it is turned away."""
        if len(self.connections) >= self.http.max_connections:
            connection.abort()
            return
        self.connections.add(connection)

    def closed(self, connection: Connection) -> None:
        """A client is gone."""
        self.connections.discard(connection)

    def answered(self, exchange: Exchange) -> None:
        """An answer is complete: note it in the access log, if there is one."""
        if self._access is not None:
            took_ms = (self.clock() - exchange.started) * 1000
            target = exchange.target.decode("latin-1")
            self._access(f"{exchange.status} {took_ms:.1f} ms {exchange.method} {target!a} {exchange.id}")

    async def stop(self, delay_s: float, timeout_s: float) -> int:
        """Stop: go on accepting for `delay_s`, then close what is idle and wait for the rest.

        Returns:
            the number of connections that were still busy when the time was up.
        """
        await asyncio.sleep(delay_s)
        for sock in self._sockets:
            refuse_new(sock)
        await asyncio.sleep(_SETTLE_S)  # whom the kernel has connected by now is accepted
        self.stopping = True
        for sock in self._sockets:
            with suppress(OSError):  # for every process that holds it
                sock.shutdown(socket.SHUT_RDWR)
        for server in self._servers:
            server.close()
        until = self.clock() + timeout_s
        while True:
            # A request that was sent before the client could hear of the stop is in the kernel by now: read it first.
            await asyncio.sleep(0.02)
            for connection in list(self.connections):
                connection.close_idle()
            if not self.connections or self.clock() >= until:
                break
        left = len(self.connections)
        for connection in list(self.connections):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
        return left

    def _sweep(self) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)
        self.date_line = b"date: " + formatdate(time.time(), usegmt=True).encode() + b"\r\n"
        now = self.clock()
        for connection in list(self.connections):
            connection.overdue(now)


def refuse_new(sock: socket.socket) -> None:
    """Let the kernel connect nobody any more: who is connected but not accepted would be reset when listening ends.

    Whose first packet is dropped sends it again a second later, and is then refused, or connected to a successor.
    """
    program = ctypes.create_string_buffer(_NO_SYN)
    with suppress(OSError):  # not a TCP socket, or not allowed: a few may be reset
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HxxxxxxQ", 5, ctypes.addressof(program)))


def tls_context(http: HttpConfig) -> ssl.SSLContext | None:
    """Return the TLS settings, None where no certificate is configured.

    Raises:
        StartError: the files are missing, unreadable, or do not fit together.
    """
    if not http.tls_certificate:
        if http.tls_key:
            raise StartError("http.tls_key is set without http.tls_certificate", hint="set both, or neither")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(http.tls_certificate, http.tls_key or None)
    except (OSError, ssl.SSLError) as error:
        raise StartError(
            f"TLS certificate {http.tls_certificate!r} with key {http.tls_key!r} cannot be used: {error}",
            hint="both must be PEM files, and the key must belong to the first certificate",
        ) from error
    return context
