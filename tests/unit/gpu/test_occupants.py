"""Processes of a made-up /proc, and a card in the real one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tiffin.gpu import occupants
from tiffin.gpu.card import Card, CardFile, read


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "meminfo").touch()
    return tmp_path


def process(proc: Path, pid: int, cmdline: str, session: int) -> None:
    folder = proc / str(pid)
    folder.mkdir()
    (folder / "cmdline").write_bytes(cmdline.encode())
    (folder / "stat").write_text(f"{pid} (a name) (with) it) S 1 {session} {session} 0 -1")


def test_workers_are_known_by_their_titles(proc):
    process(proc, 10, "tiffin: worker My Service (v2) 12 (cuda:0)\0\0\0\0", 10)
    process(proc, 11, "tiffin: worker Digits 0 (cpu)\0", 11)
    process(proc, 12, "python\0train.py\0", 12)
    process(proc, 13, "", 13)  # a thread of the kernel
    here = occupants.find(proc)
    assert [(one.service, one.worker, one.pid) for one in here.workers] == [
        ("Digits", 0, 11),
        ("My Service (v2)", 12, 10),
    ]
    assert here.names[12] == "python train.py"
    assert here.workers[0].uuids is None
    assert here.workers[0].memory_bytes is None


def test_what_a_worker_started_belongs_to_it_and_is_no_worker(proc):
    process(proc, 10, "tiffin: worker Digits 0 (cuda:0)", 10)
    process(proc, 20, "tiffin: worker Digits 0 (cuda:0)", 10)  # forked, with the title
    process(proc, 21, "python\0-c\0rank 1", 10)
    process(proc, 22, "python", 22)
    (worker,) = occupants.find(proc).workers
    assert (worker.pid, set(worker.members)) == (10, {10, 20, 21})


def test_a_process_that_ends_while_it_is_looked_at_is_left_out(proc):
    (proc / "10").mkdir()
    process(proc, 11, "tiffin: worker Digits 0 (cpu)", 11)
    assert [one.pid for one in occupants.find(proc).workers] == [11]


def test_whose_pids_the_drivers_are(proc):
    assert not occupants.find(proc).host  # nothing says that they are ours
    assert occupants.find().host == (os.stat("/proc/self/ns/pid").st_ino == 4026531836)


def test_a_card_says_what_it_was_told_last():
    card = Card(pid=os.getpid(), service="Digits", worker=3, device="cuda:0", uuids=("GPU-a", "MIG-b"))
    file = CardFile(card)
    own = Path(f"/proc/{os.getpid()}")
    try:
        assert read(own) == card
        for size in (0, 1, 80 << 30, -1, 5):
            file.show(size)
            found = read(own)
            assert found is not None
            assert (found.memory_bytes, found.uuids) == (size, ("GPU-a", "MIG-b"))
    finally:
        file.close()
    assert read(own) is None


def test_the_card_of_another_process_is_not_mine():
    file = CardFile(Card(pid=1, service="Digits", worker=3, device="cuda:0"))  # as a fork of the worker would hold it
    try:
        assert read(Path(f"/proc/{os.getpid()}")) is None
    finally:
        file.close()


@pytest.mark.parametrize("content", [b"", b"x", b"%20d\n{" % 5, b"%20d\n{}" % 5, b"x" * 20 + b"\n{}"])
def test_a_card_of_another_version_is_none(content, monkeypatch):
    file = CardFile(Card(pid=os.getpid(), service="Digits", worker=3, device="cuda:0"))
    try:
        os.ftruncate(file._fd, 0)
        os.pwrite(file._fd, content, 0)
        assert read(Path(f"/proc/{os.getpid()}")) is None
    finally:
        file.close()


def test_a_process_that_is_gone_has_no_card(tmp_path):
    assert read(tmp_path / "4711") is None
