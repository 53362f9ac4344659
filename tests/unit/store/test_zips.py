"""Case S-ARCH-04: zip files that libraries would open are looked at first; what is not plain is refused before it is unpacked."""

from __future__ import annotations

import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tiffin.errors import ModelError
from tiffin.store.zips import checked_zip, is_zip, read_member


def made(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def opened(path: Path) -> list[str]:
    with checked_zip(path) as archive:
        return archive.namelist()


def test_a_plain_zip_is_read(tmp_path: Path) -> None:
    path = made(tmp_path / "a.zip", {"a/b": b"x" * 10_000, "c": b""})
    assert is_zip(path)
    with checked_zip(path) as archive:
        assert read_member(archive, "a/b") == b"x" * 10_000
        with pytest.raises(ModelError, match="too large to be looked at"):
            read_member(archive, "a/b", 100)


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\b", "C:/x", "a//b", "./x"])
def test_s_arch_04_names_that_lead_out(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="cannot be in a model"):
        opened(made(tmp_path / "a.zip", {name: b"x"}))


def test_s_arch_04_a_name_twice(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("a", b"1")
            archive.writestr("A", b"2")
    with pytest.raises(ModelError, match="two members"):
        opened(tmp_path / "a.zip")


def test_s_arch_04_a_link_and_an_encrypted_member(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        info = zipfile.ZipInfo("l")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ModelError, match="a link or a device"):
        opened(tmp_path / "link.zip")
    content = bytearray(made(tmp_path / "b.zip", {"a": b"x"}).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(ModelError, match="encrypted"):
        opened(tmp_path / "b.zip")


def test_s_arch_04_ratio_and_total(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expands"):
        opened(made(tmp_path / "bomb.zip", {"zeros": b"\0" * 20_000_000}))
    with pytest.raises(ModelError, match="expands to"):
        with checked_zip(made(tmp_path / "c.zip", {"a": b"a" * 900_000, "b": b"b" * 900_000}), limit=1_000_000):
            pass


def test_s_arch_04_other_compressions(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="compressed by method 12"):
        opened(made(tmp_path / "a.zip", {"a": b"x" * 100}, zipfile.ZIP_BZIP2))


def test_s_arch_04_a_million_members(tmp_path: Path) -> None:
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    count = 150_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count & 0xFFFF, count & 0xFFFF, len(entry) * count, 30, 0)
    local = struct.pack("<4s2B4HL2L2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    path = tmp_path / "many.zip"
    path.write_bytes(local + entry * count + end)
    with pytest.raises(ModelError):
        opened(path)


def overlapping(content: bytearray) -> None:
    """Let the second member begin where the first one does."""
    first = content.index(b"PK\x01\x02")
    second = content.index(b"PK\x01\x02", first + 4)
    content[second + 42 : second + 46] = content[first + 42 : first + 46]


def reaching(content: bytearray) -> None:
    """Let the last member be longer than the file."""
    last = content.rindex(b"PK\x01\x02")
    content[last + 20 : last + 24] = struct.pack("<L", 10_000_000)


def cut(content: bytearray) -> None:
    del content[-30:]


@pytest.mark.parametrize("change", [overlapping, reaching, cut])
def test_s_arch_04_directories_that_lie(tmp_path: Path, change: Callable[[bytearray], None]) -> None:
    path = made(tmp_path / "a.zip", {"a": b"a" * 5000, "b": b"b" * 5000}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    with pytest.raises(ModelError):
        opened(path)


def test_s_arch_04_a_wrong_checksum_and_a_header_that_differs(tmp_path: Path) -> None:
    path = made(tmp_path / "a.zip", {"name": b"a" * 5000}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(b"aaaa") + 9] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not a plain zip"):
        with checked_zip(path) as archive:
            read_member(archive, "name")
    content[content.index(b"name")] = ord("N")
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not a plain zip"):
        with checked_zip(path) as archive:
            read_member(archive, "name")


def test_what_is_no_zip(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(ModelError, match="not a plain zip"):
        opened(tmp_path / "a")
    assert not is_zip(tmp_path / "none")
