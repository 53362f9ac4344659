"""The machine as files and programs, so that whoever diagnoses it can be shown a made-up one.

Owns the reading of files below one root and the running of short commands; never changes anything, never judges what it reads.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

_LIMIT_S = 10.0
_MOST_BYTES = 1_048_576


class Output(msgspec.Struct, frozen=True):
    """What a command said: exit status (-1: it was killed because it took too long), stdout, stderr."""

    status: int
    out: str
    err: str = ""


class Host(Protocol):
    """One machine. All paths are absolute."""

    @property
    def environ(self) -> Mapping[str, str]:
        """Environment of the diagnosing process."""
        ...

    def read(self, path: str) -> str | None:
        """Return a text file's content (its first megabyte), None where it is not there or cannot be read."""
        ...

    def exists(self, path: str) -> bool:
        """Tell whether there is a file, a folder or a device node."""
        ...

    def list(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted; none where there is no such folder."""
        ...

    def link(self, path: str) -> str:
        """Return what a symbolic link points to, "" where it is none."""
        ...

    def open_error(self, path: str) -> int:
        """Return the errno of opening a path for reading and writing; 0 where that works."""
        ...

    def run(self, *argv: str) -> Output | None:
        """Run a command for 10 s at most; None where there is no such program."""
        ...


class LocalHost:
    """This machine; see `Host`."""

    @property
    def environ(self) -> Mapping[str, str]:
        """See `Host.environ`."""
        return os.environ

    def read(self, path: str) -> str | None:
        """See `Host.read`."""
        try:
            with Path(path).open("rb") as file:
                return file.read(_MOST_BYTES).decode("utf-8", "replace")
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        """See `Host.exists`."""
        try:
            return Path(path).exists()
        except OSError:  # a folder on the way may not be entered
            return False

    def list(self, folder: str) -> list[str]:
        """See `Host.list`."""
        try:
            return sorted(os.listdir(folder))  # noqa: PTH208  names are wanted, not paths
        except OSError:
            return []

    def link(self, path: str) -> str:
        """See `Host.link`."""
        try:
            return str(Path(path).readlink())
        except OSError:
            return ""

    def open_error(self, path: str) -> int:
        """See `Host.open_error`."""
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
        except OSError as error:
            return error.errno or 0
        return 0

    def run(self, *argv: str) -> Output | None:
        """See `Host.run`."""
        return run(argv)


def run(argv: Sequence[str]) -> Output | None:
    """Run a command of this machine without a terminal; see `Host.run`."""
    try:
        ended = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LIMIT_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        return Output(-1, "", f"{argv[0]} did not end within {_LIMIT_S:g} s")
    except OSError:
        return None
    return Output(ended.returncode, ended.stdout.decode("utf-8", "replace"), ended.stderr.decode("utf-8", "replace"))
