"""Runs one batch of the compute lane: decode, the user's method, encode, answers, and `Ran` with the last of them.

Owns the order of what happens to a batch, and the bisection after an exception; never chooses what runs next. Times in seconds.
Hot path: a call of a frame costs microseconds here, so nothing is locked, scheduled or logged per call.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tiffin.errors import Code, Error, Failed
from tiffin.messages.link import Batch, LinkMessage, Open, Ran, Reply
from tiffin.worker.context import Run, current_run
from tiffin.worker.failures import failure, is_out_of_memory, log_failure, method_failure, system_failure
from tiffin.worker.hosted import Hosted, Method
from tiffin.worker.parts import join_parts, row_parts
from tiffin.worker.session import Session

FLUSH_S = 0.0005  # answers of a frame wait for later ones no longer than this

Await = Callable[[Awaitable[Any]], Any]


class Runner:
    """See the module; one for all compute threads.

    Args:
        hosted: the loaded service. wait: runs an awaitable on the event loop and waits for it (batchable `async def`).
    """

    def __init__(self, hosted: Hosted, wait: Await) -> None:
        self._methods = hosted.methods
        self._wait = wait

    def run(self, session: Session, batch: Batch, received: float) -> None:
        """Run a batch and send all answers.

        Args:
            session: whose it is. batch: the calls. received: when it came (monotonic).
        """
        method = self._methods[batch.method]
        if method.spec.batchable:
            _JoinedRun(method, session, batch, received, self._wait).run()
        else:
            self._frame(method, session, batch, received)

    def _frame(self, method: Method, session: Session, batch: Batch, received: float) -> None:
        """Run calls one after the other, and send what has been answered every half millisecond."""
        clock = time.perf_counter
        decode = method.codec.decode
        encode = method.codec.encode
        call = method.call
        tracked = method.tracked
        out: list[LinkMessage] = []
        rows = 0
        started = flushed = now = clock()
        for member in batch.members:
            stream = member.stream
            if session.cancelled and stream in session.cancelled:
                continue
            rows += 1
            try:
                body = member.body
                arguments = decode(member.media, body if type(body) is bytes else session.body(body))
                result = _tracked(method, session, [member], received, arguments) if tracked else call(arguments)
            except Error as error:
                out.append(failure(stream, error))
            except BaseException as error:  # wall: the user's code may raise anything, sys.exit included
                log_failure(method.spec.name, [member], error)
                out.append(method_failure(stream, method.spec.name, error))
            else:
                try:
                    if type(result) is Failed:
                        out.append(failure(stream, result.error))
                    else:
                        encoded, media, name = encode(result, member.accept)
                        out.append(Reply(stream, encoded, media, name))
                except Exception as error:  # wall: encoding calls the user's own types
                    out.append(bad_output(stream, method, error))
            now = clock()
            if now - flushed > FLUSH_S and member is not batch.members[-1]:
                session.send(out)
                out = []
                flushed = now
        session.release(batch)
        out.append(Ran(batch.batch, now - started, rows))
        session.send(out)


class _JoinedRun:
    """One batch of a batchable method."""

    __slots__ = ("_batch", "_method", "_out", "_received", "_rows", "_session", "_split_s", "_wait")

    def __init__(self, method: Method, session: Session, batch: Batch, received: float, wait: Await) -> None:
        self._method = method
        self._session = session
        self._batch = batch
        self._received = received
        self._wait = wait
        self._out: list[LinkMessage] = []
        self._rows = 0
        self._split_s = 0.0

    def run(self) -> None:
        """Run it and send all answers."""
        started = time.perf_counter()
        session = self._session
        members: Sequence[Open] = self._batch.members
        if session.cancelled:
            members = [member for member in members if member.stream not in session.cancelled]
        if members:
            self._attempt(members, first=True)
        session.release(self._batch)
        self._out.append(Ran(self._batch.batch, time.perf_counter() - started, self._rows, self._split_s))
        session.send(self._out)

    def _attempt(self, members: Sequence[Open], *, first: bool, shrunk: bool = False) -> None:
        """Run members together; after an exception run halves of them, until the culprit is alone.

        Args:
            members: calls. first: not part of a split. shrunk: memory ran out once already.
        """
        method = self._method
        body = self._session.body
        run = Run(self._session, members, self._received)
        good: Sequence[Open] = members
        rest: Sequence[Open] = ()
        failed: BaseException | None = None
        try:
            decoded = method.codec.decode_batch(
                [(member.media, member.body if type(member.body) is bytes else body(member.body)) for member in members]
            )
            if decoded.errors or decoded.rest:
                errors = decoded.errors
                self._out += [failure(members[index].stream, errors[index]) for index in errors]
                apart = set(decoded.rest)
                rest = [members[index] for index in decoded.rest]
                good = [member for index, member in enumerate(members) if index not in errors and index not in apart]
                run.members = good
            if good:
                counts = decoded.counts
                if first:
                    self._rows += sum(counts)
                self._answer(good, self._call(run, decoded.arguments, counts), counts)
        except BaseException as error:  # wall: the user's code may raise anything, sys.exit included
            failed = error
        if failed is not None:
            # Not in the except block: what follows may run for long, and its own exceptions would carry this one along.
            self._failed(run, failed, first=first, shrunk=shrunk)
        if rest:
            self._attempt(rest, first=first, shrunk=shrunk)

    def _call(self, run: Run, arguments: dict[str, Any], counts: Sequence[int]) -> Any:
        """Call the method, in parts where one call brings more rows than may run at once."""
        method = self._method
        limit = method.spec.max_batch_size
        if len(counts) == 1 and counts[0] > limit:
            parts = row_parts(method.spec, arguments, counts[0], limit)
            split = method.codec.split  # checks that a part's result has the part's rows
            return join_parts([split(self._once(run, part), [size])[0] for part, size in parts], method.spec.batch_dim)
        return self._once(run, arguments)

    def _once(self, run: Run, arguments: dict[str, Any]) -> Any:
        method = self._method
        if not method.tracked:
            result = method.call(arguments)
            return self._wait(result) if method.spec.kind == "async" else result
        token = current_run.set(run)
        try:
            if method.context is not None:
                arguments[method.spec.context] = method.context(run)
            result = method.call(arguments)
            return self._wait(result) if method.spec.kind == "async" else result
        finally:
            current_run.reset(token)

    def _answer(self, members: Sequence[Open], result: Any, counts: Sequence[int]) -> None:
        """Split the result and encode each member's part."""
        method = self._method
        out = self._out
        try:
            encoded = method.codec.encode_batch(result, counts, [member.accept for member in members])
        except Exception as error:  # wall: encoding calls the user's own types
            out += [bad_output(member.stream, method, error) for member in members]
            return
        for member, answer in zip(members, encoded, strict=True):
            if type(answer) is tuple:
                out.append(Reply(member.stream, answer[0], answer[1], answer[2]))
            elif isinstance(answer, Error):
                out.append(failure(member.stream, answer))

    def _failed(self, run: Run, error: BaseException, *, first: bool, shrunk: bool) -> None:
        """Decide what an exception means for the members that ran together."""
        method = self._method
        members = run.members
        no_memory = is_out_of_memory(error)
        again = len(members) > 1 and not run.outside and all(member.idempotent for member in members)
        if no_memory and shrunk:
            again = False
        if not again:
            if not isinstance(error, Error):
                log_failure(method.spec.name, members, error)
            self._out += [method_failure(member.stream, method.spec.name, error) for member in members]
        if no_memory:
            error.__traceback__ = None  # its frames hold the very arrays that were too large
            free_memory()
        if not again:
            return
        started = time.perf_counter()
        middle = len(members) // 2
        for half in (members[:middle], members[middle:]):
            if self._session.closed:
                return  # nobody is left to hear who the culprit is
            if self._out:
                self._session.send(self._out)  # those who are done need not wait for the search
                self._out = []
            self._attempt(half, first=False, shrunk=no_memory or shrunk)
        if first:
            self._split_s += time.perf_counter() - started


def _tracked(
    method: Method, session: Session, members: Sequence[Open], received: float, arguments: dict[str, Any]
) -> Any:
    """Call a method that may ask which call it runs for."""
    run = Run(session, members, received)
    token = current_run.set(run)
    try:
        if method.context is not None:
            arguments[method.spec.context] = method.context(run)
        return method.call(arguments)
    finally:
        current_run.reset(token)


def bad_output(stream: int, method: Method, error: Exception) -> LinkMessage:
    """Return the failure of a call whose result cannot be sent."""
    if isinstance(error, Error):
        return failure(stream, error)
    return system_failure(
        stream,
        Code.BAD_OUTPUT,
        f"method {method.spec.name!r} returned what cannot be sent: {type(error).__name__}: {error}",
    )


def free_memory() -> None:
    """Give back what a failed run still holds, the device's cache included."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
