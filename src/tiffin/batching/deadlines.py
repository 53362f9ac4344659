"""A wheel of deadlines: who is due by now.

Owns the buckets; keeps nothing of a call that was discarded. Times in CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

PER_SECOND = 40  # buckets of 25 ms, the pause between two ticks


class Wheel:
    """Sets of ids by the 25 ms in which they are due. Adding and discarding cost the same however many are open."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: dict[int, dict[int, float]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def add(self, key: int, at: float) -> None:
        """Remember that `key` is due at `at`."""
        bucket = int(at * PER_SECOND)
        entries = self._buckets.get(bucket)
        if entries is None:
            self._buckets[bucket] = {key: at}
        else:
            entries[key] = at

    def discard(self, key: int, at: float) -> None:
        """Forget `key`, added with the same `at`; unknown ones are ignored."""
        bucket = int(at * PER_SECOND)
        entries = self._buckets.get(bucket)
        if entries is not None and entries.pop(key, None) is not None and not entries:
            del self._buckets[bucket]

    def due(self, now: float) -> list[int]:
        """Take out and return all that are due at or before `now`, the earliest first."""
        last = int(now * PER_SECOND)
        found: list[tuple[float, int]] = []
        for bucket in [bucket for bucket in self._buckets if bucket <= last]:
            entries = self._buckets[bucket]
            if bucket < last:
                found.extend((at, key) for key, at in entries.items())
                del self._buckets[bucket]
                continue
            ready = [(at, key) for key, at in entries.items() if at <= now]
            found.extend(ready)
            for _, key in ready:
                del entries[key]
            if not entries:
                del self._buckets[bucket]
        found.sort()
        return [key for _, key in found]
