"""Runs one batch of a batchable method: its calls joined, and what is tried when that fails.

Owns the bisection after an exception and the smaller runs after memory ran out; never chooses what runs next. Times in seconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from tiffin.codecs.uploads import Incoming, Uploads
from tiffin.errors import Error
from tiffin.frameworks.memory import Peaks
from tiffin.messages.link import Batch, Failure, LinkMessage, Open, Ran, Reply
from tiffin.worker.context import Run, current_run
from tiffin.worker.failures import bad_output, failure, log_failure, method_failure
from tiffin.worker.health import Health, free_memory, size_bucket
from tiffin.worker.hosted import Method
from tiffin.worker.parts import join_parts, row_parts
from tiffin.worker.session import Session

Await = Callable[[Awaitable[Any]], Any]
_log = logging.getLogger("tiffin.worker")


class JoinedRun:
    """See the module.

    Args:
        method, session, batch: what runs, for whom. received: when it came (monotonic). wait: runs an awaitable on the event loop
            and waits for it. health: judges exceptions. peaks: counts what runs take of device memory.
    """

    __slots__ = (
        "_batch",
        "_exhausted",
        "_fits",
        "_health",
        "_limit",
        "_method",
        "_out",
        "_peaks",
        "_ran",
        "_received",
        "_retried",
        "_rows",
        "_session",
        "_split_s",
        "_wait",
    )

    def __init__(
        self, method: Method, session: Session, batch: Batch, received: float, wait: Await, health: Health, peaks: Peaks
    ) -> None:
        self._method = method
        self._session = session
        self._batch = batch
        self._received = received
        self._wait = wait
        self._health = health
        self._peaks = peaks
        self._out: list[LinkMessage] = []
        self._rows = 0
        self._split_s = 0.0
        most = method.spec.max_batch_size
        self._limit = min(most, batch.limit) if batch.limit else most  # rows at once, from now on
        self._exhausted: list[tuple[Sequence[Open], list[Failure]]] = []
        self._retried = False  # a single row was tried twice
        self._ran = 0  # most rows that did run at once
        self._fits = 0  # what `Ran.fits` says

    def run(self) -> None:
        """Run it and send all answers."""
        started = time.perf_counter()
        session = self._session
        members: Sequence[Open] = self._batch.members
        if session.cancelled:
            members = [member for member in members if member.stream not in session.cancelled]
        if members:
            self._attempt(members, first=True)
        if self._exhausted:
            self._answer_exhausted()
        session.release(self._batch)
        took_s = time.perf_counter() - started
        self._out.append(Ran(self._batch.batch, took_s, self._rows, self._split_s, self._fits))
        session.send(self._out)

    def _attempt(self, members: Sequence[Open], *, first: bool) -> None:
        """Run members together; after an exception find out which of them, or how many, cannot be run.

        Args:
            members: calls. first: not part of a search.
        """
        run = Run(self._session, members, self._received)
        good, rest, size, failed = self._try(run, members, first=first)
        # By now nothing here holds the arguments: what follows may need the memory that they took.
        if failed is not None:
            began = time.perf_counter()
            if self._failed(run, failed) and first:
                self._split_s += time.perf_counter() - began
        elif good:
            rows = sum([member.rows for member in members])
            self._ran = max(self._ran, min(rows, self._limit))
            self._health.fitted(self._method.index, size_bucket(size, rows), min(rows, self._limit))
        if rest:
            self._attempt(rest, first=first)

    def _try(
        self, run: Run, members: Sequence[Open], *, first: bool
    ) -> tuple[Sequence[Open], Sequence[Open], int, BaseException | None]:
        """Run members together, once.

        Returns:
            those that ran, those that cannot be joined with them, bytes of all, and what was raised.
        """
        method = self._method
        body = self._session.body
        good: Sequence[Open] = members
        rest: Sequence[Open] = ()
        size = 0
        uploads = Uploads() if method.files else None
        try:
            bodies = [
                (member.media, member.body if type(member.body) is bytes else body(member.body)) for member in members
            ]
            size = sum([len(one) for _media, one in bodies])
            if uploads is None:
                decoded = method.codec.decode_batch(bodies)
            else:
                types = [member.meta.get("content-type", "") for member in members]
                decoded = method.codec.decode_batch(
                    [(*one, Incoming(kind, uploads)) for one, kind in zip(bodies, types, strict=True)]
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
            return good, rest, size, error
        finally:
            if uploads is not None:
                uploads.close()
        return good, rest, size, None

    def _call(self, run: Run, arguments: dict[str, Any], counts: Sequence[int]) -> Any:
        """Call the method, in parts where one call brings more rows than may run at once."""
        method = self._method
        limit = self._limit
        if len(counts) == 1 and counts[0] > limit:
            parts = row_parts(method.spec, arguments, counts[0], limit)
            split = method.codec.split  # checks that a part's result has the part's rows
            return join_parts(
                [split(self._once(run, part, size), [size])[0] for part, size in parts], method.spec.batch_dim
            )
        return self._once(run, arguments, sum(counts))

    def _once(self, run: Run, arguments: dict[str, Any], rows: int) -> Any:
        """Call the method with rows that run at once."""
        method = self._method
        token = current_run.set(run) if method.tracked else None
        base = self._peaks.before()
        try:
            if method.context is not None:
                arguments[method.spec.context] = method.context(run)
            result = method.call(arguments)
            if method.spec.kind == "async":
                result = self._wait(result)
        finally:
            if token is not None:
                current_run.reset(token)
        if base >= 0:
            self._peaks.after(base, method.spec.name, rows)
        return result

    def _answer(self, members: Sequence[Open], result: Any, counts: Sequence[int]) -> None:
        """Split the result and encode each member's part."""
        method = self._method
        out = self._out
        try:
            encoded = method.codec.encode_batch(result, counts, [member.accept for member in members])
        except MemoryError:
            raise
        except Exception as error:  # wall: encoding calls the user's own types
            if self._health.kind(method.spec.name, members, error) == "out_of_memory":
                raise  # a result that does not fit beside its copy is a batch that is too large
            out += [bad_output(member.stream, method.spec.name, error) for member in members]
            return
        for member, answer in zip(members, encoded, strict=True):
            if type(answer) is tuple:
                out.append(Reply(member.stream, answer[0], answer[1], answer[2]))
            elif isinstance(answer, Error):
                out.append(failure(member.stream, answer))

    def _failed(self, run: Run, error: BaseException) -> bool:
        """Decide what an exception means for the members that ran together; return whether any of them ran again."""
        members = run.members
        kind = self._health.kind(self._method.spec.name, members, error)
        again = not run.outside and all(member.idempotent for member in members)
        if kind == "out_of_memory":
            return self._no_memory(members, error, again=again)
        if again and len(members) > 1:
            middle = len(members) // 2
            for half in (members[:middle], members[middle:]):
                if not self._send_early():
                    break
                self._attempt(half, first=False)
            return True
        if not isinstance(error, Error):
            log_failure(self._method.spec.name, members, error)
        self._out += [method_failure(member.stream, self._method.spec.name, error) for member in members]
        return False

    def _no_memory(self, members: Sequence[Open], error: BaseException, *, again: bool) -> bool:
        """Memory ran out: run the members again, fewer rows at once, until it is enough or a single row is too much.

        Returns:
            whether they ran again.
        """
        name = self._method.spec.name
        rows = min(self._limit, sum(member.rows for member in members))
        if not again or (rows <= 1 and self._retried):
            log_failure(name, members, error)
            _forget_frames(error)
            free_memory()
            failures = [method_failure(member.stream, name, error) for member in members]
            if again:
                self._exhausted.append((members, failures))  # whose fault it is shows when the others have run
            else:
                self._out += failures
            return False
        _forget_frames(error)
        free_memory()
        self._retried = self._retried or rows <= 1
        # The next power of two: at least half, so that few tries are needed; 9 rows that do not fit are no reason to run 4.
        self._limit = max(1, 1 << max(0, (rows - 1).bit_length() - 1))
        _log.warning("method %r ran out of memory with %d row(s) at once; trying %d", name, rows, self._limit)
        before, self._ran = self._ran, 0
        for group in self._groups(members):
            if not self._send_early():
                break
            self._attempt(group, first=False)
        if self._ran:
            self._fits = self._ran  # what did run, not what might have
        self._ran = max(before, self._ran)
        return True

    def _answer_exhausted(self) -> None:
        """Answer rows for which memory did not suffice alone, unless this process is to blame: then it ends here."""
        members = [member for part, _failures in self._exhausted for member in part]
        # Who failed so elsewhere already is no sign of a fault here, and neither is who failed where others ran.
        if not self._ran and all(member.attempt == 1 for member in members) and self._send_early():
            rows = min(self._limit, sum(member.rows for member in members))
            bucket = size_bucket(sum(map(_size, members)), sum(member.rows for member in members))
            self._health.exhausted(self._method.index, bucket, self._method.spec.name, rows)
        for _part, failures in self._exhausted:
            self._out += failures

    def _groups(self, members: Sequence[Open]) -> Iterator[Sequence[Open]]:
        """Cut members, in order, into groups of no more rows than may run at once, which a group may teach to be fewer."""
        start = 0
        while start < len(members):
            end, rows = start + 1, members[start].rows
            while end < len(members) and rows + members[end].rows <= self._limit:
                rows += members[end].rows
                end += 1
            yield members[start:end]
            start = end

    def _send_early(self) -> bool:
        """Send what is answered: those who are done need not wait for the rest. Return whether anybody still listens."""
        if self._session.closed:
            return False
        if self._out:
            self._session.send(self._out)
            self._out = []
        return True


def _size(member: Open) -> int:
    body = member.body
    return len(body) if type(body) is bytes else body.size  # type: ignore[union-attr]


def _forget_frames(error: BaseException) -> None:
    """Let go of the frames of an exception and of those it came from: they hold the very arrays that were too large."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            left += [one.__cause__, one.__context__]
