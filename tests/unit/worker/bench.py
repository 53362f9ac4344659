"""A worker on a thread, with an engine that the test plays: plain lists of messages, JSON bodies."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, TypeVar

import msgspec

from tiffin.errors import Code, Error, Failed
from tiffin.link.ends import LinkClosed
from tiffin.messages.link import PROTOCOL, Batch, LinkMessage, Media, Open, Ready, Slot, Welcome
from tiffin.spec.service import MethodSpec, Param, ServiceSpec
from tiffin.spec.types import ANY
from tiffin.worker.hosted import Encoded, Hosted, Method
from tiffin.worker.loop import Worker

WAIT_S = 10.0
M = TypeVar("M")


class Left(BaseException):
    """The process has ended here."""


class End:
    """A `WorkerEnd` whose other side is the test."""

    def __init__(self) -> None:
        self.inbox: queue.SimpleQueue[list[LinkMessage] | None] = queue.SimpleQueue()
        self.outbox: queue.SimpleQueue[list[LinkMessage]] = queue.SimpleQueue()
        self.closed = False

    def receive(self) -> list[LinkMessage]:
        messages = self.inbox.get()
        if messages is None:
            raise LinkClosed("closed")
        return messages

    def send(self, messages: Sequence[LinkMessage]) -> None:
        if self.closed:
            raise LinkClosed("closed")
        self.outbox.put(list(messages))

    def body(self, body: bytes | Slot) -> bytes | memoryview:
        assert isinstance(body, bytes)
        return body

    def close(self) -> None:
        self.closed = True
        self.inbox.put(None)


class Decoded:
    def __init__(self) -> None:
        self.arguments: dict[str, Any] = {}
        self.counts: list[int] = []
        self.kinds: set[type] = set()
        self.errors: dict[int, Error] = {}
        self.rest: list[int] = []


class JsonCodec:
    """Bodies are JSON objects of lists; what is none is INVALID_INPUT; rows of another type cannot be joined.

    Attributes:
        rounds: calls per decoded batch.
    """

    def __init__(self) -> None:
        self.rounds: list[int] = []

    def decode(self, media: int, body: bytes | memoryview, incoming: Any = None) -> dict[str, Any]:
        try:
            return msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise Error(str(error), code=Code.INVALID_INPUT) from None

    def decode_batch(self, members: Sequence[Any]) -> Decoded:
        self.rounds.append(len(members))
        decoded = Decoded()
        for index, (media, body) in enumerate(members):
            try:
                arguments = self.decode(media, body)
            except Error as error:
                decoded.errors[index] = error
                continue
            kinds = {type(row) for rows in arguments.values() for row in rows}
            if decoded.counts and kinds and decoded.kinds and kinds != decoded.kinds:
                decoded.rest.append(index)
                continue
            decoded.kinds |= kinds
            decoded.counts.append(len(next(iter(arguments.values()))))
            for name, rows in arguments.items():
                decoded.arguments.setdefault(name, []).extend(rows)
        return decoded

    def encode(self, value: Any, accept: int) -> Encoded:
        try:
            return msgspec.json.encode(value), Media.JSON, ""
        except TypeError as error:
            raise Error(f"cannot be sent: {error}", code=Code.BAD_OUTPUT) from None

    def split(self, result: Any, counts: Sequence[int]) -> list[Any]:
        if len(result) != sum(counts):
            raise Error(f"{sum(counts)} rows in, {len(result)} out", code=Code.BAD_OUTPUT)
        ends = list(accumulate(counts))
        return [result[end - count : end] for end, count in zip(ends, counts, strict=True)]

    def encode_batch(self, result: Any, counts: Sequence[int], accepts: Sequence[int]) -> list[Encoded | Error]:
        encoded: list[Encoded | Error] = []
        for rows, accept in zip(self.split(result, counts), accepts, strict=True):
            failed = next((row for row in rows if isinstance(row, Failed)), None)
            encoded.append(failed.error if failed is not None else self.encode(rows, accept))
        return encoded

    def encode_item(self, item: Any, media: int) -> bytes:
        return msgspec.json.encode(item) + b"\n"


def spec_of(name: str, **more: Any) -> MethodSpec:
    """A method with one parameter x."""
    param = Param(name="x", type=ANY, batched=bool(more.get("batchable")))
    return MethodSpec(**{"name": name, "route": f"/{name}", "params": (param,), "returns": ANY, **more})


class Bench:
    """A worker for some functions, and the engine's side of its link.

    Args:
        functions: each with its method's spec. service: more fields of the service's spec.
    """

    def __init__(self, *functions: tuple[MethodSpec, Callable[..., Any]], window: int = 1000, **service: Any) -> None:
        specs = tuple(spec for spec, _function in functions)
        self.spec = ServiceSpec(**{"name": "Service", "target": "m:Service", "methods": specs, **service})
        self.codec = JsonCodec()
        self.window = window
        self.ends: queue.SimpleQueue[End] = queue.SimpleQueue()
        self.methods = [
            Method(number, spec, function, self.codec, tracked=True, context=lambda run: list(run.members))
            for number, (spec, function) in enumerate(functions)
        ]
        self.left: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.next_batch = 0
        self.next_call = 0
        self.got: list[LinkMessage] = []
        self.hooks: dict[str, Any] = {"startup": [], "shutdown": []}

    def start(self, reconnect: bool = False) -> Bench:
        """Start it, and wait until it is ready."""
        self.launch(reconnect)
        self.expect(Ready)
        return self

    def launch(self, reconnect: bool = False) -> None:
        """Start it, and wait until it has connected."""
        self.worker = Worker(self._connect, reconnect=reconnect, leave=self.leave)
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        self.end = self.ends.get(timeout=WAIT_S)

    def _connect(self) -> tuple[End, Welcome]:
        end = End()
        self.ends.put(end)
        return end, Welcome(PROTOCOL, 0, self.window, 3600.0)

    def _run(self) -> None:
        try:
            self.worker.run(lambda: Hosted(self.spec, self.methods, **self.hooks))
        except BaseException as error:
            self.error = error

    def leave(self, status: int) -> None:
        """End as a process would: nothing more is sent, and the thread that called never goes on."""
        self.end.closed = True
        self.left.put(status)
        raise Left

    def stop(self) -> None:
        self.worker.stop()
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()

    def open(self, body: Any, method: int = 0, **more: Any) -> Open:
        self.next_call += 2
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        fields = {"rows": 1, "media": 0, "accept": -1, "body": raw, "remaining_s": 10.0, "request_id": "r", **more}
        return Open(self.next_call, method, **fields)

    def send(self, *messages: LinkMessage) -> None:
        self.end.inbox.put(list(messages))

    def batch(self, *members: Open, limit: int = 0) -> Batch:
        self.next_batch += 1
        return Batch(self.next_batch, members[0].method, list(members), limit)

    def give(self, *members: Open, limit: int = 0) -> Batch:
        batch = self.batch(*members, limit=limit)
        self.send(batch)
        return batch

    def any(self) -> Any:
        """Wait for the next message."""
        return self.expect(object)

    def expect(self, kind: type[M]) -> M:
        """Wait for the next message, which must be of this kind."""
        if not self.got:
            self.got = self.end.outbox.get(timeout=WAIT_S)
        message: Any = self.got.pop(0)
        assert isinstance(message, kind), message
        return message
