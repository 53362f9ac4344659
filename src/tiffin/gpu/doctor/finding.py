"""What one check of the doctor found.

Owns the shape of a finding and the exit status that findings stand for; never looks at a machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

Level = Literal["ok", "skipped", "note", "warning", "error"]
_STATUS: dict[Level, int] = {"ok": 0, "skipped": 0, "note": 0, "warning": 1, "error": 2}


class Fix(msgspec.Struct, frozen=True):
    """One way to mend it.

    Attributes:
        where: for which system it is, "Debian/Ubuntu", "RHEL/Fedora", "Arch", "any system", or a longer condition.
        commands: to be typed as they are, one a line; files to be edited are said in a line that starts with "#".
    """

    where: str
    commands: tuple[str, ...]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found.

    Attributes:
        check: stable name, "driver-mismatch". level: how bad it is; "skipped" where the check has nothing to look at.
        title: one line that says what was looked at and how it is. evidence: what was seen, each with where it was seen.
        cause: why it is so and what it does to a service, "" where all is well. fixes: the best way first.
    """

    check: str
    level: Level
    title: str
    evidence: tuple[str, ...] = ()
    cause: str = ""
    fixes: tuple[Fix, ...] = ()


def exit_status(findings: Iterable[Finding]) -> int:
    """Return the exit status of the worst finding: 0 all is well, 1 a warning, 2 an error."""
    return max((_STATUS[finding.level] for finding in findings), default=0)
