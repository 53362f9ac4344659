"""The front process: edge and engine in one loop, driven by the supervisor's messages.

Owns the wiring of one front; never imports user code. Started as `python -m tiffin.server.front` with TIFFIN_CONTROL_FD.
"""

from __future__ import annotations

import asyncio
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
import uvloop

from tiffin.config.parts import Config
from tiffin.engine.devices import DeviceViews
from tiffin.engine.engine import Engine
from tiffin.engine.views import Views
from tiffin.gpu.monitor import Monitor
from tiffin.link.arena import Arena
from tiffin.link.frames import BadFrame, FrameReader, encode_frame
from tiffin.link.front_end import LinkServer
from tiffin.messages.control import (
    Drain,
    Drained,
    FrontReady,
    FrontSetup,
    Note,
    ServiceFailed,
    SpecReady,
    ToFront,
    ToSupervisor,
    WorkerDied,
    WorkerStarted,
)
from tiffin.observe.exposition import expose
from tiffin.observe.metrics import Registry
from tiffin.version import VERSION
from tiffin.web.app import App
from tiffin.web.listener import Listener
from tiffin.web.respond import Responder
from tiffin.web.system import SystemPages

_LINE = 4_000  # characters of a log line: a pipe that says it has room takes a page without blocking


class Front:
    """Edge and engine, wired.

    Args:
        config: settings. loop: that it runs in. tell: sends a message to the supervisor.

    Raises:
        OSError: no shared memory; see `arena`.

    Attributes:
        notes: lines that /readyz shows.
    """

    def __init__(self, config: Config, loop: asyncio.AbstractEventLoop, tell: Callable[[ToSupervisor], None]) -> None:
        self.notes: list[str] = []
        self.config = config
        self.arena = make_arena(config, self.notes)
        self.registry = Registry()
        self.engine = Engine(loop, time.monotonic, config, self.arena, self.registry, tell)
        responder = Responder()
        responder.connect(self.engine)
        self.engine.connect(responder)
        self.views = Views(self.engine, self.notes)
        pages = SystemPages(
            self.views.status,
            lambda accept: expose(self.registry, accept),
            docs=config.http.docs,
            prefix=config.http.path_prefix.rstrip("/"),
            version=VERSION,
        )
        fetching = None
        if config.fetch.enabled:
            # Here, so that a front that fetches nothing has no code that connects to anywhere.
            from tiffin.codecs.fetch import Fetcher
            from tiffin.web.fetching import Fetching

            fetching = Fetching(config, Fetcher(config.fetch).fetch, self.arena, time.monotonic, self._refused)
        self.app = App(config, self.engine, responder, pages, time.monotonic, self._refused, fetching=fetching)
        access = log_access if config.log.access else None
        self.listener = Listener(config.http, config.link, self.app, self.arena, time.monotonic, access)
        self.views.register(self.registry, self.listener, self.arena)
        DeviceViews(self.engine.fleet, Monitor()).register(self.registry)

    def _refused(self, method: int, code: str) -> None:
        generation = self.engine.fleet.generation
        metrics = self.registry.edge if generation is None else generation.entry.metrics
        metrics.answered(method, code)

    def publish(self, generation: int, application: Any) -> None:
        """Serve this application from now on."""
        self.engine.fleet.activate(generation, application)
        self.app.publish(application)

    async def drain(self, delay_s: float, timeout_s: float) -> int:
        """Stop without losing a call; return how many connections were cut."""
        self.views.stopping = True
        return await self.listener.stop(delay_s, timeout_s)


def log_access(line: str) -> None:
    """Write a line of the access log to stderr; what a full pipe cannot take is dropped, serving goes on."""
    stderr = select.poll()
    stderr.register(2, select.POLLOUT)
    try:
        if stderr.poll(0):
            os.write(2, f"{line[:_LINE]}\n".encode("ascii", "replace"))
    except OSError:  # nobody reads it any more
        return


def make_arena(config: Config, notes: list[str]) -> Arena | None:
    """Return the arena, or None (and a note) where the system has none to give: payloads then take the socket."""
    if not config.link.arena_bytes:
        return None
    try:
        return Arena(config.link.arena_bytes)
    except OSError as error:
        notes.append(f"no shared memory for large payloads ({error}); they take the slower socket")
        return None


class Control(asyncio.Protocol):
    """The control channel: the supervisor's messages in, ours out. When it closes, the supervisor is gone, and so are we."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        decode = msgspec.msgpack.Decoder(ToFront).decode
        self._reader: FrameReader[ToFront] = FrameReader(lambda payload: [decode(payload)])
        self._transport: asyncio.Transport | None = None
        self._front: Front | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.failed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport (asyncio calls this)."""
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """Go too (asyncio calls this)."""
        self._transport = None  # links that close in the loop's last round still have something to tell
        self._loop.stop()

    def data_received(self, data: bytes) -> None:
        """Cut frames (asyncio calls this)."""
        for message in self._reader.feed(data):
            self._take(message)

    def tell(self, message: ToSupervisor) -> None:
        """Send a message to the supervisor."""
        if self._transport is not None and not self._transport.is_closing():  # at the end nobody listens any more
            self._transport.write(encode_frame(message))

    def _take(self, message: ToFront) -> None:
        if isinstance(message, FrontSetup):
            self._start(self._set_up(message))
            return
        front = self._front
        if front is None:
            raise BadFrame(f"expected FrontSetup, got {type(message).__name__}")
        if isinstance(message, SpecReady):
            front.publish(message.generation, message.application)
        elif isinstance(message, WorkerStarted):
            front.engine.fleet.worker_started(message)
        elif isinstance(message, WorkerDied):
            front.engine.fleet.worker_died(message)
        elif isinstance(message, ServiceFailed):
            front.engine.fleet.service_failed(message)
        elif isinstance(message, Note):
            front.notes.append(message.text)
        else:
            self._start(self._drain(front, message))

    def _start(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            sys.stderr.write(f"tiffin front: {type(error).__name__}: {error}\n")
            self.failed = True
            self._loop.stop()

    async def _set_up(self, setup: FrontSetup) -> None:
        front = Front(setup.config, self._loop, self.tell)
        self._front = front
        self._links = LinkServer(self._loop, setup.link_fd, front.arena, front.engine.fleet.greet)
        await front.listener.start([socket.socket(fileno=fd) for fd in setup.http_fds])
        gc.collect()
        gc.freeze()
        self.tell(FrontReady(os.getpid()))

    async def _drain(self, front: Front, order: Drain) -> None:
        self.tell(Drained(await front.drain(order.delay_s, order.timeout_s)))


def main() -> None:
    """Run the front until the control channel closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C goes to the whole group; the supervisor decides
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    control = socket.socket(fileno=int(os.environ["TIFFIN_CONTROL_FD"]))
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    _transport, protocol = loop.run_until_complete(loop.create_connection(lambda: Control(loop), sock=control))
    if not protocol.failed:  # it may have failed within the first round, and a stop of that round is not remembered
        loop.run_forever()
    sys.exit(1 if protocol.failed else 0)


if __name__ == "__main__":
    main()
