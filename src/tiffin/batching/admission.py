"""Whether a new call has a chance, and how it is refused if not.

Owns the refusals' codes, words and Retry-After; changes nothing. Times in seconds (CLOCK_MONOTONIC where absolute).
"""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.batching.capacity import Worker
from tiffin.batching.instructions import Reject
from tiffin.batching.policy import Limits, Ticket
from tiffin.batching.queues import Lane, Method
from tiffin.errors import Code

MARGIN = 1.1  # a predicted wait is taken so much longer: calls that only just miss their time cost the most
LEAST_RETRY_S = 0.05


def refuse_full(ticket: Ticket, lane: Lane, limits: Limits, queued_calls: int) -> Reject:
    """Refuse a call for which the queue has no room; retry when a tenth of what waits is done."""
    retry = max(LEAST_RETRY_S, 0.1 * lane.queued_s / max(1, lane.slots))
    if queued_calls >= limits.queue_calls:
        message = f"{queued_calls} calls wait already, the limit of this service (traffic.queue_calls)"
    else:
        message = f"a body of {ticket.size} bytes finds no room among the waiting ones: traffic.queue_bytes is {limits.queue_bytes}"
    return Reject(ticket.id, Code.TOO_MANY, message, retry)


def refuse_slow(now: float, ticket: Ticket, method: Method, workers: Sequence[Worker]) -> Reject | None:
    """Refuse a call whose predicted wait and compute end after it is due; None lets it in.

    A call for which there is a free slot is always let in: a prediction that is wrong is mended only by a run.
    """
    lane = method.lane
    number = lane.number
    free = 0
    wait = lane.queued_s
    for worker in workers:
        running = worker.running[number]
        free += worker.slots[number] - len(running)
        if number == 0:
            for batch in running.values():
                wait += min(batch.remaining_s(now), batch.predicted)
            for batch in worker.staged:
                wait += batch.predicted
    if free > lane.queued + lane.alone.live:
        return None
    if number:
        wait += lane.running_s / 2  # on average half of each is over
    compute = method.predict(ticket.rows)
    if method.batchable:
        # What waits for less than a full batch runs together with this call, and so do others that come until then.
        rest = method.queued_rows % method.room
        wait -= rest * method.unit_s
        company = min(method.room, max(rest + ticket.rows, method.recent_rows))
        compute = method.predict(max(ticket.rows, company))
    wait = max(0.0, wait) * MARGIN / lane.slots
    allowed = ticket.due - now
    if wait + compute <= allowed:
        return None
    message = f"overloaded: the call would take {wait:.3f} s to wait and {compute:.3f} s to run, it has {max(0.0, allowed):.3f} s"
    return Reject(ticket.id, Code.OVERLOADED, message, max(LEAST_RETRY_S, wait + compute - allowed))
