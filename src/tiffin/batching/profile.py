"""How long a method takes for so many rows, learned from what ran.

Owns the estimates; never decides with them. Times in seconds.
"""

from __future__ import annotations

GROWTH = 1.5  # a size not seen yet: each doubling of the rows above the largest known size costs so much more
SETTLING = 4  # samples of a size that weigh half: the first runs of a model are seldom typical
WEIGHT = 0.2


class Profile:
    """Moving averages of compute time, one per power of two of the rows.

    Args:
        max_rows: largest number of rows that a run can have; more are predicted as several runs.
    """

    __slots__ = ("_filled", "_max_rows", "_samples", "_seconds", "_top", "_unseen")

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._top = max_rows.bit_length()
        self._seconds = [0.0] * (self._top + 1)
        self._samples = [0] * (self._top + 1)
        self._filled = [0.0] * (self._top + 1)
        self._unseen = self._top  # sizes that never ran; there is none of 0 rows

    def predict(self, rows: int) -> float:
        """Return the seconds that a run of `rows` takes; 0 while nothing ran yet."""
        if rows > self._max_rows:
            return self._filled[self._top] * rows / self._max_rows
        return self._filled[rows.bit_length()]

    def observe(self, rows: int, seconds: float) -> None:
        """Learn that a run of `rows` (at least 1) took `seconds`."""
        if rows > self._max_rows:
            seconds *= self._max_rows / rows
            rows = self._max_rows
        size = rows.bit_length()
        samples = self._samples[size]
        self._samples[size] = samples + 1
        old = self._seconds[size]
        if samples == 0:
            new = seconds
        else:
            # A much faster run than expected is believed at once: an estimate spoiled by one slow run would refuse calls.
            weight = 0.5 if samples < SETTLING or seconds * 2 < old else WEIGHT
            new = old + (seconds - old) * weight
        self._seconds[size] = new
        if self._unseen:
            if samples == 0:
                self._unseen -= 1
            self._fill()
        else:
            self._filled[size] = new

    def _fill(self) -> None:
        """Guess the sizes not seen: as long as the next larger one that was; above the largest, growing."""
        guess = 0.0
        filled = self._filled
        seconds = self._seconds
        for size in range(self._top, -1, -1):
            if self._samples[size]:
                guess = seconds[size]
            filled[size] = guess
        for size in range(1, self._top + 1):
            if filled[size] == 0.0:
                filled[size] = filled[size - 1] * GROWTH
