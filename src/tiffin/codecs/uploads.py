"""Uploaded files on disk: a temporary directory for each run, under our own names, gone when the run ends.

Owns those directories; never reads one. A directory is locked (flock) while its run lives, so that what a killed process left is
known and removed by the next one. The client's name of a file is told, and never used.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tiffin.codecs.sniff import suffix
from tiffin.errors import Code, Error

_PREFIX = "tiffin-upload-"
_PIECE = 1_048_576
_TRIES = 10
_NAME_CHARS = 120
_ODD = re.compile(r"[^\w.()+, @-]", re.ASCII)
_log = logging.getLogger("tiffin.worker")

if TYPE_CHECKING:
    _Path = Path
else:
    _Path = type(Path())


class Upload(_Path):
    """The path of an uploaded file, which is gone when the call has ended.

    Attributes:
        client_name: what the client calls it, made harmless ("cat.jpg"); for people, not for opening files. "" for nothing.
        media_type: what it is, by its bytes or else by its sender; "" where neither tells.
    """

    client_name: str = ""
    media_type: str = ""


class Incoming(NamedTuple):
    """What is known of a request besides its body: its content type as sent, and where its files go."""

    content_type: str
    uploads: Uploads


class Uploads:
    """See the module. The directory is made with the first file."""

    __slots__ = ("_count", "_fd", "_folder", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()  # the files of a batch are written by several threads
        self._folder: Path | None = None
        self._fd = -1
        self._count = 0

    def save(self, data: bytes | bytearray | memoryview, media: str, client_name: str) -> Upload:
        """Write a file.

        Args:
            data: all of it. media: its media type, which gives its suffix. client_name: as sent.

        Raises:
            Error: UNAVAILABLE: the disk does not take it.
        """
        try:
            with self._lock:
                if self._folder is None:
                    self._make()
                path = Upload(f"{self._folder}/{self._count}{suffix(media)}")
                self._count += 1
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view[:_PIECE]) :]
            finally:
                os.close(fd)
        except OSError as error:
            raise Error(f"the upload could not be stored: {error.strerror}", code=Code.UNAVAILABLE) from error
        path.client_name = harmless(client_name)
        path.media_type = media
        return path

    def close(self) -> None:
        """Remove the directory and all in it; more than once does no harm."""
        folder, self._folder = self._folder, None
        if folder is None:
            return
        _remove(folder)
        os.close(self._fd)

    def _make(self) -> None:
        """Make the directory, and hold its lock.

        Raises:
            OSError: it cannot be made.
        """
        for _ in range(_TRIES):
            folder = tempfile.mkdtemp(prefix=_PREFIX)
            fd = _locked(folder)
            if fd is None:
                continue  # one who cleans up was quicker
            self._folder, self._fd = Path(folder), fd
            return
        raise OSError(0, "no temporary directory could be locked")


def sweep() -> int:
    """Remove the directories that killed processes of this user left; return how many there were."""
    count = 0
    with os.scandir(tempfile.gettempdir()) as entries:
        left = [entry.path for entry in entries if entry.name.startswith(_PREFIX)]
    for path in left:
        try:
            if os.lstat(path).st_uid != os.getuid():
                continue
            fd = _locked(path)
        except OSError:
            continue
        if fd is not None:
            _remove(Path(path))
            os.close(fd)
            count += 1
    return count


def harmless(name: str) -> str:
    """Return the last part of a client's file name with nothing in it that a shell, a header or a page would trip over."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1][:_NAME_CHARS]
    return _ODD.sub("_", last).lstrip(".- ")


def _locked(folder: str) -> int | None:
    """Return a descriptor that holds the lock of a directory, None where another process has it or it is gone."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        there = os.lstat(folder)
        if (there.st_dev, there.st_ino) == (os.fstat(fd).st_dev, os.fstat(fd).st_ino):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)
    return None


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as error:  # the call is answered all the same; the next worker tries again
        _log.warning("an upload could not be removed: %s", error)
