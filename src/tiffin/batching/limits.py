"""How many rows of a method fit into memory at once, as far as workers have found out.

Owns what was learned, by the size of a row: larger rows never fit more. Pure, the clock is passed in. Times in seconds, sizes in
bytes.
"""

from __future__ import annotations

from tiffin.batching.policy import Ticket

# Memory may have been short for a while only, because of a neighbour: after so long twice as many are tried again, which costs a
# second run if it was no use, and then half as often from then on.
PROBE_S = 600.0
PROBE_MOST_S = 4 * 3_600.0


class _Limit:
    """What is known of one size class: rows that fit, and when more are tried."""

    __slots__ = ("pause_s", "probe_at", "rows")

    def __init__(self, rows: int, now: float) -> None:
        self.rows = rows
        self.pause_s = PROBE_S
        self.probe_at = now + PROBE_S


class RowLimits:
    """See the module; empty, and free of cost, until memory runs out for the first time.

    Args:
        most: rows of a batch that the method allows.
    """

    __slots__ = ("_by_bucket", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_bucket: dict[int, _Limit] = {}

    def __bool__(self) -> bool:
        return bool(self._by_bucket)

    @property
    def least(self) -> int:
        """Return the lowest limit that was learned; the method's own where none was."""
        return min((limit.rows for limit in self._by_bucket.values()), default=self._most)

    def of(self, now: float, bucket: int) -> int:
        """Return how many rows may run at once where the largest is of this size class (see `bucket_of`)."""
        rows = self._most
        for known, limit in self._by_bucket.items():
            if known <= bucket:
                rows = min(rows, limit.rows if now < limit.probe_at else limit.rows * 2)
        return rows

    def learn(self, now: float, bucket: int, rows: int) -> None:
        """Note that more than so many rows of a size class ran out of memory."""
        limit = self._by_bucket.get(bucket)
        if limit is None:
            self._by_bucket[bucket] = _Limit(rows, now)
            return
        if now >= limit.probe_at:
            limit.pause_s = min(limit.pause_s * 2, PROBE_MOST_S)
        limit.probe_at = now + limit.pause_s
        limit.rows = min(limit.rows, rows)

    def held(self, now: float, bucket: int, rows: int) -> None:
        """Note that so many rows of a size class ran at once: what was learned to be too much is so no more."""
        for known in [known for known in self._by_bucket if known <= bucket]:
            limit = self._by_bucket[known]
            if rows > limit.rows and now >= limit.probe_at:
                limit.rows = rows
                limit.probe_at = now + limit.pause_s
            if limit.rows >= self._most:
                del self._by_bucket[known]


def bucket_of(ticket: Ticket) -> int:
    """Return the size class of a call's rows: the number of binary digits of a row's bytes."""
    return (ticket.size // max(1, ticket.rows)).bit_length()
