"""The nouns that the scheduler is told: methods, bounds, a worker's capacity, calls.

Owns their shape; decides nothing. Times in seconds (CLOCK_MONOTONIC where absolute), sizes in bytes.
"""

from __future__ import annotations

import msgspec

from tiffin.spec.service import Lane

QUEUED = 0  # waits in a queue of the scheduler
SENT = 1  # in a batch that a worker has; its client waits
GONE = 2  # in a batch that a worker has; its client was told something else, or left
DONE = 3  # ended, and no worker runs it as far as the scheduler knows


class MethodPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What the scheduler must know of one method.

    Attributes:
        batchable: calls are joined along the rows; else calls of a frame run one after the other.
        max_rows: rows per run (batchable only).
        max_latency_s: cap on queue + compute; a call that would take longer is refused early.
        lane: the worker capacity that it uses.
        idempotent: what its calls are unless their ticket says otherwise.
        run_limit_s: a run longer than this replaces the worker.
        name: for messages.
    """

    batchable: bool = False
    max_rows: int = 100
    max_latency_s: float = 60.0
    lane: Lane = "compute"
    idempotent: bool = True
    run_limit_s: float = 30.0
    name: str = ""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one service, from `config.TrafficConfig`.

    Attributes:
        queue_calls: calls that may wait. queue_bytes: bytes of their payloads.
        max_attempts: times that an idempotent call may be run when workers die.
    """

    queue_calls: int = 10_000
    queue_bytes: int = 536_870_912
    max_attempts: int = 4


class Slots(msgspec.Struct, frozen=True, kw_only=True):
    """Capacity of one worker: compute threads, async calls, threads for sync generators."""

    threads: int = 1
    concurrency: int = 128
    streams: int = 8


class Ticket(msgspec.Struct):
    """One open call. The engine fills the first eight fields and hands the ticket over; the rest is the scheduler's own.

    Attributes:
        id: unique among open calls. method: index of its policy. rows: rows it brings. size: bytes of its payload.
        arrived: when. deadline: when its client stops waiting.
        idempotent: may be run again after a worker died.
        inner: a call that an admitted call makes through `depends()`: goes first, no queue bound.
        state: QUEUED, SENT, GONE or DONE. due: when it is looked at next: deadline, or the end of max_latency_s if earlier.
        cost_s: what it adds to the predicted wait while queued. batch: id of the batch it is in, 0 for none.
        attempts: times it was given to a worker that may have started it. deaths: crashes it was present in.
        streamed: its first byte was sent.
    """

    id: int
    method: int
    rows: int
    size: int
    arrived: float
    deadline: float
    idempotent: bool = True
    inner: bool = False
    state: int = QUEUED
    due: float = 0.0
    cost_s: float = 0.0
    batch: int = 0
    attempts: int = 0
    deaths: int = 0
    streamed: bool = False
