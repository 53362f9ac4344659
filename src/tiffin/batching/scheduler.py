"""The scheduler of one service: events in, instructions out.

Owns every open call's place; never does I/O, never looks at a clock. Times in CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tiffin.batching.instructions import Instruction, Reject
from tiffin.batching.policy import Limits, MethodPolicy, Slots, Ticket
from tiffin.errors import Code

DownCause = Literal["crash", "killed", "oom_killer", "run_limit", "link"]


class Scheduler:
    """API only; the decisions follow."""

    queued_calls: int
    queued_bytes: int
    running: int

    def __init__(self, methods: Sequence[MethodPolicy], limits: Limits, transfer_s: float = 0.0003) -> None:
        raise NotImplementedError

    def arrive(self, now: float, ticket: Ticket) -> Reject | None:
        """Take a call, or refuse it."""
        raise NotImplementedError

    def cancel(self, now: float, call: int) -> list[Instruction]:
        """The client left."""
        raise NotImplementedError

    def answered(self, call: int) -> None:
        """A reply or failure came."""
        raise NotImplementedError

    def streaming(self, call: int) -> None:
        """The first byte was sent."""
        raise NotImplementedError

    def made_outside_call(self, call: int) -> None:
        """It called a non-idempotent method."""
        raise NotImplementedError

    def worker_up(self, now: float, worker: int, slots: Slots) -> None:
        """A worker is ready for work."""
        raise NotImplementedError

    def worker_down(self, now: float, worker: int, cause: DownCause) -> list[Instruction]:
        """A worker is gone."""
        raise NotImplementedError

    def worker_paused(self, worker: int, paused: bool) -> None:
        """A frozen worker gets no new work."""
        raise NotImplementedError

    def finished(self, now: float, worker: int, batch: int, compute_s: float, rows: int, split_s: float) -> None:
        """A batch ran."""
        raise NotImplementedError

    def recalled(self, now: float, worker: int, batch: int) -> None:
        """A batch came back."""
        raise NotImplementedError

    def drop_all(self, code: Code) -> list[Reject]:
        """End every open call."""
        raise NotImplementedError

    def schedule(self, now: float) -> list[Instruction]:
        """Give waiting calls to free workers."""
        raise NotImplementedError

    def tick(self, now: float) -> list[Instruction]:
        """Look at deadlines and run limits."""
        raise NotImplementedError

    def backlog_s(self, worker: int) -> float:
        """Return the predicted compute of what a worker has."""
        raise NotImplementedError

    @property
    def predicted_wait_s(self) -> float:
        """Predicted wait of a new compute call."""
        raise NotImplementedError

    @property
    def open_calls(self) -> int:
        """Calls that have not ended."""
        raise NotImplementedError
