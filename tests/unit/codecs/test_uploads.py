"""Uploaded files on disk: our names, nobody else's; gone with the run, and after a process that was killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tiffin.codecs.uploads import Uploads, harmless, sweep
from tiffin.errors import Error


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_nothing_is_made_before_the_first_file(tmp_path: Path) -> None:
    uploads = Uploads()
    uploads.close()
    uploads.close()
    assert list(tmp_path.iterdir()) == []


def test_files_of_one_run_have_a_directory_and_go_with_it(tmp_path: Path) -> None:
    uploads = Uploads()
    one, two = uploads.save(b"1", "image/png", "a.png"), uploads.save(memoryview(b"2" * 3_000_000), "", "a.png")
    assert (one.name, two.name) == ("0.png", "1")
    assert two.stat().st_size == 3_000_000
    (one.parent / "of the user's own").mkdir()
    assert len(list(tmp_path.iterdir())) == 1
    uploads.close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_the_method_moved_or_removed_is_its_own_business(tmp_path: Path) -> None:
    uploads = Uploads()
    uploads.save(b"1", "", "").unlink()
    uploads.close()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(_fd: int, _data: object) -> int:
        raise OSError(28, "No space left on device")

    uploads = Uploads()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(Error, match="could not be stored: No space left") as caught:
            uploads.save(b"1", "", "")
    assert (caught.value.code, caught.value.status) == ("UNAVAILABLE", 503)
    uploads.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat.jpg", "cat.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\cat.jpg", "cat.jpg"),
        ("..", ""),
        (".bashrc", "bashrc"),
        ("-rf", "rf"),
        ("a\x00b\r\nc", "a_b__c"),
        ("<img src=x onerror=1>", "_img src_x onerror_1_"),
        ("ü.png", "_.png"),
        ("x" * 10_240, "x" * 120),
        ("", ""),
    ],
)
def test_s_http_07_a_clients_name_is_made_harmless(name: str, shown: str) -> None:
    assert harmless(name) == shown


LIVES = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from tiffin.codecs.uploads import Uploads
uploads = Uploads()
uploads.save(b"1", "", "")
print("there", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LIVES, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        assert sweep() == 0
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    mine = Uploads()
    kept = mine.save(b"1", "", "")
    assert sweep() == 1
    assert kept.exists()
    mine.close()
    assert list(tmp_path.iterdir()) == []


def test_a_link_of_that_name_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "precious"
    other.mkdir()
    (other / "file").write_text("1")
    (tmp_path / "tiffin-upload-x").symlink_to(other)
    assert sweep() == 0
    assert (other / "file").exists()
