"""How a worker is seen from outside: the process title, which nvidia-smi shows too, and the card that `tiffin gpus` reads.

Owns both; never asks a framework for memory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import setproctitle

from tiffin.gpu.card import Card, CardFile

_card: CardFile | None = None


def introduce(service: str, worker: int, device: str, environ: Mapping[str, str] = os.environ) -> None:
    """Give this process the title and the card of a worker.

    Args:
        service, worker, device: who it is. environ: says which devices it sees.
    """
    global _card
    setproctitle.setproctitle(f"tiffin: worker {service} {worker} ({device})")
    entries = environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    uuids = tuple(entry for entry in entries if entry.startswith(("GPU-", "MIG-")))
    try:
        _card = CardFile(Card(pid=os.getpid(), service=service, worker=worker, device=device, uuids=uuids))
    except OSError:  # no memory file to be had: the title says the most important
        _card = None


def show_memory(memory_bytes: int) -> None:
    """Say how much device memory this process holds, -1 where no framework can tell; nothing happens outside of a worker."""
    if _card is not None:
        _card.show(memory_bytes)
