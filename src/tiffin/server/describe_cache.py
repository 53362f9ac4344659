"""What describe children said, kept on disk so that a start need not import the user's code first.

Owns the cache folder and the rules for when an entry is still true: same interpreter, same installed distributions, same target,
user's files unchanged. An entry is data and is only ever decoded; one that is wrong in spite of all that is found out by the
workers, whose spec's digest differs.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from tiffin.spec.service import Application
from tiffin.version import VERSION

_KEPT = 64
_DISTRIBUTION_SUFFIXES = (".dist-info", ".egg-info", ".egg-link", ".pth")


class FileStamp(msgspec.Struct, frozen=True):
    """A file as it was: path, bytes, time of the last change in nanoseconds, sha256 (hex) of its content."""

    path: str
    size: int
    mtime_ns: int
    sha256: str


class Entry(msgspec.Struct, frozen=True):
    """One cached description and the files that it depends on."""

    application: Application
    files: list[FileStamp]


class DescribeCache:
    """Descriptions by target.

    Args:
        folder: where they are kept; made when first needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, target: str, app_dir: str) -> Entry | None:
        """Return what is known about a target, None when nothing is or when a file changed since."""
        try:
            entry = msgspec.json.decode(self._path(target, app_dir).read_bytes(), type=Entry)
        except (OSError, msgspec.DecodeError):  # absent, or written by another version of Tiffin
            return None
        return entry if all(unchanged(stamp) for stamp in entry.files) else None

    def put(self, target: str, app_dir: str, application: Application, files: list[str]) -> None:
        """Keep a description; a disk that refuses costs only the next start's time.

        Args:
            files: the user's imported files.
        """
        path = self._path(target, app_dir)
        temporary = path.with_suffix(f".{os.getpid()}")
        try:
            entry = Entry(application, [stamp_of(file) for file in files])
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary.write_bytes(msgspec.json.encode(entry))
            temporary.replace(path)
            self._prune()
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def drop(self, target: str, app_dir: str) -> None:
        """Forget a description that turned out to be wrong."""
        try:
            self._path(target, app_dir).unlink(missing_ok=True)
        except OSError:  # then it is found wrong again, at the cost of one worker's start
            pass

    def _path(self, target: str, app_dir: str) -> Path:
        digest = hashlib.sha256(repr((target, app_dir, *_installation())).encode()).hexdigest()
        return self._folder / f"{digest[:40]}.json"

    def _prune(self) -> None:
        entries = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        for path in entries[:-_KEPT]:
            path.unlink(missing_ok=True)


def default_folder() -> Path:
    """Return where descriptions are kept: TIFFIN_HOME, else the user's cache folder."""
    home = os.environ.get("TIFFIN_HOME")
    if home:
        return Path(home) / "cache" / "describe"
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "tiffin" / "describe"


def stamp_of(path: str) -> FileStamp:
    """Read a file's stamp.

    Raises:
        OSError: it cannot be read.
    """
    content = Path(path).read_bytes()
    return FileStamp(path, len(content), Path(path).stat().st_mtime_ns, hashlib.sha256(content).hexdigest())


def unchanged(stamp: FileStamp) -> bool:
    """Tell whether a file has the same content as when it was stamped."""
    try:
        now = Path(stamp.path).stat()
        if now.st_size != stamp.size:
            return False
        # A new time with the old content is common: a checkout, a copy into an image.
        return now.st_mtime_ns == stamp.mtime_ns or stamp_of(stamp.path).sha256 == stamp.sha256
    except OSError:
        return False


def _installation() -> Iterator[object]:
    """Yield everything about interpreter and installed distributions that a description may depend on, cheaply."""
    yield VERSION
    yield sys.version
    yield sys.executable
    yield os.environ.get("PYTHONPATH", "")
    for room in ("spec", "service", "codecs"):  # Tiffin itself may be installed as a checkout that is worked on
        for entry in _sorted_files(str(Path(__file__).parent.parent / room)):
            if entry.name.endswith(".py"):
                yield entry.name, entry.stat().st_mtime_ns
    for folder in sys.path:
        if folder.endswith(("site-packages", "dist-packages")):
            for entry in _sorted_files(folder):
                if entry.name.endswith(_DISTRIBUTION_SUFFIXES):
                    yield entry.path, entry.stat().st_mtime_ns


def _sorted_files(folder: str) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return []
