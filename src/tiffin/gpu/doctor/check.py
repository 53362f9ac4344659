"""What a check of the doctor is: one question, answered from facts that were read before.

Owns the type and how a check is named; never reads the machine. A check is a function whose name, with dashes, is the `check` of
its finding (`def driver_mismatch` gives "driver-mismatch"); the first line of its docstring stands in the reference page.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from tiffin.gpu.doctor.facts import Facts
from tiffin.gpu.doctor.finding import Finding

Check = Callable[[Facts], Finding]


def name_of(check: Check) -> str:
    """Return the stable name of a check, "driver-mismatch"."""
    return str(getattr(check, "__name__", "check")).replace("_", "-")


def purpose_of(check: Check) -> str:
    """Return the line that says what a check looks at."""
    return (inspect.getdoc(check) or "").split("\n", 1)[0]
