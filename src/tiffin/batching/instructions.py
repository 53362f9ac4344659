"""What the scheduler tells the engine to do.

Owns the instruction structs; carries none out. Times in seconds. Calls, batches and workers are named by their ids.
"""

from __future__ import annotations

import msgspec

from tiffin.errors import Code


class Dispatch(msgspec.Struct):
    """Send these calls of one method to a worker as one batch.

    `attempt` holds for every member (1 for the first); `limit`: rows that may run at once, 0 for what the method says.
    """

    worker: int
    batch: int
    method: int
    calls: list[int]
    attempt: int = 1
    limit: int = 0


class Recall(msgspec.Struct):
    """Ask a worker to give back a batch that it has not started."""

    worker: int
    batch: int


class Abort(msgspec.Struct):
    """Tell a worker that nobody waits for this call any more."""

    worker: int
    call: int


class Kill(msgspec.Struct):
    """Replace a worker that broke a run limit. `reason` is for logs."""

    worker: int
    reason: str


class Reject(msgspec.Struct):
    """End a call with a failure. `retry_after_s` is 0 where the code is not retryable."""

    call: int
    code: Code
    message: str
    retry_after_s: float = 0.0


class Expire(msgspec.Struct):
    """End a call with DEADLINE; what runs of it is left alone and its result dropped."""

    call: int


Instruction = Dispatch | Recall | Abort | Kill | Reject | Expire
