"""The stream lane: threads that run sync generators, each piece sent as the engine's window allows.

Owns the threads and the windows of their streams; a generator that waits for its reader holds its own thread and nobody else's.
Sizes in bytes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

from tiffin.codecs.uploads import Uploads
from tiffin.errors import Error
from tiffin.messages.link import Batch, Data, End, LinkMessage, Open, Ran
from tiffin.worker.context import Run, current_run
from tiffin.worker.failures import failure, log_failure, method_failure
from tiffin.worker.health import Health, free_memory
from tiffin.worker.hosted import Hosted, Method
from tiffin.worker.session import Session


class Stopped(Exception):
    """Nobody reads this stream any more."""


class Window:
    """Bytes of one stream that may still be sent; a thread waits here until there is room."""

    __slots__ = ("_changed", "_full", "_left", "stopped")

    def __init__(self, size: int) -> None:
        self._changed = threading.Condition()
        self._full = size
        self._left = size
        self.stopped = False

    def take(self, size: int) -> None:
        """Wait until a piece may be sent; one larger than the whole window goes out alone.

        Raises:
            Stopped: the stream was cancelled, before or meanwhile.
        """
        need = min(size, self._full)
        with self._changed:
            while self._left < need and not self.stopped:
                self._changed.wait()
            if self.stopped:
                raise Stopped
            self._left -= size

    def widen(self, size: int) -> None:
        """The reader took so many bytes."""
        with self._changed:
            self._left += size
            self._changed.notify()

    def stop(self) -> None:
        """Nobody reads any more."""
        with self._changed:
            self.stopped = True
            self._changed.notify()


class StreamLane:
    """See the module. Threads are started as streams come, up to `threads`.

    Args:
        hosted: the loaded service. threads: most streams at once. health: judges exceptions.
    """

    def __init__(self, hosted: Hosted, threads: int, health: Health) -> None:
        self._health = health
        self._methods = hosted.methods
        self._limit = threads
        self._queue: SimpleQueue[tuple[Session, Batch, Open, Window, float] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._open = 0
        self._lock = threading.Lock()

    def put(self, session: Session, batch: Batch, received: float) -> None:
        """Queue the calls of a batch; never blocks."""
        for member in batch.members:
            window = Window(session.window)
            session.stop[member.stream] = window.stop
            session.widen[member.stream] = window.widen
            with self._lock:
                self._open += 1
                if len(self._threads) < min(self._open, self._limit):
                    name = f"tiffin-stream-{len(self._threads)}"
                    thread = threading.Thread(target=self._work, name=name, daemon=True)
                    self._threads.append(thread)
                    thread.start()
            self._queue.put((session, batch, member, window, received))

    def stop(self) -> None:
        """End the threads, after what is queued."""
        self._queue.put(None)

    def _work(self) -> None:
        while True:
            item = self._queue.get()
            if item is None:
                self._queue.put(None)  # for the other threads
                return
            session, batch, member, window, received = item
            try:
                self._stream(session, batch, member, window, received)
            finally:
                with self._lock:
                    self._open -= 1
            del item, session, batch, member, window

    def _stream(self, session: Session, batch: Batch, member: Open, window: Window, received: float) -> None:
        """Run one generator to its end."""
        method = self._methods[batch.method]
        stream = member.stream
        started = time.perf_counter()
        last: list[LinkMessage] = []
        run = Run(session, [member], received)
        uploads = Uploads() if method.files else None
        if method.tracked:
            current_run.set(run)
        try:
            if not window.stopped:
                self._pieces(run, method, member, window, uploads)
                last.append(End(stream))
        except Stopped:
            pass
        except Error as error:
            last.append(failure(stream, error))
        except BaseException as error:  # wall: the user's code may raise anything, sys.exit included
            if self._health.kind(method.spec.name, [member], error) == "out_of_memory":
                free_memory()
            log_failure(method.spec.name, [member], error)
            last.append(method_failure(stream, method.spec.name, error))
        finally:
            if method.tracked:
                current_run.set(None)
            if uploads is not None:
                uploads.close()
            session.stop.pop(stream, None)
            session.widen.pop(stream, None)
            last.append(Ran(batch.batch, time.perf_counter() - started, 1))
            session.send(last)

    def _pieces(self, run: Run, method: Method, member: Open, window: Window, uploads: Uploads | None) -> None:
        """Send every item of the method's generator."""
        session = run.session
        arguments = method.decode(member, session.body(member.body), uploads)
        if method.context is not None:
            arguments[method.spec.context] = method.context(run)
        items: Iterator[Any] = method.call(arguments)
        media = stream_media(method, member)
        name = method.spec.media
        sent = False
        try:
            for item in items:
                piece = method.codec.encode_item(item, media)
                window.take(len(piece))
                session.send([Data(member.stream, piece) if sent else Data(member.stream, piece, media, name)])
                sent = True
            if not sent:
                session.send([Data(member.stream, b"", media, name)])  # no item, but a media type all the same
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()  # here and now, not when the collector comes: `finally` in the user's generator frees things


def stream_media(method: Method, member: Open) -> int:
    """Return the media number of a streamed answer."""
    return member.accept if member.accept >= 0 else method.stream_media
