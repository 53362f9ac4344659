"""What the store takes on disk, and what of it nobody needs.

Owns the counting and the collection; never removes what a version uses. Sizes in bytes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from tiffin.store import fs
from tiffin.store.manifest import FileEntry
from tiffin.store.store import Store


def partial_lock(root: Path, digest: str) -> Path:
    """Return the lock that whoever downloads a content holds; no model can have such a name."""
    return root / "locks" / f".partial-{digest[:32]}"


class Usage(NamedTuple):
    """Bytes of one version: of all its files, and of those that no other version has."""

    ref: str
    size: int
    own: int


class Total(NamedTuple):
    """Bytes of the whole store. versions: apart. disk: of all content, shared content once. spare: what `collect` frees."""

    versions: list[Usage]
    disk: int
    spare: int


def usage(store: Store) -> Total:
    """Count what each version takes."""
    users: dict[str, set[str]] = {}
    sizes: dict[str, int] = {}
    everything = [stored for name in store.names() for stored in store.versions(name)]
    for stored in everything:
        for entry in stored.manifest.files:
            users.setdefault(entry.sha256, set()).add(stored.ref)
            sizes[entry.sha256] = entry.size
    versions = [
        Usage(
            stored.ref,
            stored.manifest.size,
            sum(size for digest, size in _contents(stored.manifest.files).items() if len(users[digest]) == 1),
        )
        for stored in everything
    ]
    return Total(versions, sum(sizes.values()), _spare(store.root, remove=False))


def collect(store: Store) -> int:
    """Remove downloads that were cut off, drafts of processes that are gone, and content that no version uses; return the bytes."""
    with store.draft():  # sweeps what crashed processes left
        pass
    return _spare(store.root, remove=True)


def _contents(files: list[FileEntry]) -> dict[str, int]:
    return {entry.sha256: entry.size for entry in files}


def _spare(root: Path, *, remove: bool) -> int:
    """Count, or remove, blobs with no other name, and partial downloads."""
    total = 0
    for folder in (root / "blobs", root / "partial"):
        for place, _folders, names in os.walk(folder):
            for name in names:
                path = Path(place) / name
                try:
                    facts = path.lstat()
                except FileNotFoundError:
                    continue
                if folder.name == "partial":
                    with fs.tried(partial_lock(root, name)) as idle:
                        if idle:  # nobody is fetching it
                            total += facts.st_size
                            if remove:
                                fs.unlink(path)
                elif facts.st_nlink == 1:
                    total += facts.st_size
                    if remove:
                        fs.unlink(path)  # an import that wanted to share it writes its own
    return total
