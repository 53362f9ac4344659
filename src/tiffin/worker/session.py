"""One link's life as the worker sees it: what it was given over this link and has not finished.

Owns the batches, cancellations, streams and calls of one connection; never runs anything. Answers to a link that broke are
dropped here: the engine behind the next link never asked for them, and its call ids may be the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

from tiffin.errors import Code
from tiffin.link.ends import LinkClosed, WorkerEnd
from tiffin.link.frames import BadFrame
from tiffin.messages.link import Batch, Data, End, Failure, LinkMessage, Open, Recalled, Reply, Slot
from tiffin.worker.failures import system_failure

Answer = Reply | Data | End | Failure


class Session:
    """See the module. Entries of its dicts are set and removed by single operations, which threads may mix.

    Args:
        end: the connection. window: bytes of a stream that may be under way.

    Attributes:
        closed: the link is gone.
        waiting: compute batches that have not started, by id. running: those that have.
        cancelled: members of waiting or running batches whose clients left.
        stop: how to stop a call of the async or stream lane, by stream id.
        widen: how to add to the window of a call that streams its answer, by stream id.
        answers: who waits for the answer to a call that a method made, by this worker's stream id.
        stop_inner: how to end the waiting of a call's own calls, by the outer stream id.
    """

    __slots__ = (
        "_end",
        "_ids",
        "answers",
        "cancelled",
        "closed",
        "running",
        "stop",
        "stop_inner",
        "waiting",
        "widen",
        "window",
    )

    def __init__(self, end: WorkerEnd, window: int) -> None:
        self._end = end
        self._ids = count(1, 2)
        self.window = window
        self.closed = False
        self.waiting: dict[int, Batch] = {}
        self.running: dict[int, Batch] = {}
        self.cancelled: set[int] = set()
        self.stop: dict[int, Callable[[], None]] = {}
        self.widen: dict[int, Callable[[int], None]] = {}
        self.answers: dict[int, Callable[[Answer], None]] = {}
        self.stop_inner: dict[int, dict[int, Callable[[], None]]] = {}

    def send(self, messages: Sequence[LinkMessage]) -> None:
        """Send to the engine; what a broken link cannot take is dropped."""
        try:
            self._end.send(messages)
        except LinkClosed:
            self.closed = True
        except BadFrame as error:
            if len(messages) > 1:
                for message in messages:
                    self.send([message])
            elif isinstance(messages[0], Reply | Data):
                # The reader's side of a stream that cannot be sent ends here; a generator goes on until it is told.
                self.send([system_failure(messages[0].stream, Code.BAD_OUTPUT, f"the answer cannot be sent: {error}")])
            elif isinstance(messages[0], Open):
                answer = self.answers.get(messages[0].stream)
                if answer is not None:
                    answer(system_failure(messages[0].stream, Code.TOO_LARGE, f"the call cannot be sent: {error}"))

    def body(self, body: bytes | Slot) -> bytes | memoryview:
        """Return a payload; see `WorkerEnd.body`."""
        return self._end.body(body)

    def next_stream(self) -> int:
        """Return an id for a call that this worker makes: odd, rising."""
        return next(self._ids)

    def unwanted(self, stream: int) -> bool:
        """Say whether nobody waits for a call any more."""
        return self.closed or stream in self.cancelled

    # -- batches of the compute lane -----------------------------------------------------------------------------------

    def claim(self, batch: Batch) -> bool:
        """Start a waiting batch; false if the engine took it back or the link is gone."""
        # In this order, so that a cancel that comes in between always finds the batch in one of the two.
        self.running[batch.batch] = batch
        if self.waiting.pop(batch.batch, None) is None or self.closed:
            self.running.pop(batch.batch, None)
            return False
        return True

    def release(self, batch: Batch) -> None:
        """Forget a batch that is over."""
        self.running.pop(batch.batch, None)
        if self.cancelled:
            self.cancelled.difference_update([member.stream for member in batch.members])

    def recall(self, batch: int) -> None:
        """Give a batch back if it has not started."""
        if self.waiting.pop(batch, None) is not None:
            self.send([Recalled(batch)])

    def cancel(self, stream: int) -> None:
        """Stop what is done for a call, as far as that is possible; one that waits in a batch is not run."""
        stop = self.stop.get(stream)
        if stop is not None:
            stop()
        else:
            # Noted first, searched after: a batch that ends in between forgets its members' notes (see `release`).
            self.cancelled.add(stream)
            held = list(self.waiting.values()) + list(self.running.values())
            if not any(member.stream == stream for batch in held for member in batch.members):
                self.cancelled.discard(stream)
        inner = self.stop_inner.get(stream)
        if inner:
            for stop in list(inner.values()):
                stop()

    def stop_all(self) -> None:
        """Stop all async calls and streams."""
        for stop in list(self.stop.values()):
            stop()

    def close(self) -> None:
        """End everything: the link is gone."""
        self.closed = True
        self.waiting.clear()
        self.stop_all()
        for stream, answer in list(self.answers.items()):
            answer(system_failure(stream, Code.UNAVAILABLE, "the link to the engine broke while this call was open"))
        self._end.close()
