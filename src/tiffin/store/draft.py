"""A model that is being made: a folder under `tmp/`, marked as in use, that becomes a version at once or never.

Owns the folder until it is committed or dropped; never decides what is in it. What a crash leaves behind is removed by the next
draft: nobody holds its mark any more.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from tiffin.errors import ModelError
from tiffin.store import fs
from tiffin.store.digests import Progress, digest_files, sha256_of, silent
from tiffin.store.manifest import FileEntry
from tiffin.store.names import check_path, check_paths

_PIECE = 1_048_576


class Draft:
    """See the module; a context manager that drops what was not committed.

    Args:
        root: the store's folder.

    Attributes:
        folder: becomes the version's. files: where the model's files are written, by whom ever.
    """

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs"
        temporary = root / "tmp"
        try:
            fs.make_folder(temporary)
            _sweep(temporary)
            mark = None
            while mark is None:  # a sweeper may take a new folder for a left one, before it is marked
                self.folder = temporary / f"{os.getpid()}-{secrets.token_hex(6)}"
                fs.make_folder(self.folder)
                mark = fs.own_folder(self.folder)
        except OSError as error:
            fs.refuse(error, f"{temporary} cannot be written")
        self._mark: int | None = mark
        self.files = self.folder / "files"
        try:
            fs.make_folder(self.files)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove what was not committed."""
        if self._mark is None:
            return
        mark, self._mark = self._mark, None
        try:
            if self.folder.exists():
                fs.remove_tree(self.folder)
        finally:
            os.close(mark)

    def add(self, path: str, content: bytes | Iterator[bytes]) -> None:
        """Write a file of the model.

        Raises:
            ModelError: the path leads out of the model, is taken, or the disk refuses.
        """
        target = self.files / check_path(path)
        try:
            fs.make_folder(target.parent)
            fs.write_file(target, content)
        except FileExistsError:
            raise ModelError(f"the model has two files {path!r}") from None
        except OSError as error:
            fs.refuse(error, f"{path} cannot be written")

    def copy(self, path: str, source: Path, *, linked: bool = True) -> None:
        """Copy a regular file into the model.

        Args:
            linked: a file with further names (hard links) may be copied.

        Raises:
            ModelError: it is a link or no regular file; as `add`.
        """
        try:
            descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            if source.is_symlink():
                raise ModelError(f"{source} is a link", hint="copy the file itself: links are not followed") from None
            fs.refuse(error, f"{source} cannot be read")
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise ModelError(f"{source} is not a regular file")
            if not linked and facts.st_nlink > 1:
                raise ModelError(f"{source} is also a file elsewhere (a hard link)", hint="copy it first")
            self.add(path, iter(lambda: file.read(_PIECE), b""))

    def take(self, path: str, source: Path) -> None:
        """Move a file of the store's own into the model."""
        target = self.files / check_path(path)
        try:
            fs.make_folder(target.parent)
            fs.rename(source, target)
        except OSError as error:
            fs.refuse(error, f"{path} cannot be written")

    def copy_folder(self, source: Path, prefix: str = "", *, skip: frozenset[str] = frozenset()) -> None:
        """Copy all regular files of a folder into the model.

        Args:
            prefix: path in the model to put them under. skip: names of folders and files that are left out.

        Raises:
            ModelError: a link, a device, a name that cannot be; as `add`.
        """
        for path in list(regular_files(source)):
            if not skip.intersection(path.split("/")):
                self.copy(f"{prefix}/{path}" if prefix else path, source / path)

    def digest(self, progress: Progress = silent) -> list[FileEntry]:
        """Return the entries of all files that are there now.

        Raises:
            ModelError: one is a link or no regular file.
        """
        paths = list(regular_files(self.files))
        check_paths(paths)
        try:
            return digest_files(self.files, paths, progress, "digesting")
        except OSError as error:
            fs.refuse(error, f"{error.filename} cannot be read")

    def settle(self, entries: list[FileEntry]) -> None:
        """Sync all files and folders, and share content with other versions."""
        for entry in entries:
            path = self.files / entry.path
            fs.sync_file(path)
            if entry.size:
                self.share(path, entry.sha256)
        folders = {self.files, *(self.files / entry.path for entry in entries)} - {
            self.files / entry.path for entry in entries
        }
        for entry in entries:
            folders.update(
                parent for parent in (self.files / entry.path).parents if self.files in (parent, *parent.parents)
            )
        for folder in sorted(folders, reverse=True):
            fs.sync_folder(folder)

    def share(self, path: Path, digest: str) -> None:
        """Make a file and the store's other files with this content one file."""
        blob = self._blobs / digest[:2] / digest
        fs.make_folder(blob.parent)
        if fs.link(path, blob):
            return
        try:
            intact = sha256_of(blob)[0] == digest
        except (OSError, ModelError):
            return  # removed meanwhile, or a file system without links
        if not intact:
            fs.unlink(blob)
            fs.link(path, blob)
            return
        scratch = self.folder / f"link-{digest}"
        if fs.link(blob, scratch):
            fs.rename(scratch, path)

    def committed(self) -> None:
        """Let go of the folder: it has become a version."""
        if self._mark is not None:
            os.close(self._mark)
            self._mark = None


def regular_files(folder: Path) -> Iterator[str]:
    """Yield the paths of all files below a folder, sorted; empty folders are passed over.

    Raises:
        ModelError: a link, a device, a socket, a pipe.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        fs.refuse(error, f"{folder} cannot be read")
    for entry in entries:
        if entry.is_symlink():
            raise ModelError(f"{entry.path} is a link", hint="copy what it leads to: links are not followed")
        if entry.is_dir(follow_symlinks=False):
            for path in regular_files(Path(entry.path)):
                yield f"{entry.name}/{path}"
        elif entry.is_file(follow_symlinks=False):
            yield entry.name
        else:
            raise ModelError(f"{entry.path} is not a regular file")


def _sweep(temporary: Path) -> None:
    """Remove what crashed processes left."""
    for entry in list(os.scandir(temporary)):
        path = Path(entry.path)
        if not entry.is_dir(follow_symlinks=False):
            continue
        mark = fs.own_folder(path)
        if mark is not None:
            try:
                fs.remove_tree(path)
            finally:
                os.close(mark)
