"""Zip files that somebody else made: read only when all of it is as plain as a library writes it.

Owns the limits and the checks before a framework is given such a file; never extracts anything to disk. Sizes in bytes.
"""

from __future__ import annotations

import itertools
import stat
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tiffin.errors import ModelError
from tiffin.store.names import check_path

MEMBERS = 100_000
RATIO = 200  # deflate reaches 1032; weights hardly 20, JSON and vocabularies up to 50
SMALL_BYTES = 1_048_576  # below this a ratio means nothing
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1 | 0x40 | 0x2000


@contextmanager
def checked_zip(path: Path, limit: int | None = None) -> Generator[zipfile.ZipFile]:
    """Open a zip file whose members have been checked: names, kinds, methods, sizes, overlaps, ratios.

    Args:
        limit: most bytes that all members may have together; by default 200 times the file.

    Raises:
        ModelError: it is none, or something in it is not plain; says what.
    """
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            _check(archive, path, size, limit)
            yield archive
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OverflowError, ValueError) as error:
        raise ModelError(f"{path.name} is not a plain zip file: {error}") from error


def is_zip(path: Path) -> bool:
    """Say whether a file begins as a zip file does."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def read_member(archive: zipfile.ZipFile, name: str, limit: int = 67_108_864) -> bytes:
    """Return a member's content.

    Raises:
        ModelError: it is larger than the limit.
    """
    info = archive.getinfo(name)
    if info.file_size > limit:
        raise ModelError(f"{name!r} of {info.file_size:,} bytes is too large to be looked at")
    return archive.read(info)


def _check(archive: zipfile.ZipFile, path: Path, size: int, limit: int | None) -> None:
    members = archive.infolist()
    if len(members) > MEMBERS:
        raise ModelError(f"{path.name} has {len(members):,} members: at most {MEMBERS:,}")
    seen: set[str] = set()
    total = 0
    spans: list[tuple[int, int, str]] = []
    for info in members:
        name = info.filename
        plain = name.removesuffix("/")
        check_path(plain)
        if plain.casefold() in seen:
            raise ModelError(f"{path.name} has two members {plain!r}")
        seen.add(plain.casefold())
        mode = info.external_attr >> 16
        if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ModelError(f"{path.name}: member {name!r} is a link or a device")
        if info.flag_bits & _ENCRYPTED:
            raise ModelError(f"{path.name}: member {name!r} is encrypted")
        if info.compress_type not in _METHODS:
            raise ModelError(f"{path.name}: member {name!r} is compressed by method {info.compress_type}")
        if info.file_size > SMALL_BYTES and info.file_size > RATIO * max(info.compress_size, 1):
            raise ModelError(
                f"{path.name}: member {name!r} expands {info.file_size // max(info.compress_size, 1)} times"
            )
        total += info.file_size
        spans.append((info.header_offset, info.header_offset + 30 + info.compress_size, name))
    most = limit if limit is not None else max(RATIO * size, SMALL_BYTES)
    if total > most:
        raise ModelError(f"{path.name} expands to {total:,} bytes: at most {most:,}")
    spans.sort()
    for (_start, end, name), (following, _end, other) in itertools.pairwise(spans):
        if following < end:
            raise ModelError(f"{path.name}: members {name!r} and {other!r} overlap")
    if spans and spans[-1][1] > size:
        raise ModelError(f"{path.name}: member {spans[-1][2]!r} reaches past its end")
