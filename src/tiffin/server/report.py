"""What the operator reads on stderr while `tiffin serve` runs.

Owns the wording's frame, one line per event, no colour; never decides what happened.
"""

from __future__ import annotations

import sys
from typing import TextIO

_LEVELS = ("debug", "info", "warning", "error")


class Report:
    """Writes lines at or above a level.

    Args:
        level: debug, info, warning or error. stream: where to, stderr by default.
    """

    def __init__(self, level: str, stream: TextIO | None = None) -> None:
        self._from = _LEVELS.index(level) if level in _LEVELS else 1
        self._stream = stream

    def info(self, text: str) -> None:
        """Write what goes as it should."""
        self._write(1, text)

    def warning(self, text: str) -> None:
        """Write what the operator should know, loudly."""
        self._write(2, f"WARNING: {text}")

    def error(self, text: str) -> None:
        """Write what went wrong."""
        self._write(3, f"ERROR: {text}")

    def _write(self, level: int, text: str) -> None:
        if level < self._from:
            return
        stream = self._stream or sys.stderr
        try:
            stream.write(text + "\n")
            stream.flush()
        except (OSError, ValueError):  # nobody reads any more (a closed terminal); serving goes on
            pass
