"""What a method may know of the call that it serves: a parameter annotated `tiffin.Context`.

Owns the value that is handed over; never opens a stream. Times in seconds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CallInfo:
    """One call.

    Attributes:
        request_id: the client's or Tiffin's own id of it. attempt: 1 for the first run.
        meta: traceparent and other things that travel with a call.
    """

    request_id: str
    attempt: int = 1
    meta: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Context:
    """The run that a method serves; of a batch, all of its calls.

    Attributes:
        calls: in the order of their rows; one for methods that are not batchable.
        deadline: when the last of them stops waiting (`time.monotonic`).
    """

    calls: tuple[CallInfo, ...]
    deadline: float

    @property
    def request_id(self) -> str:
        """The id of the (first) call."""
        return self.calls[0].request_id

    @property
    def attempt(self) -> int:
        """How often the (first) call was run, this time included."""
        return self.calls[0].attempt

    @property
    def meta(self) -> Mapping[str, str]:
        """What travels with the (first) call."""
        return self.calls[0].meta

    def remaining_s(self) -> float:
        """Return the seconds until the deadline, 0 when it has passed."""
        return max(0.0, self.deadline - time.monotonic())
