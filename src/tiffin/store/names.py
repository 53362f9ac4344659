"""Names of models, versions and tags, references to them, and names of files inside a model.

Owns the grammars: whatever does not fit never becomes part of a path. Never touches the disk.
"""

from __future__ import annotations

import difflib
import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tiffin.errors import ModelError

LATEST = "latest"
_WORD = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,126}[a-z0-9])?\Z")
_STAMP = "%Y%m%dt%H%M%S"
_PART = re.compile(r"[^\x00-\x1f\x7f/\\:*?\"<>|]{1,255}\Z")
_PATH_CHARACTERS = 1_024
_RESERVED = frozenset({"con", "prn", "aux", "nul"} | {f"{name}{n}" for name in ("com", "lpt") for n in range(1, 10)})


class Ref(NamedTuple):
    """A model's name and a version or tag of it; version "" for the newest."""

    name: str
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.version or LATEST}"


def check_word(word: str, what: str) -> str:
    """Return a name, version or tag as it was given.

    Args:
        word: to look at. what: "model name", "version", "tag", for the error.

    Raises:
        ModelError: it does not fit the grammar.
    """
    if _WORD.match(word) and ".." not in word:
        return word
    near = re.sub(r"-{2,}", "-", re.sub(r"[^a-z0-9._-]+", "-", word.casefold()[:128].replace("..", "."))).strip(".-_")
    shown = word if len(word) <= 80 else f"{word[:77]}..."
    raise ModelError(
        f"{what} {shown!r} is not one: up to 128 of a-z, 0-9 and . _ - inside, a letter or digit at both ends, no two dots",
        hint=f"for example {near!r}" if near and _WORD.match(near) else "",
    )


def parse_ref(text: str) -> Ref:
    """Return what "name", "name:version", "name:tag" or "name:latest" refers to.

    Raises:
        ModelError: it is no reference.
    """
    name, colon, version = text.partition(":")
    check_word(name, "model name")
    if colon and version != LATEST:
        check_word(version, "version")
    return Ref(name, "" if version == LATEST else version)


def new_version(known: Iterable[str], now: datetime) -> str:
    """Return a version that sorts after all that were made this way, and is unique: time in UTC to the millisecond, 4 random signs.

    Args:
        known: versions of the name that are there. now: the time; a clock that was set back does not break the order.
    """
    stamp = now.astimezone(UTC)
    text = _stamped(stamp)
    horizon = _stamped(stamp + timedelta(days=1))  # what others have named beyond it is no clock's
    stamps = [version[:18] for version in known if re.match(r"\d{8}t\d{9}-", version)]
    newest = max((one for one in stamps if one < horizon and _is_stamp(one)), default="")
    if newest >= text:
        stamp = datetime.strptime(newest[:15], _STAMP).replace(tzinfo=UTC) + timedelta(
            milliseconds=int(newest[15:]) + 1
        )
        text = _stamped(stamp)
    return f"{text}-{secrets.token_hex(2)}"


def _is_stamp(text: str) -> bool:
    try:
        datetime.strptime(text[:15], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return False
    return True


def _stamped(stamp: datetime) -> str:
    return f"{stamp.strftime(_STAMP)}{stamp.microsecond // 1000:03d}"


def check_path(path: str) -> str:
    """Return a file's path inside a model, as it was given: relative, with "/", nothing that leads out, on any system.

    Raises:
        ModelError: it is none.
    """
    parts = path.split("/")
    for part in parts:
        if (
            not _PART.match(part)
            or part in (".", "..")
            or part[-1] in ". "
            or part.partition(".")[0].lower() in _RESERVED
        ):
            shown = path if len(path) <= 80 else f"{path[:77]}..."
            raise ModelError(f"file name {shown!r} cannot be in a model", hint="use plain relative names without '..'")
    if len(path) > _PATH_CHARACTERS:
        raise ModelError(f"file name {path[:77]!r}... of {len(path)} characters cannot be in a model: at most 1024")
    return path


def check_paths(paths: Iterable[str]) -> None:
    """Make sure that files of one model can lie side by side on any file system.

    Raises:
        ModelError: one is not a path; two differ in nothing but case; one is a folder of another.
    """
    seen: dict[str, str] = {}
    for path in paths:
        folded = check_path(path).casefold()
        if folded in seen:
            raise ModelError(f"files {seen[folded]!r} and {path!r} have the same name on some file systems")
        seen[folded] = path
    for folded, path in seen.items():
        for index, character in enumerate(folded):
            if character == "/" and folded[:index] in seen:
                raise ModelError(f"{seen[folded[:index]]!r} is a file, and {path!r} needs it as a folder")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "did you mean …?" with the nearest of the known names, "" where none is near."""
    found = difflib.get_close_matches(word, list(known), 3, 0.5)
    return f"did you mean {' or '.join(repr(name) for name in found)}?" if found else ""
