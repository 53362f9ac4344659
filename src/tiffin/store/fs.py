"""Every change that the store makes on disk, one function each.

Owns the steps and the hook that may stop before and after each of them; never decides what is written. What must survive a power
cut is synced here: a file's content before it gets its name, a folder after a name in it changed. Sizes in bytes.

A crash is imitated by a hook that raises: from then on every further step raises too, so that no clean-up runs which a real crash
would not have run.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NoReturn

from tiffin.errors import ModelError

Hook = Callable[[Literal["before", "after"], str, str], None]
Progress = Callable[[int], None]

hook: Hook | None = None
CHUNK = 1_048_576
_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up", errno.EROFS: "it is read-only"}


def _before(step: str, path: object) -> None:
    if hook is not None:
        hook("before", step, str(path))


def _after(step: str, path: object) -> None:
    if hook is not None:
        hook("after", step, str(path))


def refuse(error: OSError, what: str) -> NoReturn:
    """Raise what an error of the system means for the person who asked.

    Raises:
        ModelError: always.
    """
    reason = _FULL.get(error.errno or 0, error.strerror or str(error))
    hints = {
        errno.ENOSPC: "`tiffin models du` shows what takes room, `tiffin models gc` frees what nobody uses",
        errno.EDQUOT: "`tiffin models du` shows what takes room, `tiffin models gc` frees what nobody uses",
        errno.EACCES: "check who owns TIFFIN_HOME",
        errno.EROFS: "set TIFFIN_HOME to a folder that can be written",
        errno.EIO: "the disk may be failing: look at the system's log",
    }
    raise ModelError(f"{what}: {reason}", hint=hints.get(error.errno or 0, ""), exit_code=74) from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it; what is there already stays."""
    if path.is_dir():
        return
    make_folder(path.parent)
    _before("mkdir", path)
    try:
        path.mkdir(mode=0o755)
    except FileExistsError:
        pass
    _after("mkdir", path)
    sync_folder(path.parent)


def write_file(path: Path, content: bytes | Iterator[bytes], *, mode: int = 0o644) -> None:
    """Write a new file and sync it.

    Args:
        path: must not exist. content: all of it, or its pieces.
    """
    _before("create", path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    _after("create", path)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        for piece in (content,) if isinstance(content, bytes) else content:
            _before("write", path)
            rest = memoryview(piece)
            while rest:
                rest = rest[file.write(rest) :]
            _after("write", path)
        _before("fsync", path)
        os.fsync(file.fileno())
        _after("fsync", path)


def append_file(path: Path, content: bytes) -> None:
    """Add to the end of a file; it is made where it is not there. Not synced: a piece that gets lost is fetched again."""
    _before("append", path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o644), "wb", buffering=0) as file:
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]
    _after("append", path)


def sync_file(path: Path) -> None:
    """Sync a file that somebody else wrote, and take away the right to change it: it may be shared from now on."""
    _before("fsync", path)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fchmod(descriptor, 0o444)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    _after("fsync", path)


def sync_folder(path: Path) -> None:
    """Sync the names in a folder."""
    _before("fsync", path)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    _after("fsync", path)


def link(source: Path, target: Path) -> bool:
    """Give a file a second name; return false where there is such a name, no such file, or the file system has no links."""
    _before("link", target)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
            raise
        return False  # EEXIST, ENOENT; EPERM, EXDEV, EMLINK, ENOTSUP: then there is no sharing
    _after("link", target)
    return True


def rename(source: Path, target: Path) -> None:
    """Move a file or folder to a name on the same file system; a file that has the name is replaced, a folder with files is not."""
    _before("rename", target)
    source.rename(target)
    _after("rename", target)
    sync_folder(target.parent)
    if source.parent != target.parent:
        sync_folder(source.parent)


def replace_file(path: Path, content: bytes, scratch: Path) -> None:
    """Give a file new content at once: readers see the old or the new.

    Args:
        scratch: unused path on the same file system.
    """
    write_file(scratch, content)
    rename(scratch, path)


def unlink(path: Path) -> None:
    """Remove a file; one that is gone already is no error."""
    _before("unlink", path)
    path.unlink(missing_ok=True)
    _after("unlink", path)


def remove_folder(path: Path) -> None:
    """Remove a folder if it is empty; one that is not, or is gone, stays as it is."""
    _before("rmdir", path)
    try:
        path.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise
    _after("rmdir", path)


def remove_tree(path: Path) -> None:
    """Remove a folder and what is in it."""
    _before("rmtree", path)
    shutil.rmtree(path, ignore_errors=True)
    _after("rmtree", path)


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold an exclusive lock on a file, waiting for it; the system lets go of it when the process ends, however it ends."""
    make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def tried(path: Path) -> Generator[bool]:
    """Hold an exclusive lock on a file if nobody has it; yield whether it is held."""
    make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = True
    except OSError:
        held = False
    try:
        yield held
    finally:
        os.close(descriptor)


def own_folder(path: Path) -> int | None:
    """Return a descriptor that marks a folder as in use until it is closed; None where another process uses it, or it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None
