"""Runs one batch of the compute lane: decode, the user's method, encode, answers, and `Ran` with the last of them.

Owns the order of what happens to the calls of a frame; those of a batchable method are joined (see `joined`). Times in seconds.
Hot path: a call of a frame costs microseconds here, so nothing is locked, scheduled or logged per call.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from tiffin.codecs.uploads import Uploads
from tiffin.errors import Error, Failed
from tiffin.frameworks.memory import Peaks
from tiffin.messages.link import Batch, LinkMessage, Open, Ran, Reply
from tiffin.worker.context import Run, current_run
from tiffin.worker.failures import bad_output, failure, log_failure, method_failure
from tiffin.worker.health import Health, free_memory
from tiffin.worker.hosted import Hosted, Method
from tiffin.worker.joined import Await, JoinedRun
from tiffin.worker.session import Session

FLUSH_S = 0.0005  # answers of a frame wait for later ones no longer than this


class Runner:
    """See the module; one for all compute threads.

    Args:
        hosted: the loaded service. wait: runs an awaitable on the event loop and waits for it (batchable `async def`).
        health: judges exceptions. peaks: counts what joined batches take of device memory.
    """

    def __init__(self, hosted: Hosted, wait: Await, health: Health, peaks: Peaks) -> None:
        self._methods = hosted.methods
        self._wait = wait
        self._health = health
        self._peaks = peaks

    def run(self, session: Session, batch: Batch, received: float) -> None:
        """Run a batch and send all answers.

        Args:
            session: whose it is. batch: the calls. received: when it came (monotonic).
        """
        method = self._methods[batch.method]
        if method.spec.batchable:
            JoinedRun(method, session, batch, received, self._wait, self._health, self._peaks).run()
        else:
            self._frame(method, session, batch, received)

    def _frame(self, method: Method, session: Session, batch: Batch, received: float) -> None:
        """Run calls one after the other, and send what has been answered every half millisecond."""
        clock = time.perf_counter
        decode = method.codec.decode
        encode = method.codec.encode
        call = method.call
        tracked = method.tracked
        files = method.files
        out: list[LinkMessage] = []
        rows = 0
        started = flushed = now = clock()
        for member in batch.members:
            stream = member.stream
            if session.cancelled and stream in session.cancelled:
                continue
            rows += 1
            uploads = Uploads() if files else None
            try:
                body = member.body
                raw = body if type(body) is bytes else session.body(body)
                arguments = decode(member.media, raw) if uploads is None else method.decode(member, raw, uploads)
                result = _tracked(method, session, [member], received, arguments) if tracked else call(arguments)
            except Error as error:
                out.append(failure(stream, error))
            except BaseException as error:  # wall: the user's code may raise anything, sys.exit included
                arguments = {}  # they may be what was too large
                out.append(self._failed(method, session, member, error))
            else:
                try:
                    if type(result) is Failed:
                        out.append(failure(stream, result.error))
                    else:
                        encoded, media, name = encode(result, member.accept)
                        out.append(Reply(stream, encoded, media, name))
                except Exception as error:  # wall: encoding calls the user's own types
                    # A device works on behind the method's back: its errors may come to light when the result is fetched.
                    self._health.kind(method.spec.name, [member], error)
                    out.append(bad_output(stream, method.spec.name, error))
            finally:
                if uploads is not None:
                    uploads.close()
            now = clock()
            if now - flushed > FLUSH_S and member is not batch.members[-1]:
                session.send(out)
                out = []
                flushed = now
        session.release(batch)
        out.append(Ran(batch.batch, now - started, rows))
        session.send(out)

    def _failed(self, method: Method, session: Session, member: Open, error: BaseException) -> LinkMessage:
        """Return the end of a call that raised; where memory ran out it is run once more, with the caches emptied."""
        name = method.spec.name
        kind = self._health.kind(name, [member], error)
        # Of a tracked call it is not known here whether it has called what must not run twice.
        if kind == "out_of_memory" and member.idempotent and not method.tracked:
            error.__traceback__ = None  # its frames hold what was too large
            free_memory()
            uploads = Uploads() if method.files else None
            try:
                body = member.body
                arguments = method.decode(member, body if type(body) is bytes else session.body(body), uploads)
                result = method.call(arguments)
                if type(result) is Failed:
                    return failure(member.stream, result.error)
                return Reply(member.stream, *method.codec.encode(result, member.accept))
            except BaseException as again:  # wall: as in `_frame`
                error = again
            finally:
                if uploads is not None:
                    uploads.close()
        if isinstance(error, Error):
            return failure(member.stream, error)
        log_failure(name, [member], error)
        return method_failure(member.stream, name, error)


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
