"""When a worker that died is started again, and when its service counts as FAILED.

Owns the counting; pure: the clock is passed in. Times in seconds.
"""

from __future__ import annotations

from collections import deque

from tiffin.config.parts import WorkersConfig

_WINDOW_S = 60.0


class Restarts:
    """Deaths in load of one service's workers.

    Args:
        workers: settings: backoff_s, backoff_max_s, crash_limit.
    """

    def __init__(self, workers: WorkersConfig) -> None:
        self._workers = workers
        self._recent: deque[float] = deque()
        self._row = 0

    @property
    def failed(self) -> bool:
        """Whether so many workers died in load within a minute that the service is FAILED."""
        return len(self._recent) >= self._workers.crash_limit

    def died_in_load(self, now: float) -> float:
        """Count a death; return how long to wait before the worker is started again."""
        self._recent.append(now)
        while self._recent[0] <= now - _WINDOW_S:
            self._recent.popleft()
        self._row += 1
        # The exponent is bounded because a float is: 2.0 ** 1024 raises.
        return min(self._workers.backoff_s * 2.0 ** min(self._row - 1, 60), self._workers.backoff_max_s)

    def ready(self) -> None:
        """A worker of the service is ready: forget the deaths."""
        self._recent.clear()
        self._row = 0
