"""The async lane: one event loop on a thread of its own, for `async def` methods, async generators and async hooks.

Owns the loop, its tasks and their windows; answers that become ready in one round of the loop leave as one frame. Time in seconds.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from tiffin.codecs.uploads import Uploads
from tiffin.errors import Error, Failed
from tiffin.messages.link import Batch, Data, End, LinkMessage, Open, Ran, Reply
from tiffin.worker.context import Run, current_run
from tiffin.worker.failures import bad_output, failure, log_failure, method_failure
from tiffin.worker.health import Health, free_memory
from tiffin.worker.hosted import Hosted, Method
from tiffin.worker.session import Session
from tiffin.worker.streams import stream_media

_STOP_S = 1.0
_LAG_WARNING_S = 1.0
_log = logging.getLogger("tiffin.worker")


class AsyncWindow:
    """Bytes of one stream that may still be sent; lives on the loop."""

    __slots__ = ("_full", "_left", "_room")

    def __init__(self, size: int) -> None:
        self._full = size
        self._left = size
        self._room = asyncio.Event()

    async def take(self, size: int) -> None:
        """Wait until a piece may be sent; one larger than the whole window goes out alone."""
        need = min(size, self._full)
        while self._left < need:
            self._room.clear()
            await self._room.wait()
        self._left -= size

    def widen(self, size: int) -> None:
        """The reader took so many bytes."""
        self._left += size
        self._room.set()


class AsyncLane:
    """See the module.

    Args:
        health: judges exceptions.
    """

    def __init__(self, health: Health) -> None:
        self._health = health
        self._methods: list[Method] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="tiffin-loop", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._out: dict[Session, list[LinkMessage]] = {}
        self._asked = 0.0  # when the loop was last asked for a sign of life, 0 when it has given it
        self._warned = False

    def start(self) -> None:
        """Start the loop's thread."""
        self._thread.start()

    def host(self, hosted: Hosted) -> None:
        """Name the service whose methods are run."""
        self._methods = hosted.methods

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()

    def cancel_all(self) -> None:
        """Cancel the calls that run and wait until they have ended, for a second at most."""
        if not self._thread.is_alive():
            return
        try:
            asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop).result(_STOP_S)
        except TimeoutError:
            pass  # a method that swallows its cancellation, or blocks the loop: the process ends without it

    def stop(self) -> None:
        """End the loop, after `cancel_all`; waits for a second at most."""
        if not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_S)

    async def _cancel_all(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def wait(self, awaitable: Awaitable[Any]) -> Any:
        """Run an awaitable on the loop; return its result to the calling thread, which is another."""
        return asyncio.run_coroutine_threadsafe(_await(awaitable), self._loop).result()

    def lag_s(self) -> float:
        """Return for how long the loop has not come round, and ask it again; called with every sign of life.

        A method that blocks the loop for over a second is named in the log, with the line that it stands on.
        """
        now = time.monotonic()
        if not self._asked:
            self._asked = now
            self._loop.call_soon_threadsafe(self._came_round)
            return 0.0
        lag_s = now - self._asked
        if lag_s > _LAG_WARNING_S and not self._warned:
            self._warned = True
            _log.warning(
                "an async method has blocked the event loop for %.1f s; no other async call makes progress. "
                "Await the slow part, or write the method without async.\n%s",
                lag_s,
                _where(self._thread),
            )
        return lag_s

    def _came_round(self) -> None:
        self._asked = 0.0
        self._warned = False

    # -- calls -----------------------------------------------------------------------------------------------------------

    def put(self, session: Session, batches: list[Batch], received: float) -> None:
        """Start the calls of batches; never blocks."""
        for batch in batches:
            for member in batch.members:
                session.stop[member.stream] = _early_stop(session, member.stream)  # until there is a task
        self._loop.call_soon_threadsafe(self._begin, session, batches, received)

    def _begin(self, session: Session, batches: list[Batch], received: float) -> None:
        for batch in batches:
            method = self._methods[batch.method]
            for member in batch.members:
                if session.unwanted(member.stream):
                    # Not a task that is cancelled at once: such a one never runs its `finally`, which says Ran.
                    session.stop.pop(member.stream, None)
                    session.cancelled.discard(member.stream)
                    self._send(session, Ran(batch.batch, 0.0, 0))
                    continue
                task = self._loop.create_task(self._call(session, batch, method, member, received))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                session.stop[member.stream] = self._stopper(task)
                if session.unwanted(member.stream):  # said between the look above and the line above
                    self._loop.call_soon(task.cancel)

    def _stopper(self, task: asyncio.Task[None]) -> Callable[[], None]:
        def stop() -> None:
            try:
                self._loop.call_soon_threadsafe(task.cancel)
            except RuntimeError:  # the loop has ended, and the task with it
                pass

        return stop

    def _widener(self, window: AsyncWindow) -> Callable[[int], None]:
        def widen(size: int) -> None:
            try:
                self._loop.call_soon_threadsafe(window.widen, size)
            except RuntimeError:  # the loop has ended, and the stream with it
                pass

        return widen

    async def _call(self, session: Session, batch: Batch, method: Method, member: Open, received: float) -> None:
        """Run one call and send its answer."""
        stream = member.stream
        started = time.perf_counter()
        uploads = Uploads() if method.files else None
        try:
            run = Run(session, [member], received)
            if method.tracked:
                current_run.set(run)  # in the task's own context
            arguments = method.decode(member, session.body(member.body), uploads)
            if method.context is not None:
                arguments[method.spec.context] = method.context(run)
            if method.spec.streams:
                await self._stream(session, method, member, arguments)
                self._send(session, End(stream))
            else:
                self._send(session, self._encode(method, member, await method.call(arguments)))
        except Error as error:
            self._send(session, failure(stream, error))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or not task.cancelling():  # not ours: something that the method awaited was cancelled
                log_failure(method.spec.name, [member], error)
                self._send(session, method_failure(stream, method.spec.name, error))
        except BaseException as error:  # wall: the user's code may raise anything, sys.exit included
            if self._health.kind(method.spec.name, [member], error) == "out_of_memory":
                free_memory()
            log_failure(method.spec.name, [member], error)
            self._send(session, method_failure(stream, method.spec.name, error))
        finally:
            if uploads is not None:
                uploads.close()
            session.stop.pop(stream, None)
            session.widen.pop(stream, None)
            session.cancelled.discard(stream)
            self._send(session, Ran(batch.batch, time.perf_counter() - started, 1))

    def _encode(self, method: Method, member: Open, result: Any) -> LinkMessage:
        if type(result) is Failed:
            return failure(member.stream, result.error)
        try:
            body, media, name = method.codec.encode(result, member.accept)
        except Exception as error:  # wall: encoding calls the user's own types
            self._health.kind(method.spec.name, [member], error)
            return bad_output(member.stream, method.spec.name, error)
        return Reply(member.stream, body, media, name)

    async def _stream(self, session: Session, method: Method, member: Open, arguments: dict[str, Any]) -> None:
        """Send every item of an async generator."""
        window = AsyncWindow(session.window)
        session.widen[member.stream] = self._widener(window)
        media = stream_media(method, member)
        items = method.call(arguments)
        first: tuple[int, str] = (media, method.spec.media)
        try:
            async for item in items:
                piece = method.codec.encode_item(item, media)
                await window.take(len(piece))
                self._send(session, Data(member.stream, piece, *first))
                first = (-1, "")
            if first[0] >= 0:
                self._send(session, Data(member.stream, b"", *first))  # no item, but a media type all the same
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    def _send(self, session: Session, message: LinkMessage) -> None:
        """Send at the end of this round of the loop, with what else becomes ready in it."""
        waiting = self._out.get(session)
        if waiting is not None:
            waiting.append(message)
            return
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out[session] = [message]

    def _flush(self) -> None:
        out, self._out = self._out, {}
        for session, messages in out.items():
            session.send(messages)


def _where(thread: threading.Thread) -> str:
    """Return where a thread stands, from the first line of the user's code on."""
    stack = traceback.extract_stack(sys._current_frames().get(thread.ident or 0))
    while any(frame.filename == __file__ for frame in stack[:-1]):
        del stack[0]
    return "".join(traceback.format_list(stack)).rstrip()


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _early_stop(session: Session, stream: int) -> Callable[[], None]:
    """Return a stop for a call whose task does not exist yet; the loop looks at the note when it makes the task."""

    def stop() -> None:
        session.cancelled.add(stream)
        now = session.stop.get(stream)
        if now is None:
            session.cancelled.discard(stream)
        elif now is not stop:
            now()

    return stop
