"""The store: names and versions that are absent or complete, tags, trust marks, shared content."""

from __future__ import annotations

import ast
import multiprocessing
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.unit.store.made import FILES, add, manifest
from tiffin.errors import DamagedError, ModelError, NotFoundError
from tiffin.store.names import Ref, check_path, check_paths, check_word, new_version, parse_ref
from tiffin.store.store import Store
from tiffin.store.usage import collect, usage

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def test_what_was_saved_is_found_again(store: Store) -> None:
    saved = add(store, labels={"team": "vision"}, metadata={"accuracy": 0.98})
    found = store.find(Ref("digits"))
    assert found == saved
    assert {e.path: (found.folder / e.path).read_bytes() for e in found.manifest.files} == FILES
    found.verify()
    assert store.names() == ["digits"]


def test_the_newest_is_the_one_that_was_made_last(store: Store) -> None:
    for version in ("v10", "v9", "a"):
        add(store, version=version)
    assert store.find(Ref("digits")).manifest.version == "a"
    assert [stored.manifest.version for stored in store.versions("digits")] == ["v10", "v9", "a"]


def test_versions_of_its_own_sort_as_they_were_made(store: Store) -> None:
    made = [add(store, version="").manifest.version for _ in range(20)]
    assert made == sorted(made)
    assert len(set(made)) == 20


def test_a_clock_that_was_set_back_does_not_break_the_order() -> None:
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    first = new_version([], now)
    second = new_version([first], now - timedelta(hours=1))
    third = new_version([first, second], now)
    assert [first, second, third] == sorted([first, second, third])


def test_a_version_never_changes(store: Store) -> None:
    add(store)
    with pytest.raises(ModelError, match="digits:v1 exists already"):
        add(store, files={"other": b"x"})
    assert {e.path for e in store.find(Ref("digits")).manifest.files} == set(FILES)


def test_what_does_not_exist_names_what_is_near(store: Store) -> None:
    add(store, "digits", "v1")
    add(store, "iris", "v1")
    with pytest.raises(NotFoundError, match="no model 'digit'") as caught:
        store.find(Ref("digit"))
    assert "'digits'" in caught.value.hint
    with pytest.raises(NotFoundError, match="no version or tag 'v2'") as caught:
        store.find(Ref("digits", "v2"))
    assert "'v1'" in caught.value.hint
    with pytest.raises(NotFoundError) as caught:
        Store(store.root / "none").find(Ref("digits"))
    assert "is empty" in caught.value.hint


def test_tags_are_names_that_move(store: Store) -> None:
    add(store, version="v1")
    add(store, version="v2")
    store.tag(Ref("digits", "v1"), "prod")
    assert store.find(Ref("digits", "prod")).manifest.version == "v1"
    store.tag(Ref("digits"), "prod")
    assert store.find(Ref("digits", "prod")).manifest.version == "v2"
    store.delete(Ref("digits", "v2"))
    assert store.tags("digits") == {}
    with pytest.raises(NotFoundError):
        store.find(Ref("digits", "prod"))


@pytest.mark.parametrize("tag", ["latest", "v1", "Prod", "../x", ""])
def test_a_tag_that_cannot_be_is_refused(store: Store, tag: str) -> None:
    add(store)
    with pytest.raises(ModelError):
        store.tag(Ref("digits"), tag)
    assert store.tags("digits") == {}


def test_deleting_the_last_version_deletes_the_name(store: Store) -> None:
    add(store)
    store.tag(Ref("digits"), "prod")
    store.delete(Ref("digits", "v1"))
    assert store.names() == []
    assert not (store.root / "models" / "digits").exists()
    assert [path for path in (store.root / "blobs").rglob("*") if path.is_file()] == []


def test_content_is_shared_between_versions(store: Store) -> None:
    first, second = add(store, version="v1"), add(store, "other", "v1", {**FILES, "more": b"m"})
    one, two = (stored.folder / "weights.bin" for stored in (first, second))
    assert one.stat().st_ino == two.stat().st_ino
    total = usage(store)
    assert [(u.ref, u.size, u.own) for u in total.versions] == [("digits:v1", 3008, 0), ("other:v1", 3009, 1)]
    assert total.disk == 3009
    store.delete(Ref("digits"))
    store.find(Ref("other")).verify()


def test_content_that_is_damaged_is_not_shared(store: Store) -> None:
    first = add(store, version="v1")
    path = first.folder / "weights.bin"
    path.chmod(0o644)
    path.write_bytes(b"x" * 3000)
    second = add(store, version="v2")
    second.verify()
    with pytest.raises(DamagedError, match="weights.bin was altered"):
        first.verify()


@pytest.mark.parametrize("change", [b"", b"w" * 2999, b"w" * 2999 + b"x", None])
def test_s_model_06_altered_content_is_found(store: Store, change: bytes | None) -> None:
    stored = add(store, trust="a test")
    path = stored.folder / "weights.bin"
    path.unlink()
    if change is not None:
        path.write_bytes(change)
    with pytest.raises(DamagedError, match="weights.bin"):
        stored.verify()


def test_a_trust_mark_is_for_one_content(store: Store) -> None:
    stored = add(store)
    assert stored.trust is None
    marked = store.trust(Ref("digits"), "a test")
    assert marked.trust is not None and marked.trust.digest == stored.manifest.digest
    other = add(store, version="v2", files={"x": b"y"})
    (other.folder.parent / "trust.json").write_bytes((stored.folder.parent / "trust.json").read_bytes())
    assert store.find(Ref("digits", "v2")).trust is None


def test_an_altered_manifest_is_found(store: Store) -> None:
    stored = add(store, trust="a test")
    path = stored.folder.parent / "model.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"folder"', b'"pickle"', 1))
    with pytest.raises(DamagedError, match="model.json was altered"):
        store.find(Ref("digits"))


def test_s_arch_07_names_that_lead_elsewhere_are_refused(store: Store) -> None:
    for word in (
        "../../x",
        "..",
        ".",
        "a..b",
        "a/b",
        "A",
        "%2e%2e",
        "․․",
        "．．",
        "a.",
        "a ",
        "a\n",
        "",
        "-a",
        "x" * 300,
        "é",
    ):
        with pytest.raises(ModelError):
            check_word(word, "name")
        with pytest.raises(ModelError):
            add(store, name=word)
        with pytest.raises(ModelError):
            parse_ref(f"{word}:x")
    for word in ("a", "0", "x" * 128, "mini-lm.l6_v2"):
        assert check_word(word, "name") == word
    assert store.names() == []


def test_paths_inside_a_model_cannot_lead_out() -> None:
    for path in (
        "/x",
        "../x",
        "a/../x",
        "./x",
        "a//b",
        "a\\b",
        "C:x",
        "a\0",
        "x" * 256,
        "a/" * 600 + "b",
        "",
        "a/.",
        "con",
        "NUL.txt",
        "x.",
    ):
        with pytest.raises(ModelError):
            check_path(path)
    with pytest.raises(ModelError, match="same name"):
        check_paths(["a/B", "a/b"])
    with pytest.raises(ModelError, match="as a folder"):
        check_paths(["a", "a/b"])
    check_paths(["a/b", "a/c", "ab"])


@pytest.mark.parametrize("kind", ["link", "folder-link", "pipe", "dangling"])
def test_links_and_devices_are_not_taken(store: Store, tmp_path: Path, kind: str) -> None:
    (tmp_path / "secret").write_text("s")
    with store.draft() as draft:
        draft.add("x", b"x")
        place = draft.files / "y"
        if kind == "pipe":
            os.mkfifo(place)
        else:
            place.symlink_to(
                {"link": tmp_path / "secret", "folder-link": tmp_path, "dangling": tmp_path / "none"}[kind]
            )
        with pytest.raises(ModelError, match=r"is a link|not a regular file"):
            store.commit(draft, manifest())
    assert store.names() == []


def test_what_a_crashed_process_left_is_swept(store: Store) -> None:
    left = store.root / "tmp" / "1234-dead"
    left.mkdir(parents=True)
    (left / "big").write_bytes(b"x")
    with store.draft() as draft:
        assert not left.exists()
        with store.draft():
            assert draft.folder.exists()


def test_gc_frees_what_nobody_uses(store: Store) -> None:
    stored = add(store)
    partial = store.root / "partial" / "abc"
    partial.parent.mkdir()
    partial.write_bytes(b"p" * 10)
    (stored.folder.parent / "model.json").unlink()  # as if by hand
    assert store.names() == []
    import shutil

    shutil.rmtree(stored.folder.parent)
    assert usage(store).spare == 3018
    assert collect(store) == 3018
    assert collect(store) == 0


def _import(root: Path, number: int, results: list[str]) -> None:
    try:
        results.append(add(Store(root), files={"f": bytes([number % 2]) * 1000, "same": b"s" * 50}).ref)
    except ModelError as error:
        results.append(error.message)


def test_16_processes_that_make_one_version_end_with_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager:
        results = manager.list()
        processes = [
            context.Process(target=_import, args=(tmp_path / "home", number, results), daemon=True)
            for number in range(16)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(30)
        said = list(results)
    assert len(said) == 16
    assert said.count("digits:v1") == 1
    assert sum("exists already" in line for line in said) == 15
    store = Store(tmp_path / "home")
    store.find(Ref("digits", "v1")).verify()


def test_only_fs_changes_the_disk() -> None:
    """Whatever else in the room opens for writing, renames or removes would escape the crash sweep."""
    changing = {
        "rename",
        "replace",
        "unlink",
        "rmdir",
        "mkdir",
        "makedirs",
        "write_bytes",
        "write_text",
        "symlink",
        "link",
        "rmtree",
    }
    found = []
    for path in sorted((ROOT / "src/tiffin/store").glob("*.py")):
        if path.name == "fs.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in changing:
                owner = ast.unparse(node.func.value)
                if owner not in ("fs", "msgspec.structs") and not owner.startswith(("text", "re", "str", "word")):
                    found.append(f"{path.name}:{node.lineno} {ast.unparse(node.func)}")
    allowed = {"sides.py", "exchange.py"}
    assert [line for line in found if line.partition(":")[0] not in allowed and ".replace" not in line] == []


def test_a_damaged_version_hides_no_other_and_can_be_deleted(store: Store) -> None:
    add(store, version="v1")
    damaged = add(store, version="v2").folder.parent / "model.json"
    add(store, "other", "v1")
    damaged.write_bytes(damaged.read_bytes().replace(b"v2", b"v3"))
    assert [stored.ref for name in store.names() for stored in store.versions(name)] == ["digits:v1", "other:v1"]
    assert store.find(Ref("digits")).ref == "digits:v1"
    with pytest.raises(DamagedError):
        store.find(Ref("digits", "v2"))
    assert store.delete(Ref("digits", "v2")) == "digits:v2"
    assert usage(store).disk == 3008


def test_what_could_not_be_read_again_is_never_stored(store: Store) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        add(store, labels={"epoch": 3})
    assert store.names() == []


def test_a_tag_of_a_deleted_version_does_not_come_back_with_its_name(store: Store) -> None:
    add(store)
    store.tag(Ref("digits", "v1"), "prod")
    (store.root / "models/digits/v1").rename(store.root / "gone")  # a delete that crashed before its tags
    add(store, files={"x": b"other"})
    assert store.tags("digits") == {}


@pytest.mark.parametrize("version", ["99999999t999999999-ffff", "99991231t235959999-ffff"])
def test_versions_that_others_made_up_do_not_stop_ours(store: Store, version: str) -> None:
    add(store, version=version)
    made = add(store, version="").manifest.version
    assert made < version
    assert store.find(Ref("digits")).manifest.version == made


@pytest.mark.parametrize("created", ["zzzz", "2999-01-01T00:00:00+00:00", "2026-01-01T00:00:00"])
def test_a_time_to_come_is_refused(store: Store, created: str) -> None:
    with pytest.raises(ModelError, match="no time that has been"):
        add(store, created=created)


def test_gc_leaves_a_download_that_goes_on(store: Store) -> None:
    from tiffin.store import fs
    from tiffin.store.usage import partial_lock

    (store.root / "partial").mkdir(parents=True)
    (store.root / "partial" / "abc").write_bytes(b"p" * 10)
    with fs.locked(partial_lock(store.root, "abc")):
        assert collect(store) == 0
    assert collect(store) == 10
