"""How often array bytes were copied out of a body, for the tests of the promise that it happens once per call or batch.

Owns one count; nothing decides by it.
"""

from __future__ import annotations


class Copies:
    """Copies of array bytes made so far in this process; not exact when threads decode at once."""

    __slots__ = ("made",)

    def __init__(self) -> None:
        self.made = 0


copies = Copies()
