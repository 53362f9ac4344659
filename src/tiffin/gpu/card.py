"""A worker's card: who it is, on which devices, and how much of their memory it holds, where `tiffin gpus` finds it.

Owns the card's form, its writing and its reading; never asks a driver or a server. A card is an open memory file of the worker's
process, read through /proc: it ends with the process, and only the same user (and root) may read it. The process list cannot say
this: setting a process title overwrites the environment that /proc shows. Sizes in bytes.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

_NAME = "tiffin-worker"
_LINK = f"/memfd:{_NAME} (deleted)"
_MEMORY_DIGITS = 20
_MOST_BYTES = 65_536


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker says of itself.

    Attributes:
        pid: as the worker sees it (in a container: the container's). service, worker: its service and number.
        device: "cuda:0" or "cpu". uuids: the devices that it sees.
        memory_bytes: device memory that its frameworks hold, on all of its devices; -1 where none can tell.
    """

    pid: int
    service: str
    worker: int
    device: str
    uuids: tuple[str, ...] = ()
    memory_bytes: int = -1


class CardFile:
    """The card of this process; it can be read until the process ends.

    Raises:
        OSError: the kernel gives no memory file.
    """

    def __init__(self, card: Card) -> None:
        self._fd = os.memfd_create(_NAME, os.MFD_CLOEXEC)
        self._shown = card.memory_bytes
        # The figure stands first, in a fixed width: it can be changed in place.
        os.write(self._fd, _figure(card.memory_bytes) + msgspec.json.encode(card))

    def show(self, memory_bytes: int) -> None:
        """Say how much memory is held now."""
        if memory_bytes != self._shown:
            self._shown = memory_bytes
            os.pwrite(self._fd, _figure(memory_bytes), 0)

    def close(self) -> None:
        """Take the card away."""
        os.close(self._fd)


def read(process: Path) -> Card | None:
    """Return the card of a process; None where it has none, is gone, or belongs to somebody else.

    Args:
        process: its folder in /proc.
    """
    try:
        for entry in (process / "fd").iterdir():
            if str(entry.readlink()) == _LINK:
                with entry.open("rb") as file:
                    card = _decode(file.read(_MOST_BYTES))
                # A fork of the worker holds its file too, and is not the worker.
                return card if card is not None and card.pid == _own_pid(process) else None
    except OSError:
        return None
    return None


def _figure(memory_bytes: int) -> bytes:
    return b"%*d\n" % (_MEMORY_DIGITS, memory_bytes)


def _decode(content: bytes) -> Card | None:
    try:
        card = msgspec.json.decode(content[_MEMORY_DIGITS + 1 :], type=Card)
        return msgspec.structs.replace(card, memory_bytes=int(content[:_MEMORY_DIGITS]))
    except (ValueError, msgspec.DecodeError):  # another version's
        return None


def _own_pid(process: Path) -> int:
    """Return a process's number as it sees it itself: in its own pid namespace."""
    for line in (process / "status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return int(process.name)
