"""The service that the clients' tests call."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

import tiffin

Image = Annotated[np.ndarray, tiffin.DType("float32"), tiffin.Shape(None, 2)]


@dataclass
class Item:
    """One thing of a shop."""

    name: str
    price: float = 1.0
    tags: list[str] | None = None


@tiffin.service
class Shop:
    """Methods of every shape that a client meets."""

    @tiffin.api(batchable=True)
    def predict(self, images: Image) -> Annotated[np.ndarray, tiffin.DType("float32"), tiffin.Shape(None, 2)]:
        """Return twice the images.

        Rows are doubled one by one.
        """
        return images * 2

    @tiffin.api
    def both(self, left: np.ndarray, right: np.ndarray, how: Literal["add", "sub"] = "add") -> dict[str, np.ndarray]:
        """Return the sum or the difference, and the shapes."""
        return {"out": left + right if how == "add" else left - right, "shape": np.array(left.shape)}

    @tiffin.api
    def whatever(self, value: Any) -> Any:
        """Return what came."""
        return value

    @tiffin.api
    def reprice(self, item: Item, factor: float = 2.0) -> Item:
        """Return the item at another price."""
        return Item(item.name, item.price * factor, item.tags)

    @tiffin.api
    def shout(self, text: str, /) -> str:
        """Return the text in capitals."""
        return text.upper()

    @tiffin.api
    def reverse(self, data: bytes, /) -> bytes:
        """Return the bytes from the end."""
        return data[::-1]

    @tiffin.api
    def call(self, x: int = 1) -> int:
        """Return x plus one; its name is the client's own, too."""
        return x + 1

    @tiffin.api
    def refuse(self, why: str) -> None:
        """Raise the service's own error."""
        raise tiffin.Error(f"refused: {why}", code="app.refused", status=422, details={"why": why})

    @tiffin.api
    def second_time(self, path: str) -> int:
        """Fail the first time and say that another try helps."""
        tries = Path(path)
        before = int(tries.read_text()) if tries.exists() else 0
        tries.write_text(str(before + 1))
        if not before:
            raise tiffin.Error("not yet", code="app.not_yet", status=503, retryable=True, retry_after_s=0.2)
        return before + 1

    @tiffin.api
    def sleep(self, seconds: float) -> float:
        """Wait."""
        time.sleep(seconds)
        return seconds

    @tiffin.api
    async def wait(self, seconds: float, number: int) -> int:
        """Wait without holding anything, and return the number."""
        await asyncio.sleep(seconds)
        return number

    @tiffin.api(idempotent=False)
    def die(self, path: str) -> int:
        """Note that it ran, and kill the worker."""
        with Path(path).open("a", encoding="utf-8") as file:
            file.write("ran\n")
        os.kill(os.getpid(), 9)
        return 0

    @tiffin.api
    def tokens(self, text: str) -> Iterator[str]:
        """Give the words one by one."""
        yield from text.split(" ")

    @tiffin.api
    async def items(self, count: int, fail_at: int = -1) -> AsyncIterator[Item]:
        """Give so many items."""
        for number in range(count):
            if number == fail_at:
                raise tiffin.Error("no more", code="app.no_more", status=409)
            yield Item(str(number))

    @tiffin.api
    def anything(self) -> Iterator[Any]:
        """Give a number, a text that looks like it, and two lines."""
        yield 5
        yield "5"
        yield "two\r\nlines"

    @tiffin.api
    def endless(self, path: str) -> Iterator[int]:
        """Count until nobody listens; note that in a file."""
        number = 0
        try:
            while True:
                yield number
                number += 1
                time.sleep(0.01)
        finally:
            Path(path).write_text("closed")
