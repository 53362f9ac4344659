"""The title and the card of a worker; the title itself is only noted, since it would be this process's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import setproctitle

from tiffin.frameworks.memory import Peaks
from tiffin.gpu.card import Card, read
from tiffin.messages.link import Beat
from tiffin.worker import title
from tiffin.worker.beat import Heart

OWN = Path(f"/proc/{os.getpid()}")


@pytest.fixture(autouse=True)
def titles(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    given: list[str] = []
    monkeypatch.setattr(setproctitle, "setproctitle", given.append)
    monkeypatch.setattr(title, "_card", None)
    yield given
    if title._card is not None:
        title._card.close()


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [("GPU-a,MIG-b", ("GPU-a", "MIG-b")), ("", ()), (None, ()), ("0,1", ()), ("GPU-a,0", ("GPU-a",))],
)
def test_a_worker_says_who_it_is_and_which_devices_it_sees(titles, visible, uuids):
    title.introduce("Digits", 3, "cuda:0", {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    assert titles == ["tiffin: worker Digits 3 (cuda:0)"]
    assert read(OWN) == Card(pid=os.getpid(), service="Digits", worker=3, device="cuda:0", uuids=uuids)


def test_memory_is_shown_by_workers_only():
    title.show_memory(5)
    assert read(OWN) is None
    title.introduce("Digits", 0, "cuda:0", {})
    title.show_memory(3 << 30)
    card = read(OWN)
    assert card is not None and card.memory_bytes == 3 << 30


def test_where_no_memory_file_is_to_be_had_the_title_must_do(titles, monkeypatch):
    def refuse(*_arguments: object) -> int:
        raise OSError("too many open files")

    monkeypatch.setattr(os, "memfd_create", refuse)
    title.introduce("Digits", 0, "cpu", {})
    title.show_memory(1)
    assert titles == ["tiffin: worker Digits 0 (cpu)"]
    assert read(OWN) is None


def test_every_beat_brings_the_card_up_to_date(monkeypatch):
    shown: list[int] = []
    monkeypatch.setattr("tiffin.worker.beat.show_memory", shown.append)
    sent: list[Beat] = []

    class Session:
        closed = False
        send = sent.extend

    heart = Heart(lambda: Session, lambda: 0.0, Peaks())  # type: ignore[arg-type,return-value]
    heart.beat()
    assert shown == [sent[0].memory_bytes]
