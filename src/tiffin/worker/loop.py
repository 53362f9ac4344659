"""The worker's loop: takes what the engine sends to the lanes, which validate, decode, run the user's method, encode, and answer.

Owns the link's session, the reader thread and the lanes; never decides an order of calls. Works with any `WorkerEnd`: on the main
thread of a process of its own, or on a thread of the process that also holds the front.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from tiffin.frameworks.memory import Peaks, held
from tiffin.link.ends import LinkClosed, WorkerEnd
from tiffin.messages.link import (
    Batch,
    Cancel,
    Data,
    End,
    Failure,
    LinkMessage,
    Ready,
    Recall,
    Reply,
    Welcome,
    Window,
)
from tiffin.worker.beat import Heart
from tiffin.worker.compute import ComputeLane
from tiffin.worker.health import Health, Leave
from tiffin.worker.hosted import Hosted
from tiffin.worker.runner import Runner
from tiffin.worker.session import Session
from tiffin.worker.streams import StreamLane

if TYPE_CHECKING:
    from tiffin.worker.asynchronous import AsyncLane

_RETRY_FIRST_S = 0.02
_RETRY_MOST_S = 0.5
_log = logging.getLogger("tiffin.worker")

Connect = Callable[[], tuple[WorkerEnd, Welcome]]


class Worker:
    """See the module. `start`, then `serve` with the loaded service; or `run` for both.

    Args:
        connect: makes a new link, says Hello and returns the engine's Welcome; raises LinkClosed when there is no engine.
        reconnect: try again when the link is lost; else the loss is the end.
        leave: ends the process at once, where it is ours to end; see `Health`.
    """

    def __init__(self, connect: Connect, *, reconnect: bool = True, leave: Leave | None = None) -> None:
        self._connect = connect
        self._reconnect = reconnect
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._ready: Ready | None = None
        self._stopping = threading.Event()
        self._hosted: Hosted | None = None
        self._lanes: list[str] = []
        self._compute: ComputeLane | None = None
        self._async: AsyncLane | None = None
        self._streams: StreamLane | None = None
        self._health = Health(leave)
        self._peaks = Peaks()
        self._heart = Heart(self.session, self._backlog_s, self._peaks)
        self._reader = threading.Thread(target=self._read, name="tiffin-reader", daemon=True)

    def session(self) -> Session | None:
        """Return the current link's session, None while there is no link."""
        return self._session

    # -- life --------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect, on a thread of its own: the engine knows of this worker while it loads."""
        self._reader.start()
        self._heart.start()

    def run(self, load: Callable[[], Hosted]) -> None:
        """Connect, load the service and serve it, all on the calling thread, until `stop`."""
        self.start()
        try:
            started = time.perf_counter()
            hosted = load()
            self.prepare(hosted)
        except BaseException:
            self.stop()
            self._close()
            raise
        self.serve(time.perf_counter() - started)

    def prepare(self, hosted: Hosted) -> None:
        """Make the lanes and run the start-up hooks; whatever these raise is the caller's."""
        if hosted.asynchronous:
            self._event_loop().host(hosted)
        self._hosted = hosted
        self._lanes = [method.spec.lane for method in hosted.methods]
        for hook in hosted.startup:
            self._hook(hook)
        self._streams = StreamLane(hosted, hosted.spec.streams, self._health)
        self._compute = ComputeLane(Runner(hosted, self._wait, self._health, self._peaks), hosted.spec.threads)

    def serve(self, load_s: float) -> None:
        """Say Ready and work, as the first compute thread, until `stop`; then run the shutdown hooks."""
        compute, hosted = self._compute, self._hosted
        if compute is None or hosted is None:
            raise RuntimeError("Worker.serve before Worker.prepare")
        with self._lock:
            self._ready = Ready(load_s, held())
            session = self._session
        if session is not None:
            session.send([self._ready])
        if self._stopping.is_set():  # while it loaded, before there was a lane to stop
            compute.stop()
        try:
            compute.run()
        finally:
            self.stop()
            self._stop_streams()
            try:
                for hook in hosted.shutdown:
                    self._hook(hook)
            finally:
                self._close()

    def stop(self) -> None:
        """End `serve` when the compute lane has done what is queued; any thread may, a signal handler too."""
        self._stopping.set()
        if self._compute is not None:
            self._compute.stop()

    def _stop_streams(self) -> None:
        """End async calls and streams, so that the shutdown hooks meet nobody who uses what they close.

        The link stays until these have run: its end would look like a crash.
        """
        session = self._session
        if session is not None:
            session.stop_all()
        if self._streams is not None:
            self._streams.stop()
        if self._async is not None:
            self._async.cancel_all()

    def _close(self) -> None:
        self._heart.stop()
        session = self._session
        if session is not None:
            session.close()
        if self._async is not None:
            self._async.stop()

    def _hook(self, hook: Callable[[], Any]) -> None:
        """Run a hook of the user's; an async one on the event loop."""
        result = hook()
        if inspect.isawaitable(result):
            self._wait(result)

    def _wait(self, awaitable: Awaitable[Any]) -> Any:
        return self._event_loop().wait(awaitable)

    def _event_loop(self) -> AsyncLane:
        if self._async is None:
            from tiffin.worker.asynchronous import AsyncLane  # asyncio costs 20 ms and 5 MB; many services need none

            self._async = AsyncLane(self._health)
            self._async.start()
        return self._async

    def _backlog_s(self) -> float:
        """Return the seconds of compute work that wait here, or for how long the event loop has been blocked."""
        lag_s = 0.0 if self._async is None else self._async.lag_s()
        session = self._session
        if session is None or self._compute is None:
            return lag_s
        return max(lag_s, len(session.waiting) * self._compute.recent_s)

    # -- the link ----------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Keep a link to the engine: connect, read until it is lost, connect again; the model stays."""
        retry_s = _RETRY_FIRST_S
        while not self._stopping.is_set():
            try:
                end, welcome = self._connect()
            except LinkClosed:
                if not self._reconnect:
                    self.stop()
                    return
                self._stopping.wait(retry_s)
                retry_s = min(retry_s * 2, _RETRY_MOST_S)
                continue
            retry_s = _RETRY_FIRST_S
            self._heart.beat_s = welcome.beat_s
            session = Session(end, welcome.window)
            with self._lock:
                self._session = session
                ready = self._ready
            if ready is not None:
                session.send([ready])
            try:
                while True:
                    self._take(session, end.receive())
            except LinkClosed as error:
                _log.info("%s", error)
            except Exception:  # wall: without its reader a worker would be deaf and look alive
                _log.exception("a message of the engine could not be taken; the link is made anew")
            finally:
                self._session = None
                session.close()
            if not self._reconnect:
                self.stop()
                return

    def _take(self, session: Session, messages: list[LinkMessage]) -> None:
        """Give messages to whom they are for; never blocks."""
        tasks: list[Batch] | None = None
        for message in messages:
            if type(message) is Batch:
                if message.method >= len(self._lanes):
                    raise LinkClosed(f"the engine asks for method {message.method} of {len(self._lanes)}")
                lane = self._lanes[message.method]
                now = time.monotonic()
                if lane == "compute" and self._compute is not None:
                    self._compute.put(session, message, now)
                elif lane == "stream" and self._streams is not None:
                    self._streams.put(session, message, now)
                elif tasks is None:
                    tasks = [message]
                else:
                    tasks.append(message)
            elif isinstance(message, Reply | Data | End | Failure):
                answer = session.answers.get(message.stream)
                if answer is not None:
                    answer(message)
            elif isinstance(message, Window):
                widen = session.widen.get(message.stream)
                if widen is not None:
                    widen(message.size)
            elif isinstance(message, Cancel):
                if tasks:  # a batch that came in the same frame must be known before it is cancelled
                    self._start_tasks(session, tasks)
                    tasks = None
                session.cancel(message.stream)
            elif isinstance(message, Recall):
                session.recall(message.batch)
            else:
                raise LinkClosed(f"the engine sent {type(message).__name__}, which is not for a worker")
        if tasks:
            self._start_tasks(session, tasks)

    def _start_tasks(self, session: Session, batches: list[Batch]) -> None:
        if self._async is not None:
            self._async.put(session, batches, time.monotonic())
