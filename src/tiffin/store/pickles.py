"""Pickles, read as the program that they are and never run.

Owns the list of what a pickle would import and call. Names are found by following the opcodes' stack and memo as far as strings go;
where a name is computed, that is said. Never unpickles.
"""

from __future__ import annotations

import io
import pickletools
from pathlib import Path
from typing import NamedTuple

from tiffin.store.zips import checked_zip, is_zip, read_member

_LIMIT = 268_435_456
_OPCODES = 20_000_000
# What plain data of numpy, scikit-learn and PyTorch is made of is still code by the rule; these run anything a stranger likes.
DANGEROUS = frozenset(
    [
        "os",
        "posix",
        "nt",
        "subprocess",
        "sys",
        "builtins",
        "__builtin__",
        "importlib",
        "runpy",
        "socket",
        "shutil",
        "pty",
        "commands",
        "code",
        "codeop",
        "ctypes",
        "pickle",
        "_pickle",
        "webbrowser",
        "pip",
        "pydoc",
        "asyncio",
        "multiprocessing",
        "bdb",
        "pdb",
        "timeit",
        "cProfile",
        "operator",
        "functools",
        "requests",
        "urllib",
        "http",
        "ftplib",
        "smtplib",
        "types",
        "marshal",
        "inspect",
        "site",
        "ensurepip",
        "venv",
        "threading",
        "signal",
    ]
)
_HARMLESS = frozenset(
    f"builtins.{name}"
    for name in [
        "set",
        "frozenset",
        "list",
        "dict",
        "tuple",
        "int",
        "float",
        "complex",
        "bool",
        "str",
        "bytes",
        "bytearray",
        "slice",
        "object",
        "range",
    ]
)


class Pickled(NamedTuple):
    """What a pickle would do.

    Attributes:
        place: file, and member in it. names: "module.name" of all that it would import, in order. calls: number of calls.
        problem: why the reading stopped early, "" for not.
    """

    place: str
    names: list[str]
    calls: int
    problem: str

    @property
    def dangerous(self) -> list[str]:
        """The names that can run anything."""
        return [
            name
            for name in self.names
            if name not in _HARMLESS and (name.partition(".")[0] in DANGEROUS or "?" in name)
        ]


def read_pickles(path: Path) -> list[Pickled]:
    """Return what the pickles in a file would do: the file itself, or the members of a zip that are pickles.

    Raises:
        ModelError: a zip that is not plain.
    """
    if is_zip(path):
        with checked_zip(path) as archive:
            names = [name for name in archive.namelist() if name.endswith((".pkl", ".pickle")) or "/data.pkl" in name]
            return [read_pickle(read_member(archive, name), f"{path.name}: {name}") for name in names]
    with path.open("rb") as file:
        content = file.read(_LIMIT + 1)
    if len(content) > _LIMIT:
        return [Pickled(path.name, [], 0, f"it is larger than {_LIMIT:,} bytes")]
    return [read_pickle(content, path.name)]


def looks_pickled(path: Path) -> bool:
    """Say whether a file may be a pickle: protocol 2 and newer say so, older ones are tried."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return True
    return path.suffix in (".pkl", ".pickle", ".joblib", ".cloudpickle", ".dill")


def read_pickle(content: bytes, place: str) -> Pickled:
    """Return what one pickle (and those that follow it) would do."""
    names: list[str] = []
    calls = 0
    problem = ""
    source = io.BytesIO(content)
    try:
        while source.tell() < len(content):
            calls += _one(source, names)
            if not content[source.tell() : source.tell() + 1].startswith(b"\x80"):
                break  # joblib writes array bytes after a pickle, and others end here
    except _UnreadableError as error:
        problem = str(error)
    return Pickled(place, list(dict.fromkeys(names)), calls, problem)


class _UnreadableError(Exception):
    """The opcodes end, or are none."""


def _one(source: io.BytesIO, names: list[str]) -> int:
    """Follow one pickle; return the number of calls it would make."""
    recent: list[str | None] = []  # strings pushed last, in order; None for anything else
    memo: dict[int, str | None] = {}
    calls = 0
    count = 0
    try:
        for opcode, argument, _position in pickletools.genops(source):
            count += 1
            if count > _OPCODES:
                raise _UnreadableError("it has too many opcodes")
            name = opcode.name
            if name in ("GLOBAL", "INST"):
                names.append(str(argument).replace(" ", "."))
                recent.append(None)
            elif name == "STACK_GLOBAL":
                module, attribute = ([None, None, *recent])[-2:]
                names.append(f"{module or '?'}.{attribute or '?'}")
                recent.append(None)
            elif name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
                memo[len(memo) if name == "MEMOIZE" else int(argument or 0)] = recent[-1] if recent else None
            elif name in ("GET", "BINGET", "LONG_BINGET"):
                recent.append(memo.get(int(argument or 0)))
            elif name in ("EXT1", "EXT2", "EXT4"):
                names.append("copyreg.?")
                recent.append(None)
            elif (isinstance(argument, str) and "UNICODE" in name) or name in (
                "STRING",
                "BINSTRING",
                "SHORT_BINSTRING",
            ):
                recent.append(str(argument))
            elif name not in ("PROTO", "FRAME", "MARK"):
                recent.append(None)
            if name in ("REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ", "INST", "BUILD"):
                calls += 1
            if len(recent) > 64:
                del recent[:32]
    except _UnreadableError:
        raise
    except Exception as error:  # wall: the opcodes are a stranger's
        raise _UnreadableError(f"it cannot be read to its end: {str(error)[:120] or type(error).__name__}") from error
    return calls
