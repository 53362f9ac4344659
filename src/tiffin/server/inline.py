"""`with tiffin.serve(Service) as server:` a server within this process, for notebooks, scripts and tests.

Owns the threads of one such server: the front's loop and one worker per service, joined by in-process links. It answers like
`tiffin serve` and lacks what needs processes: a crash of user code ends this process, a run that breaks its limit is given up but
not killed, all services share one interpreter and all devices of this process. Times in seconds.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
import uvloop

from tiffin.config.parts import Config
from tiffin.errors import StartError
from tiffin.gpu.device import device
from tiffin.link.ends import WorkerEnd
from tiffin.link.inline import connect_inline
from tiffin.messages.control import KillWorker, ServiceFailed, ToSupervisor, WorkerDied, WorkerReady
from tiffin.messages.link import PROTOCOL, Hello, Welcome
from tiffin.server.front import Front
from tiffin.service.application import application_of
from tiffin.service.define import Definition, definition_of
from tiffin.service.depends import install
from tiffin.worker.load import host
from tiffin.worker.loop import Worker

T = TypeVar("T")

_LOG = logging.getLogger("tiffin")
_GENERATION = 1
_LOAD_S = 600.0
_JOIN_S = 5.0


class InlineServer:
    """A running server; make it with `serve`.

    Attributes:
        url: where it answers, for example "http://127.0.0.1:40123".
    """

    def __init__(self, service: type, *, host: str, port: int, config: Config) -> None:
        self._application = application_of(service)
        self._classes = _classes(definition_of(service))
        self._config = msgspec.structs.replace(
            config,
            http=msgspec.structs.replace(config.http, host=host, port=port),
            link=msgspec.structs.replace(
                config.link, arena_bytes=0
            ),  # payloads are handed over, never copied between processes
        )
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="tiffin-front", daemon=True)
        self._workers: dict[int, tuple[Worker, threading.Thread]] = {}
        self._epochs: dict[int, int] = {}
        self._loaded = threading.Semaphore(0)
        self._problem: BaseException | None = None
        self._front: Front | None = None
        self.url = ""

    def start(self) -> InlineServer:
        """Serve; return when every service is loaded.

        Raises:
            StartError: the port is taken. What the service's own ``__init__`` raises passes through.
        """
        self._thread.start()
        try:
            self._front, port = self._on_loop(self._open())
            host = self._config.http.host
            self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            for number, spec in enumerate(self._application.services):
                self._start_worker(number, spec.name)
            for _service in self._application.services:
                if not self._loaded.acquire(timeout=_LOAD_S):
                    raise StartError(f"the service was not loaded within {_LOAD_S:g} s")
                if self._problem is not None:
                    raise self._problem
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Answer what is open, then stop; more than once does no harm."""
        if not self._thread.is_alive():
            return
        if self._front is not None:
            traffic = self._config.traffic
            self._on_loop(self._front.drain(traffic.drain_delay_s, traffic.drain_timeout_s))
        for worker, _thread in self._workers.values():
            worker.stop()
        for _worker, thread in self._workers.values():
            thread.join(_JOIN_S)  # user code that does not end is left behind on its daemon thread
        install(None)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_JOIN_S)

    def __enter__(self) -> Self:
        if not self._thread.is_alive():  # `with serve(…).start()` is as good
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- the loop's thread -------------------------------------------------------------------------------------------------

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self) -> tuple[Front, int]:
        http = self._config.http
        family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((http.host, http.port))
            sock.listen(http.backlog)
        except OSError as error:
            sock.close()
            raise StartError(
                f"cannot listen on {http.host} port {http.port}: {error.strerror}", hint="port=0 takes a free one"
            ) from error
        front = Front(self._config, self._loop, self._told)
        front.publish(_GENERATION, self._application)
        await front.listener.start([sock])
        return front, int(sock.getsockname()[1])

    def _told(self, message: ToSupervisor) -> None:
        """Do the supervisor's part, as far as that can be done within a process."""
        if isinstance(message, WorkerReady):
            self._loaded.release()
            return
        front = self._front
        if not isinstance(message, KillWorker) or front is None or self._epochs.get(message.worker) != message.epoch:
            return
        service = self._application.services[message.worker].name
        _LOG.warning(
            "worker of %s: %s; it cannot be killed within this process: a new one takes its place",
            service,
            message.detail,
        )
        abandoned, _thread = self._workers[message.worker]
        abandoned.stop()
        died = WorkerDied(message.worker, message.epoch, message.cause, message.detail)
        self._loop.call_soon(front.engine.fleet.worker_died, died)
        self._start_worker(message.worker, service)

    # -- the workers' threads ----------------------------------------------------------------------------------------------

    def _start_worker(self, number: int, service: str) -> None:
        epoch = self._epochs[number] = self._epochs.get(number, 0) + 1
        worker = Worker(lambda: self._on_loop(self._link(number, epoch, service)), reconnect=False)
        thread = threading.Thread(
            target=self._work, args=(worker, self._classes[service]), name=f"tiffin-{service}", daemon=True
        )
        self._workers[number] = (worker, thread)
        thread.start()

    async def _link(self, number: int, epoch: int, service: str) -> tuple[WorkerEnd, Welcome]:
        spec = self._application.services[number]
        hello = Hello(PROTOCOL, number, epoch, 0, service, _GENERATION, spec.digest(), device())
        if self._front is None:
            raise RuntimeError("a worker before the front")
        return connect_inline(self._loop, self._front.engine.fleet.greet, hello)

    def _work(self, worker: Worker, service: type) -> None:
        try:
            worker.run(lambda: host(service, worker.session, files=self._config.files))
        except BaseException as error:  # wall: the user's __init__ may raise anything; `start` raises it
            self._problem = error
            self._loaded.release()
            front, name = self._front, definition_of(service).name
            if front is not None and any(epoch > 1 for epoch in self._epochs.values()):
                _LOG.exception("the worker of %s could not be replaced", name)
                failed = ServiceFailed(name, f"{type(error).__name__}: {error}")
                self._loop.call_soon_threadsafe(front.engine.fleet.service_failed, failed)


def serve(service: type, *, host: str = "127.0.0.1", port: int = 0, config: Config | None = None) -> InlineServer:
    """Serve a class from this process: ``with tiffin.serve(Digits) as server: … server.url …``.

    Works inside a running event loop, too (a notebook): the server has threads of its own. See the module for what it lacks
    compared with ``tiffin serve``.

    Args:
        service: a class decorated with ``@tiffin.service``. host: address. port: 0 takes a free one.
        config: further settings.

    Returns:
        the server, to be used in ``with``, or with its ``start`` and ``stop``.

    Raises:
        SpecError: the class cannot be served as written.
    """
    return InlineServer(service, host=host, port=port, config=config or Config())


def _classes(entry: Definition) -> dict[str, type]:
    """Return the class of every service of an application, by name."""
    found = {entry.name: entry.service}
    for dependency in entry.dependencies().values():
        found |= _classes(dependency.definition)
    return found
