"""The call that runs now, as far as user code can see it: its context, and where its own calls hang.

Owns one context variable; it is set only for services whose methods take a Context or that depend on others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextvars import ContextVar

from tiffin.messages.link import Open
from tiffin.worker.session import Session


class Run:
    """Members of a batch while their method runs.

    Attributes:
        session: the link they came over. members: the calls. until: when the last of them has its deadline (monotonic).
        outside: a method that must not run twice was called: nothing of this run may be run again.
    """

    __slots__ = ("members", "outside", "session", "until")

    def __init__(self, session: Session, members: Sequence[Open], received: float) -> None:
        self.session = session
        self.members = members
        self.until = received + max(member.remaining_s for member in members)
        self.outside = False

    def remaining_s(self) -> float:
        """Return the seconds until the deadline."""
        return self.until - time.monotonic()


current_run: ContextVar[Run | None] = ContextVar("tiffin_run", default=None)
