"""What becomes of a call whose worker died while it ran.

Owns the verdict; changes nothing. Attempts and deaths are counted on the ticket, the death at hand included.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from tiffin.batching.policy import Ticket
from tiffin.errors import Code

DownCause = Literal["crash", "killed", "oom_killer", "run_limit", "link", "device", "out_of_memory"]
BLAMED = frozenset({"crash", "device"})  # deaths that the input of a call may have brought about

RETRY_AFTER_S = 1.0  # a worker is replaced within about this


class Verdict(NamedTuple):
    """How a call ends: fields as in `instructions.Reject`."""

    code: Code
    message: str
    retry_after_s: float = 0.0


def verdict(
    ticket: Ticket, name: str, *, alone: bool, overran: bool, run_limit_s: float, max_attempts: int
) -> Verdict | None:
    """Decide about a call that ran in a worker that died.

    Args:
        ticket: the call, this death counted.
        name: its method's name.
        alone: it was the only call that ran in the worker, and the worker crashed by itself.
        overran: it was alone in the batch for whose run limit the worker was killed.
        run_limit_s: that limit.
        max_attempts: times that a call may be run.

    Returns:
        How it ends, or None if it is run again.
    """
    what = f"the worker died while method {name!r} ran"
    if overran:
        return Verdict(Code.RUN_LIMIT, f"method {name!r} ran longer than its run limit of {run_limit_s:g} s")
    if ticket.streamed:
        return Verdict(Code.WORKER_LOST, f"{what}, after the first part of the answer was sent", RETRY_AFTER_S)
    if not ticket.idempotent:
        return Verdict(Code.MAYBE_EXECUTED, f"{what}; the call may have taken effect and is not run again")
    if alone and ticket.deaths >= 2:
        return Verdict(
            Code.POISON, f"{what} in {ticket.deaths} workers, at last with nothing but this call; it is not run again"
        )
    if ticket.attempts >= max_attempts:
        return Verdict(Code.WORKER_LOST, f"{what}, {ticket.attempts} times in a row", RETRY_AFTER_S)
    return None
