"""Archives: the same bytes for the same model, and nothing but an archive is taken. Cases S-ARCH-01 to S-ARCH-08, by name."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.store.made import add, archive_of, contents, opened, tar, tree
from tiffin.errors import DamagedError, ModelError, TrustError
from tiffin.store import archive, exchange
from tiffin.store.manifest import FileEntry, encode
from tiffin.store.names import Ref
from tiffin.store.store import Store, Stored


@pytest.fixture
def source(tmp_path: Path) -> Stored:
    return add(Store(tmp_path / "source"), metadata={"a": 1}, labels={"x": "y"})


@pytest.fixture
def target(tmp_path: Path) -> Store:
    return Store(tmp_path / "target")


def refused(store: Store, content: bytes, match: str | None = None) -> None:
    """Make sure that an import is refused and that nothing but an empty store is left."""
    outside = tree(store.root.parent)
    with pytest.raises(ModelError, match=match):
        exchange.import_archive(store, opened(content), "a.tar")
    assert store.names() == []
    assert tree(store.root.parent) == outside


def test_a_round_trip_keeps_everything_but_trust(source: Stored, target: Store, tmp_path: Path) -> None:
    path = exchange.export(source, str(tmp_path))
    with Path(path).open("rb") as file:
        taken = exchange.import_archive(target, file, path)
    assert taken.manifest == source.manifest
    assert taken.trust is None
    taken.verify()
    assert Path(exchange.export(taken, f"{tmp_path}/again.tar")).read_bytes() == Path(path).read_bytes()


def test_a_folder_and_a_url_round_trip_too(source: Stored, target: Store, tmp_path: Path) -> None:
    exchange.export(source, f"{tmp_path}/out/")
    assert exchange.import_folder(target, tmp_path / "out").manifest == source.manifest
    place = exchange.export(source, f"file://{tmp_path}/bucket.tar")
    assert exchange.import_url(Store(tmp_path / "third"), place).manifest == source.manifest


def test_the_archive_is_a_tar_that_others_read(source: Stored) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive_of(source))) as file:
        assert file.getnames()[0] == "model.json"
        assert all(member.isreg() and member.mode == 0o644 and member.uid == 0 for member in file)


def test_another_name_can_be_given(source: Stored, target: Store) -> None:
    taken = exchange.import_archive(target, opened(archive_of(source)), "a.tar", Ref("mine", "v9"))
    assert taken.ref == "mine:v9"
    assert taken.manifest.digest == source.manifest.digest


def test_importing_again_is_no_error_and_other_content_is(source: Stored, target: Store, tmp_path: Path) -> None:
    for _ in range(2):
        exchange.import_archive(target, opened(archive_of(source)), "a.tar")
    other = add(Store(tmp_path / "other"), files={"x": b"other"})
    with pytest.raises(ModelError, match="exists already, with other content"):
        exchange.import_archive(target, opened(archive_of(other)), "a.tar")


def test_a_model_that_bears_code_needs_trust(target: Store, tmp_path: Path) -> None:
    content = archive_of(add(Store(tmp_path / "other"), code=True, framework="pickle", format="pickle"))
    with pytest.raises(TrustError) as caught:
        exchange.import_archive(target, opened(content), "a.tar")
    assert "--trust" in caught.value.hint
    assert target.names() == []
    taken = exchange.import_archive(target, opened(content), "a.tar", trust="a test")
    assert taken.trust is not None and taken.trust.digest == taken.manifest.digest


def library_tar(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as file:
        for info, content in members:
            info.size = len(content) if info.isreg() else info.size
            file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, **more: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in more.items():
        setattr(info, key, value)
    return info


HOSTILE = [
    "../x",
    "/tmp/x",
    "./a/../../x",
    "a\\..\\x",
    "C:x",
    "x" * 5000,
    "d/" * 2000 + "x",
    "../m_evil/x",
    "sha256/../../x",
    "sha256/" + "G" * 64,
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_s_arch_01_and_06_names(source: Stored, target: Store, name: str, form: int) -> None:
    try:
        extra = library_tar((member("model.json"), encode(source.manifest)), (member(name), b"x"), form=form)
    except ValueError:
        pytest.skip("this form has no such names")
    refused(target, extra)


LINKS = [
    (tarfile.SYMTYPE, "../../out"),
    (tarfile.LNKTYPE, "model.json"),
    (tarfile.SYMTYPE, "l"),
    (tarfile.SYMTYPE, "/etc/passwd"),
]


@pytest.mark.parametrize(("kind", "to"), LINKS)
def test_s_arch_02_links(source: Stored, target: Store, kind: bytes, to: str) -> None:
    digest = "sha256/" + "a" * 64
    for name in ("l", digest):
        content = library_tar(
            (member("model.json"), encode(source.manifest)), (member(name, type=kind, linkname=to), b"")
        )
        refused(target, content, "plain regular file|does not belong|not a model archive")


@pytest.mark.parametrize(
    "kind",
    [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, b"S", b"L", b"K", b"x", b"g", b"V", b"7"],
)
def test_s_arch_03_other_kinds_of_members(source: Stored, target: Store, kind: bytes) -> None:
    block = bytearray(archive.header("sha256/" + "a" * 64, 0))
    block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    refused(target, tar([("model.json", encode(source.manifest))])[: -len(archive.END)] + bytes(block) + archive.END)


@pytest.mark.parametrize(
    "size",
    [
        b"\xff" * 12,
        b"-0000000001\0",
        b"\x80" + b"\0" * 10 + b"\x05",
        b"77777777777\0",
        b"0x000000005\0",
        b"            ",
    ],
)
def test_s_arch_03_sizes_that_lie(source: Stored, target: Store, size: bytes) -> None:
    block = bytearray(archive.header("sha256/" + "a" * 64, 0))
    block[124:136] = size
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    refused(target, tar([("model.json", encode(source.manifest))])[: -len(archive.END)] + bytes(block) + archive.END)


def test_s_arch_03_modes_are_normal(source: Stored, target: Store) -> None:
    taken = exchange.import_archive(target, opened(archive_of(source)), "a.tar")
    modes = {(path.stat().st_mode & 0o7777) for path in taken.folder.rglob("*") if path.is_file()}
    assert modes == {0o444}


def test_s_arch_04_a_zip_is_no_archive(target: Store) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("model.json", b"{}")
        file.writestr("../x", b"0" * 10_000_000)
    refused(target, buffer.getvalue(), "not a model archive")


def test_s_arch_05_a_member_twice(source: Stored, target: Store) -> None:
    first = contents(source)[0]
    refused(target, tar([("model.json", encode(source.manifest)), first, first]), "twice")
    refused(target, tar([("model.json", encode(source.manifest))] * 2), "does not belong")


@pytest.mark.parametrize("field", ["name", "version"])
@pytest.mark.parametrize("word", ["../../x", "latest/../..", "%2e%2e", "．．", "x.", "x ", "x" * 300, "X"])
def test_s_arch_07_names_in_the_manifest(source: Stored, target: Store, field: str, word: str) -> None:
    wrong = msgspec.structs.replace(source.manifest, **{field: word}).sealed()
    refused(target, tar([("model.json", encode(wrong)), *contents(source)]), "is not one")


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a\\x", "a\0b", "C:x", "weights.bin/x", "WEIGHTS.bin"])
def test_s_arch_07_paths_in_the_manifest(source: Stored, target: Store, path: str) -> None:
    files = [*source.manifest.files, FileEntry(path=path, size=0, sha256="0" * 64)]
    wrong = msgspec.structs.replace(source.manifest, files=files).sealed()
    refused(target, tar([("model.json", encode(wrong)), *contents(source)]))


def test_something_missing_too_much_or_of_another_size(source: Stored, target: Store) -> None:
    text = ("model.json", encode(source.manifest))
    parts = contents(source)
    full = [part for part in parts if part[1]]
    refused(target, tar([text, *full[1:]]), "is named by its model.json and not in it")
    refused(target, tar([text, *parts, ("sha256/" + "b" * 64, b"more")]), "is not in its model.json")
    refused(target, tar([text, (full[0][0], full[0][1] + b"x"), *full[1:]]), "of another size")
    refused(target, tar([*parts, text]), "first member")
    refused(target, tar([text, *parts]) + b"\0" * 512 + b"junk", "after its end")


def test_a_manifest_that_is_a_bomb_is_refused(target: Store) -> None:
    for text in (b"[" * 100_000, b'{"a":' * 50_000, b"{" + b'"x":1,' * 100_000 + b'"x":1}', b"\xff\xfe", b"null"):
        refused(target, tar([("model.json", text)]), "model.json")
    huge = archive.header("model.json", 2**40)
    refused(target, huge, "too large")


def test_f27_cut_at_200_lengths(source: Stored, target: Store) -> None:
    whole = archive_of(source)
    for index in range(200):
        length = index * len(whole) // 200
        with pytest.raises(DamagedError, match="ends too early"):
            exchange.import_archive(target, opened(whole[:length]), "a.tar")
    assert target.names() == []


def test_f27_a_bit_flipped_anywhere(source: Stored, target: Store) -> None:
    whole = bytearray(archive_of(source))
    taken = 0
    for index in range(1000):
        position = index * (len(whole) * 8) // 1000
        whole[position // 8] ^= 1 << position % 8
        try:
            found = exchange.import_archive(target, opened(bytes(whole)), "a.tar", Ref("x", f"n{index}"))
            taken += 1
            assert found.manifest.digest == source.manifest.digest
            found.verify()
        except ModelError:
            pass
        whole[position // 8] ^= 1 << position % 8
    assert taken == 0


BREAKS: list[Callable[[bytearray, st.DataObject], None]] = []


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_s_arch_08_broken_archives_never_write_outside(tmp_path: Path, data: st.DataObject) -> None:
    base = Path(tempfile.mkdtemp(dir=tmp_path))
    files = data.draw(
        st.dictionaries(st.from_regex(r"[a-z]{1,4}(/[a-z]{1,4})?", fullmatch=True), st.binary(max_size=300), max_size=4)
    )
    try:
        source = add(Store(base / "source"), files=files)
    except ModelError:
        return  # a file that another one needs as a folder
    content = bytearray(archive_of(source))
    for _ in range(data.draw(st.integers(1, 4))):
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "swap", "field"]))
        at = data.draw(st.integers(0, len(content) - 1)) if content else 0
        if kind == "flip" and content:
            content[at] ^= data.draw(st.integers(1, 255))
        elif kind == "cut":
            del content[at : at + data.draw(st.integers(1, 600))]
        elif kind == "insert":
            content[at:at] = data.draw(st.binary(min_size=1, max_size=600))
        elif kind == "swap":
            content[at : at + 512], content[:512] = content[:512], content[at : at + 512]
        else:
            block = at // 512 * 512
            content[block : block + 100] = data.draw(st.sampled_from([b"../x", b"/x", b"sha256/x"])).ljust(100, b"\0")
    target = Store(base / "target")
    outside = tree(base / "source")
    try:
        exchange.import_archive(target, opened(bytes(content)), "a.tar").verify()
    except ModelError:
        assert target.names() == []
    assert tree(base / "source") == outside
    assert {entry.name for entry in os.scandir(base)} <= {"source", "target"}
