"""A clock that is set by hand. Owns nothing but its time, in seconds."""

from __future__ import annotations


class FakeClock:
    """Call it for the time; change `now` to let time pass."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> float:
        """Let time pass; return the new time."""
        self.now += seconds
        return self.now
