"""SHA-256 of files, many at a time.

Owns the reading; never changes a file. Sizes in bytes.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tiffin.errors import DamagedError, ModelError
from tiffin.store.manifest import FileEntry

Progress = Callable[[str, int, int], None]  # what, bytes done, bytes of all
_CHUNK = 1_048_576
_THREADS = 4


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""


def sha256_of(path: Path, seen: Callable[[int], None] | None = None) -> tuple[str, int]:
    """Return digest (hex) and size of a regular file, which must not be a link.

    Args:
        seen: told the bytes of each piece.

    Raises:
        OSError: it cannot be read. ModelError: it is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    digest = hashlib.sha256()
    size = 0
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ModelError(f"{path} is not a regular file")
        buffer = memoryview(bytearray(_CHUNK))
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            size += count
            if seen is not None:
                seen(count)
    return digest.hexdigest(), size


def digest_files(
    folder: Path, paths: Sequence[str], progress: Progress = silent, what: str = "reading"
) -> list[FileEntry]:
    """Return the entries of files in a folder.

    Raises:
        OSError: one cannot be read.
    """
    total = sum((folder / path).lstat().st_size for path in paths)
    done = 0

    def seen(count: int) -> None:
        nonlocal done
        done += count  # several threads: shown only, and near enough
        progress(what, done, total)

    def one(path: str) -> FileEntry:
        digest, size = sha256_of(folder / path, seen)
        return FileEntry(path=path, size=size, sha256=digest)

    if len(paths) < 2:
        return [one(path) for path in paths]
    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(one, paths))


def verify_files(folder: Path, entries: Iterable[FileEntry], ref: str, progress: Progress = silent) -> None:
    """Make sure that files are what was recorded.

    Raises:
        DamagedError: one is missing, or has other content.
    """
    wanted = {entry.path: entry for entry in entries}
    try:
        found = digest_files(folder, list(wanted), progress, f"verifying {ref}")
    except OSError as error:
        raise DamagedError(
            f"{ref}: {error.filename} cannot be read: {error.strerror}", hint="import the model again"
        ) from error
    for entry in found:
        right = wanted[entry.path]
        if entry != right:
            raise DamagedError(
                f"{ref}: {entry.path} was altered: {entry.size:,} bytes with digest {entry.sha256[:12]}…, "
                f"recorded are {right.size:,} bytes with {right.sha256[:12]}…",
                hint="the model is not loaded; delete this version and import it again",
            )
