"""Device memory of this process: how much its frameworks may use, how much they hold, the most that they held.

Owns the asking of those frameworks that are loaded already; never loads one. Bytes.
"""
# pyright: basic

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any


class Limits:
    """Applies a worker's memory limits to frameworks as they come to be loaded.

    Args:
        memory: bytes of each visible device; 0: no limit.
    """

    def __init__(self, memory: Sequence[int]) -> None:
        self._memory = tuple(memory)
        self._applied = not any(memory)

    def apply(self) -> None:
        """Limit PyTorch's allocator where it is loaded and has CUDA; the others take their limit when they are set up."""
        torch = sys.modules.get("torch")
        if self._applied or torch is None:
            return
        self._applied = True
        if not torch.cuda.is_available():
            return
        for index, limit in enumerate(self._memory):
            if limit:
                total = torch.cuda.get_device_properties(index).total_memory
                torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total), index)


def held() -> int:
    """Return the device memory that loaded frameworks hold, -1 where none uses a device."""
    total = -1
    torch = _cuda()
    if torch is not None:
        total = max(0, total) + sum(torch.cuda.memory_reserved(index) for index in range(torch.cuda.device_count()))
    for name in _tensorflow_gpus():
        total = max(0, total) + int(sys.modules["tensorflow"].config.experimental.get_memory_info(name)["current"])
    return total


class Peaks:
    """The most device memory that batches took beyond what was held before them, by method and by rows.

    Call `before` and `after` around a batch; where no framework uses a device, they cost a look into a dict. Batches that run
    at once, on several threads, are counted into each other.
    """

    def __init__(self) -> None:
        self._most: dict[str, dict[int, int]] = {}

    def before(self) -> int:
        """Return what `after` needs: bytes in use now, -1 where no device is used."""
        torch = _cuda()
        if torch is None:
            return -1
        base = 0
        for index in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(index)
            base += torch.cuda.memory_allocated(index)
        return base

    def after(self, base: int, method: str, rows: int) -> None:
        """Count a batch of so many rows that is over."""
        if base < 0 or rows < 1:
            return
        torch = _cuda()
        if torch is None:
            return
        peak = sum(torch.cuda.max_memory_allocated(index) for index in range(torch.cuda.device_count()))
        by_rows = self._most.setdefault(method, {})
        rows = 1 << (rows - 1).bit_length()
        by_rows[rows] = max(by_rows.get(rows, 0), peak - base)

    def seen(self) -> dict[str, dict[int, int]]:
        """Return the most bytes so far, by method and by rows, rounded up to a power of two."""
        return {method: dict(by_rows) for method, by_rows in list(self._most.items())}


def _cuda() -> Any:
    """Return PyTorch where it is loaded and uses CUDA, else None."""
    torch = sys.modules.get("torch")
    try:
        return torch if torch is not None and torch.cuda.is_initialized() else None
    except AttributeError:  # another thread is in the middle of importing it
        return None


def _tensorflow_gpus() -> list[str]:
    """Return TensorFlow's GPUs where it runs already: to ask it for them would start it, and then it is too late to set it up."""
    started = getattr(sys.modules.get("tensorflow.python.eager.context"), "_context", None)
    if not getattr(started, "_initialized", False):
        return []
    try:
        devices = sys.modules["tensorflow"].config.list_logical_devices("GPU")
    except (AttributeError, KeyError, RuntimeError):  # another thread is in the middle of importing it
        return []
    return [f"GPU:{index}" for index, _ in enumerate(devices)]
