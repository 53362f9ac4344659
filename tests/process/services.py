"""Services that the process ring serves."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np

import tiffin


@tiffin.service
class Faulty:
    """Methods that work, wait, stream, and die."""

    @tiffin.api
    def double(self, x: float) -> float:
        """Return twice x."""
        return x * 2

    @tiffin.api(batchable=True, max_batch_size=64)
    def total(self, x: Annotated[np.ndarray, tiffin.Shape(None, 4), tiffin.DType("float64")]) -> np.ndarray:
        """Return the sum of each row, after a moment."""
        time.sleep(0.002)
        sums: np.ndarray = x.sum(axis=1)
        return sums

    @tiffin.api
    def mark(self, path: str, seconds: float) -> int:
        """Note in a file that it ran, after `seconds`."""
        time.sleep(seconds)
        with Path(path).open("a", encoding="utf-8") as file:
            file.write("ran\n")
        return os.getpid()

    @tiffin.api(idempotent=False)
    def once(self, path: str, seconds: float) -> int:
        """Note in a file that it begins; never run twice."""
        with Path(path).open("a", encoding="utf-8") as file:
            file.write("ran\n")
        time.sleep(seconds)
        return os.getpid()

    @tiffin.api
    def die(self, path: str) -> int:
        """Note in a file that it ran, and kill the worker."""
        with Path(path).open("a", encoding="utf-8") as file:
            file.write("ran\n")
        os.kill(os.getpid(), 9)
        return 0

    @tiffin.api(run_limit=0.5)
    def hang(self) -> int:
        """Never end."""
        while True:
            time.sleep(1)

    @tiffin.api
    async def wait(self, seconds: float) -> float:
        """Wait without holding anything."""
        await asyncio.sleep(seconds)
        return seconds

    @tiffin.api
    def flood(self, chunks: int) -> Iterator[bytes]:
        """Send chunks of 64 kB."""
        for _ in range(chunks):
            yield b"x" * 65_536

    @tiffin.api
    def pid(self) -> int:
        """Return the worker's process id."""
        return os.getpid()

    @tiffin.api
    def fork_and_die(self) -> int:
        """Leave a child behind that holds every open descriptor, and die."""
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        os.kill(os.getpid(), 9)
        return 0


def _exceptions() -> tuple[type[Exception], type[Exception]]:
    """Return PyTorch's own exceptions, where it is installed: memory ran out, and the device is dead."""
    try:
        import torch
    except ImportError:
        return type("OutOfMemoryError", (RuntimeError,), {}), RuntimeError
    return torch.OutOfMemoryError, torch.AcceleratorError


OutOfMemory, Dead = _exceptions()


@tiffin.service
class Scarce:
    """A made-up device with room for eight rows, that dies when it is told to."""

    @tiffin.api(batchable=True, max_batch_size=64)
    def total(self, x: Annotated[np.ndarray, tiffin.Shape(None, 4), tiffin.DType("float64")]) -> np.ndarray:
        """Return the sum of each row; note the rows of every run."""
        with Path(os.environ["SCARCE_NOTES"]).open("a", encoding="utf-8") as notes:
            notes.write(f"{len(x)} {time.monotonic()}\n")
        time.sleep(0.001)
        if len(x) > 8:
            raise OutOfMemory(f"CUDA out of memory. Tried to allocate for {len(x)} rows.")
        sums: np.ndarray = x.sum(axis=1)
        return sums

    @tiffin.api(batchable=True, max_batch_size=64)
    def fragile(self, x: Annotated[np.ndarray, tiffin.Shape(None, 4), tiffin.DType("float64")]) -> np.ndarray:
        """Return the sum of each row, until the file of that name is there: then the device dies, once; on a -1 always."""
        time.sleep(0.001)
        burnt = True
        try:
            Path(os.environ["SCARCE_FUSE"]).unlink()  # one of two workers gets it, never both
        except FileNotFoundError:
            burnt = False
        if burnt or (x == -1).any():
            raise Dead("CUDA error: device-side assert triggered")
        sums: np.ndarray = x.sum(axis=1)
        return sums
