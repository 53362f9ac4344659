"""A crash at every step: before and after each change on disk, every name is absent or complete, and the command works again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.store.crash import sweep
from tests.unit.store.made import FILES, add, archive_of, opened
from tiffin.store import exchange
from tiffin.store.names import Ref
from tiffin.store.store import Store


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A store with two versions of one name, a tag, and a second name that shares content."""
    root = tmp_path / "before"
    store = Store(root)
    add(store, "digits", "v1")
    add(store, "digits", "v2", {"weights.bin": b"2" * 100})
    add(store, "iris", "v1", {"same": FILES["weights.bin"]})
    store.tag(Ref("digits", "v1"), "prod")
    return root


def kept(*refs: Ref):
    """Return a check that these are there, whole."""

    def check(store: Store) -> None:
        for ref in refs:
            store.find(ref).verify()

    return check


def test_save(before: Path, tmp_path: Path) -> None:
    def save(store: Store) -> None:
        if "new" not in store.names():
            add(store, "new", "v1", {**FILES, "b/c": b"c"})

    assert sweep(save, before, tmp_path, kept(Ref("digits", "v1"), Ref("digits", "prod"), Ref("iris"))) > 40


def test_delete(before: Path, tmp_path: Path) -> None:
    def delete(store: Store) -> None:
        if any(stored.manifest.version == "v1" for stored in store.versions("digits")):
            store.delete(Ref("digits", "v1"))

    assert sweep(delete, before, tmp_path, kept(Ref("digits", "v2"), Ref("iris"))) > 8


def test_delete_the_last(before: Path, tmp_path: Path) -> None:
    def delete(store: Store) -> None:
        if "iris" in store.names():
            store.delete(Ref("iris", "v1"))

    sweep(delete, before, tmp_path, kept(Ref("digits", "v1"), Ref("digits", "prod")))


def test_tag(before: Path, tmp_path: Path) -> None:
    def check(store: Store) -> None:
        assert store.find(Ref("digits", "prod")).manifest.version in ("v1", "v2")

    sweep(lambda store: store.tag(Ref("digits", "v2"), "prod"), before, tmp_path, check)


def test_import(before: Path, tmp_path: Path) -> None:
    content = archive_of(add(Store(tmp_path / "other"), "fresh", "v7", {**FILES, "twice": FILES["weights.bin"]}))

    def take(store: Store) -> None:
        exchange.import_archive(store, opened(content), "a.tar")

    assert sweep(take, before, tmp_path, kept(Ref("digits", "v1"), Ref("iris"))) > 40


def test_import_of_a_folder(before: Path, tmp_path: Path) -> None:
    exchange.export(add(Store(tmp_path / "other"), "fresh", "v7"), f"{tmp_path}/out/")

    def take(store: Store) -> None:
        exchange.import_folder(store, tmp_path / "out")

    sweep(take, before, tmp_path, kept(Ref("digits", "v1"), Ref("iris")))


def test_trust(before: Path, tmp_path: Path) -> None:
    sweep(lambda store: store.trust(Ref("digits", "v1"), "a test"), before, tmp_path, kept(Ref("digits", "v1")))
