"""Tiffin: what the checks call besides the workloads: waiting, streams, a large array."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

import numpy as np
import tiffin

from benchmarks.models import MLP_BATCH, MLP_FEATURES, Mlp


@tiffin.service
class Checks:
    """Waits, classifies, streams and sums."""

    def __init__(self) -> None:
        self.model = Mlp()

    @tiffin.api
    async def wait(self, x: float) -> dict[str, float]:
        """Answer after 100 ms of waiting."""
        await asyncio.sleep(0.1)
        return {"y": x * 2}

    @tiffin.api(batchable=True, max_batch_size=MLP_BATCH, one_row=True)
    def predict(
        self, x: Annotated[np.ndarray, tiffin.Shape(None, MLP_FEATURES), tiffin.DType("float32")]
    ) -> np.ndarray:
        """Classify a batch."""
        return self.model(x)

    @tiffin.api
    def ticks(self, n: int) -> Iterator[str]:
        """Yield a word every 50 ms, from a plain generator."""
        for number in range(n):
            time.sleep(0.05)
            yield f"tick {number}"

    @tiffin.api
    async def async_ticks(self, n: int) -> AsyncIterator[str]:
        """Yield a word every 50 ms, from an async generator."""
        for number in range(n):
            await asyncio.sleep(0.05)
            yield f"tick {number}"

    @tiffin.api
    async def flood(self, n: int) -> AsyncIterator[str]:
        """Yield 16 kB at a time, as fast as they are taken."""
        for _ in range(n):
            await asyncio.sleep(0)
            yield "x" * 16_384

    @tiffin.api
    def total(self, x: Annotated[np.ndarray, tiffin.DType("float32")], /) -> float:
        """Sum an array."""
        return float(x.sum())
