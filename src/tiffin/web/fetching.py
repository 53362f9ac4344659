"""Requests whose body has URLs where files are expected: the files are fetched first, then the request becomes a call.

Owns these requests until then, and the threads that fetch. A call that waits for its files is not known to the engine: it has no
place in a batch, no slot of a worker and no run limit, so nobody else waits for them. There is none where `fetch.enabled` is off.
Times in seconds (CLOCK_MONOTONIC where absolute), sizes in bytes.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from tiffin.codecs.fetch import Fetched
from tiffin.codecs.file_urls import SEARCHED_BYTES, FileUrls, Found, may_hold
from tiffin.config.parts import Config
from tiffin.errors import Code, Error
from tiffin.link.arena import Arena
from tiffin.messages.link import Media, Slot
from tiffin.spec.service import MethodSpec
from tiffin.web.exchange import Exchange
from tiffin.web.respond import answer_error

Fetch = Callable[[str, str, float], Fetched]
# Takes body, its size and its content type, "" for the one that was sent.
Send = Callable[[bytes | Slot, int, str], None]

THREADS = 32  # fetches at once
THREADS_OF_A_CALL = 4  # so that one call with many URLs does not take them all
_READERS = 2  # threads that read and write bodies; apart, because those who fetch may all be busy with slow servers
_PIECE = 262_144
_RETRY_S = 1.0
_log = logging.getLogger("tiffin")


class Job(msgspec.Struct, frozen=True):
    """A request that may have to wait for files; see `Fetching.start`."""

    exchange: Exchange
    method: int
    urls: FileUrls
    media: int
    content_type: str
    started: float
    deadline: float
    send: Send


class Fetching:
    """See the module.

    Args:
        config: limits. fetch: gets one file: URL, path for errors, deadline; blocks (see `Fetcher.fetch`).
        arena: for large bodies, None where there is none. clock: monotonic seconds.
        refused: counts what never became a call: index of the method, code.
    """

    def __init__(
        self,
        config: Config,
        fetch: Fetch,
        arena: Arena | None,
        clock: Callable[[], float],
        refused: Callable[[int, str], None],
    ) -> None:
        self._config = config
        self._fetch = fetch
        self._arena = arena
        self._clock = clock
        self._refused = refused
        self._room = asyncio.Semaphore(THREADS)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="tiffin-urls")
        self._tasks: set[asyncio.Task[None]] = set()
        self._published = 0
        self._calls = 0
        self._held = 0  # bytes that were fetched for calls that wait for more

    def publish(self) -> None:
        """Note that the methods are others from now on: the number of one that waits here may be another's."""
        self._published += 1

    def urls(self, method: MethodSpec) -> FileUrls:
        """Return what looks for URLs in the bodies of a method that takes files."""
        return FileUrls(method, self._config.files)

    def concerns(self, media: int, exchange: Exchange) -> bool:
        """Say whether there may be URLs in a body."""
        if media not in (Media.JSON, Media.MULTIPART) or exchange.body_size > SEARCHED_BYTES:
            return False
        return may_hold(exchange.view())

    def start(
        self,
        exchange: Exchange,
        method: int,
        urls: FileUrls,
        media: int,
        content_type: str,
        started: float,
        deadline: float,
        send: Send,
    ) -> None:
        """Take a request: fetch its files if it has URLs, and make it a call; or answer it with what is wrong.

        Args:
            exchange: of the client. method: its index. urls: looks for URLs in the method's bodies. media: number of the body's
                type. content_type: as sent, of a form. started, deadline: of the call. send: makes it a call.
        """
        job = Job(exchange, method, urls, media, content_type, started, deadline, send)
        task = asyncio.get_running_loop().create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

        def gone(_exchange: Exchange) -> None:
            task.cancel()
            exchange.release()

        exchange.on_gone = gone

    async def _run(self, job: Job) -> None:
        exchange = job.exchange
        published = self._published
        try:
            try:
                async with asyncio.timeout(max(job.deadline - self._clock(), 0.0)):
                    body, size, content_type = await self._resolve(job)
            except TimeoutError:
                raise self._late(job) from None
            except Error as error:
                raise error if self._clock() < job.deadline else self._late(job) from None
            if published != self._published:
                if isinstance(body, Slot) and self._arena is not None:
                    self._arena.free(body)
                exchange.body = b""
                raise Error(
                    "the service was loaded anew while the files of this call were fetched: send it again",
                    code=Code.UNAVAILABLE,
                    retry_after_s=_RETRY_S,
                )
            job.send(body, size, content_type)
        except Error as error:
            self._refused(job.method, str(error.code))
            answer_error(exchange, error)
        except Exception:  # wall: the request gets an answer whatever this was, as in `App.handle`
            _log.exception("request %s could not be handled", exchange.id)
            self._refused(job.method, Code.INTERNAL)
            answer_error(exchange, Error("the request could not be handled", code=Code.INTERNAL))

    async def _resolve(self, job: Job) -> tuple[bytes | Slot, int, str]:
        """Return the body to send, its size, and its content type where that is another one."""
        exchange = job.exchange
        loop = asyncio.get_running_loop()
        raw = bytes(exchange.view())
        found = await loop.run_in_executor(self._readers, job.urls.find, job.media, raw, job.content_type)
        if found is None:
            return exchange.body, exchange.body_size, ""
        exchange.release()  # another body takes its place
        traffic = self._config.traffic
        if self._calls >= traffic.queue_calls:
            raise _full(f"{self._calls} calls wait for their files already (traffic.queue_calls)")
        self._calls += 1
        total = [0]
        try:
            files = await self._fetch_all(job, found, total)
            body, content_type = await loop.run_in_executor(self._readers, found.filled, files)
        finally:
            self._calls -= 1
            self._held -= total[0]
        return await self._placed(body), len(body), content_type

    async def _fetch_all(self, job: Job, found: Found, total: list[int]) -> list[Fetched]:
        """Return all files of a call; the first that cannot be had ends it. `total` counts their bytes."""
        files: list[Fetched | None] = [None] * len(found.wanted)
        numbers = iter(range(len(files)))
        most, room = self._config.http.max_body_bytes, self._config.traffic.queue_bytes

        async def some() -> None:
            for number in numbers:
                fetched = await self._one(job, found, number)
                total[0] += len(fetched.body)
                self._held += len(fetched.body)
                if total[0] > most:
                    raise Error(
                        f"the files of this call are larger than {most} bytes together (http.max_body_bytes)",
                        code=Code.TOO_LARGE,
                    )
                if self._held > room:
                    raise _full(f"files of {room} bytes wait for others of their calls already (traffic.queue_bytes)")
                files[number] = fetched

        tasks = [asyncio.create_task(some()) for _ in files[:THREADS_OF_A_CALL]]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return [fetched for fetched in files if fetched is not None]

    async def _one(self, job: Job, found: Found, number: int) -> Fetched:
        """Fetch a file on a thread of its own, when there is room for one more, and check it there."""
        await self._room.acquire()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Fetched] = loop.create_future()
        url, path, _file = found.wanted[number]

        def ended(outcome: Fetched | Exception) -> None:
            self._room.release()  # not before: a thread whose call is gone takes its place until its fetch ends
            if done.done():
                return
            if isinstance(outcome, Exception):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)

        def run() -> None:
            outcome: Fetched | Exception
            try:
                outcome = self._fetch(url, path, job.deadline)
                found.check(number, outcome)
            except Exception as error:  # carried to the task that waits for it, whatever it is
                outcome = error
            try:
                loop.call_soon_threadsafe(ended, outcome)
            except RuntimeError:  # the loop has ended, and nobody waits
                return

        try:
            # A daemon, unlike those of an executor: a server that stops does not wait for somebody's slow server.
            threading.Thread(target=run, name="tiffin-fetch", daemon=True).start()
        except BaseException:
            self._room.release()
            raise
        return await done

    async def _placed(self, body: bytes) -> bytes | Slot:
        """Return a body, in the arena where a client's would be, too; the loop has others served in between."""
        arena = self._arena
        slot = None
        if arena is not None and len(body) >= self._config.link.arena_threshold_bytes:
            slot = arena.allocate(len(body))
        if arena is None or slot is None:
            return body
        view = memoryview(body)
        try:
            for start in range(0, len(body), _PIECE):
                arena.write(slot, start, view[start : start + _PIECE])
                await asyncio.sleep(0)
        except BaseException:
            arena.free(slot)
            raise
        return slot

    def _late(self, job: Job) -> Error:
        given_s = job.deadline - job.started
        return Error(
            f"no answer within the deadline of {given_s:.3g} s: the files of its URLs were not fetched by then",
            code=Code.DEADLINE,
        )


def _full(reason: str) -> Error:
    return Error(reason, code=Code.TOO_MANY, retry_after_s=_RETRY_S)
