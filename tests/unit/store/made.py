"""Models for tests, made without any framework."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from tiffin.store.archive import END, header, padding
from tiffin.store.manifest import Manifest, encode
from tiffin.store.store import Store, Stored

FILES = {"weights.bin": b"w" * 3000, "a/labels.txt": b"one\ntwo\n", "empty": b""}


def manifest(name: str = "digits", version: str = "v1", **more: Any) -> Manifest:
    given: dict[str, Any] = {"framework": "folder", "format": "folder", "created": "", **more}
    return Manifest(name=name, version=version, files=[], **given)


def add(
    store: Store,
    name: str = "digits",
    version: str = "v1",
    files: dict[str, bytes] | None = None,
    trust: str = "",
    **more: Any,
) -> Stored:
    with store.draft() as draft:
        for path, content in (FILES if files is None else files).items():
            draft.add(path, content)
        return store.commit(draft, manifest(name, version, **more), trust)


def archive_of(stored: Stored) -> bytes:
    """Return an archive of a model, written here a second time, so that it can be written wrongly."""
    return tar([("model.json", encode(stored.manifest)), *contents(stored)])


def contents(stored: Stored) -> list[tuple[str, bytes]]:
    found = {entry.sha256: (stored.folder / entry.path).read_bytes() for entry in stored.manifest.files}
    return [(f"sha256/{digest}", content) for digest, content in found.items()]


def tar(members: list[tuple[str, bytes]]) -> bytes:
    return b"".join(header(name, len(content)) + content + padding(len(content)) for name, content in members) + END


def opened(content: bytes) -> io.BytesIO:
    return io.BytesIO(content)


def tree(root: Path) -> dict[str, bytes]:
    """Return all files of a folder but locks, with their content."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink() and "locks" not in path.parts
    }
