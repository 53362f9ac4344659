"""The photograph that is uploaded and the small numpy network that looks at it; the same for every server."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image

if TYPE_CHECKING:
    from collections.abc import Sequence

SIDE = 224
CLASSES = 10
PHOTO_BYTES = 100_000
BATCH = 16


def photo() -> bytes:
    """Make the photograph: 1024 x 768, smooth shapes with grain, a JPEG of 100 kB to within 3 %, the same in every run."""
    rng = np.random.default_rng(11)
    y, x = np.mgrid[0:768, 0:1024]
    base = np.stack([np.sin(x / 91 + phase) + np.cos(y / 57 - phase) for phase in (0.0, 1.1, 2.3)], axis=-1)
    pixels = np.clip(128 + 50 * base + rng.normal(0, 9, base.shape), 0, 255).astype(np.uint8)
    image = PIL.Image.fromarray(pixels)
    best = b""
    for quality in range(20, 96):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        if abs(buffer.tell() - PHOTO_BYTES) < abs(len(best) - PHOTO_BYTES):
            best = buffer.getvalue()
    return best


class Network:
    """Two layers over every eighth pixel of a 224 x 224 picture: small, so that the figures tell of serving and decoding."""

    def __init__(self) -> None:
        rng = np.random.default_rng(12)
        self.first = rng.normal(0, 0.05, (28 * 28 * 3, 64)).astype(np.float32)
        self.second = rng.normal(0, 0.05, (64, CLASSES)).astype(np.float32)

    def __call__(self, images: Sequence[PIL.Image.Image]) -> np.ndarray:
        """Give the scores, float32 [images, 10], of pictures of any size."""
        points = np.stack([self._points(image) for image in images])
        return np.maximum(points @ self.first, 0) @ self.second

    @staticmethod
    def _points(image: PIL.Image.Image) -> np.ndarray:
        """Give what the network sees of one picture, float32 [28 * 28 * 3]."""
        small = np.asarray(image.convert("RGB").resize((SIDE, SIDE)))
        return small[4::8, 4::8].ravel().astype(np.float32) / 255


if __name__ == "__main__":
    data = photo()
    print(len(data), Network()([PIL.Image.open(io.BytesIO(data))])[0].tolist())
