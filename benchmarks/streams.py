"""Holds server-sent event streams open while something else is measured: readers that read, and readers that never do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

_FEW_BYTES = 4096


def request_bytes(path: str, value: object) -> bytes:
    """Give the bytes of an HTTP request for a stream of events."""
    body = json.dumps(value).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Accept: text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Readers:
    """Streams that are read as fast as they come, on a thread of their own.

    Args:
        port: of the server.
        path: route of the stream.
        value: JSON body of each request.
        count: how many streams.
    """

    def __init__(self, port: int, path: str, value: object, count: int) -> None:
        self._port, self._count = port, count
        self._request = request_bytes(path, value)
        self._stop = threading.Event()
        self._events = [0] * count
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="stream readers", daemon=True)

    @property
    def flowing(self) -> int:
        """How many streams have brought at least one event."""
        return sum(count > 0 for count in self._events)

    @property
    def events(self) -> int:
        """How many events have come on all streams."""
        return sum(self._events)

    async def _read(self, index: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(self._request)
        while line := await reader.readline():
            self._events[index] += line.startswith(b"data:")
        writer.close()

    async def _run(self) -> None:
        tasks = [asyncio.create_task(self._read(index)) for index in range(self._count)]
        while not self._stop.is_set():
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __enter__(self) -> Readers:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()


@contextlib.contextmanager
def never_reading(port: int, path: str, value: object, count: int) -> Generator[None]:
    """Open streams and leave their bytes in the smallest receive buffer the kernel gives."""
    request = request_bytes(path, value)
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            one = stack.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _FEW_BYTES)
            one.connect(("127.0.0.1", port))
            one.sendall(request)
        yield
