"""Calls that a method makes to another service, through the engine: one stream of ours each.

Owns those streams until they are answered; never runs the other service. Time, root, idempotence and cancellation of the calling
run travel with them. Blocking for sync methods; awaitable and async iterators are in `async_calls`. Times in seconds.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from tiffin.errors import Code, Error
from tiffin.messages.link import Cancel, Data, End, Failure, Media, Open, Reply, Window
from tiffin.worker.context import Run, current_run
from tiffin.worker.failures import system_failure
from tiffin.worker.session import Answer, Session

_DEFAULT_S = 60.0  # for a call from a thread of the user's own, or while the service loads
_GRACE_S = 1.0  # the engine ends a call at its deadline; this much later we stop waiting for its word


class Request(msgspec.Struct, frozen=True):
    """What is called, and with what.

    Attributes:
        service, method: name and number. name: of the method, for messages. rows: that the body brings.
        media, body: the encoded arguments. idempotent: what the method says of itself.
        read: makes a value of an answer's media number and body.
    """

    service: str
    method: int
    name: str
    rows: int
    media: int
    body: bytes
    idempotent: bool
    read: Callable[[int, bytes], Any]


class OutgoingCall:
    """One stream that this worker opened.

    Args:
        session: for calls outside of any run. request: what is called. deliver: takes every answer, on the reader thread.

    Raises:
        Error: DEADLINE, no time is left; UNAVAILABLE, no engine is there.
    """

    __slots__ = ("_parent", "_session", "remaining_s", "request", "stream")

    def __init__(self, session: Session | None, request: Request, deliver: Callable[[Answer], None]) -> None:
        run = current_run.get()
        if run is not None:
            session = run.session
        if session is None or session.closed:
            raise _no_engine(request)
        self._session = session
        self.request = request
        self.remaining_s = _DEFAULT_S if run is None else run.remaining_s()
        if self.remaining_s <= 0:
            raise Error(
                f"no time is left to call {request.service}.{request.name}: the deadline has passed", code=Code.DEADLINE
            )
        self.stream = session.next_stream()
        self._parent = run.members[0].stream if run is not None and len(run.members) == 1 else 0
        session.answers[self.stream] = deliver
        if self._parent:
            left = system_failure(self.stream, Code.CANCELLED, "the call that made this call was cancelled")
            session.stop_inner.setdefault(self._parent, {})[self.stream] = lambda: deliver(left)
        if run is not None and not request.idempotent:
            run.outside = True
        session.send([self._open(run)])
        if session.unwanted(0):  # it closed meanwhile; before `answers` was set nobody would have told us
            self.forget()
            raise _no_engine(request)

    def _open(self, run: Run | None) -> Open:
        request = self.request
        first = None if run is None else run.members[0]
        meta: dict[str, str] = {}
        if run is not None and first is not None:
            meta = {key: value for key, value in first.meta.items() if key not in ("parent", "parents", "content-type")}
            if self._parent:
                meta["parent"] = str(self._parent)
            else:  # joined calls: none of them alone owns this one
                meta["parents"] = ",".join(str(member.stream) for member in run.members)
        return Open(
            self.stream,
            request.method,
            request.rows,
            request.media,
            Media.MSGPACK,
            request.body,
            self.remaining_s,
            "" if first is None else first.request_id,
            root="" if first is None else first.root or first.request_id,
            idempotent=request.idempotent and (run is None or all(member.idempotent for member in run.members)),
            service=request.service,
            meta=meta,
        )

    def forget(self) -> None:
        """Take no more answers."""
        session = self._session
        session.answers.pop(self.stream, None)
        if self._parent:
            inner = session.stop_inner.get(self._parent)
            if inner is not None:
                inner.pop(self.stream, None)
                if not inner:
                    session.stop_inner.pop(self._parent, None)

    def cancel(self) -> None:
        """Tell the engine that nobody waits any more."""
        if self._session.answers.get(self.stream) is not None:
            self.forget()
            self._session.send([Cancel(self.stream)])

    def took(self, size: int) -> None:
        """Tell the engine that so many bytes of the streamed answer were consumed."""
        self._session.send([Window(self.stream, size)])

    def result(self, answer: Answer) -> Any:
        """Return the value of a unary answer.

        Raises:
            Error: what the called method, or the engine, says went wrong.
        """
        if isinstance(answer, Reply):
            return self.request.read(answer.media, answer.body)
        if isinstance(answer, Failure):
            raise error_of(answer)
        raise Error(
            f"{self.request.service}.{self.request.name} answered a plain call with a stream", code=Code.INTERNAL
        )


def call(session: Session | None, requests: Sequence[Request]) -> list[Any]:
    """Call, wait, and return the values, in order; the first failure cancels the others. Raises what `OutgoingCall` does."""
    waiting: list[tuple[OutgoingCall, queue.SimpleQueue[Answer]]] = []
    try:
        for request in requests:
            box: queue.SimpleQueue[Answer] = queue.SimpleQueue()
            waiting.append((OutgoingCall(session, request, box.put), box))
        values: list[Any] = []
        for outgoing, box in waiting:
            answer = _next(outgoing, box)
            outgoing.forget()
            values.append(outgoing.result(answer))
        return values
    finally:
        for outgoing, _box in waiting:
            outgoing.cancel()  # does nothing for those that were answered


def call_stream(session: Callable[[], Session | None], request: Request) -> Iterator[Any]:
    """Call a generator method and yield its items; the call is made with the first `next`, as a generator's is."""
    box: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    outgoing = OutgoingCall(session(), request, box.put)
    try:
        while True:
            answer = _next(outgoing, box)
            if not isinstance(answer, Data):
                outgoing.forget()
                if isinstance(answer, End):
                    return
                outgoing.result(answer)
                return
            if answer.data:
                yield request.read(Media.MSGPACK, answer.data)
                outgoing.took(len(answer.data))
    finally:
        outgoing.cancel()


def _next(outgoing: OutgoingCall, box: queue.SimpleQueue[Answer]) -> Answer:
    try:
        return box.get(timeout=outgoing.remaining_s + _GRACE_S)
    except queue.Empty:
        request = outgoing.request
        raise Error(
            f"{request.service}.{request.name} gave no answer within {outgoing.remaining_s:.3g} s", code=Code.DEADLINE
        ) from None


def error_of(failure: Failure) -> Error:
    """Return the exception that a failure message stands for."""
    known = failure.code in Code.__members__ or failure.code.startswith("app.")
    return Error(
        failure.message,
        code=failure.code if known else Code.INTERNAL,
        status=failure.status,
        details=msgspec.json.decode(failure.details) if failure.details else None,
        retryable=failure.retryable,
        retry_after_s=failure.retry_after_s or None,
    )


def _no_engine(request: Request) -> Error:
    return Error(
        f"{request.service}.{request.name} cannot be called: there is no link to the engine", code=Code.UNAVAILABLE
    )
