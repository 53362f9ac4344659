"""Photographs as a service: `tiffin serve pictures:Pictures` in this folder, after `python learn.py`.

curl -F images=@photo.jpg http://127.0.0.1:3000/read
curl -H 'content-type: image/jpeg' --data-binary @photo.jpg http://127.0.0.1:3000/read
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypedDict

import numpy as np
import PIL.Image
import torch
from learn import SIDE, network, seen

import tiffin

WEIGHTS = Path(os.environ.get("PICTURES_MODEL", Path(__file__).parent / "model")) / "pictures.pt"


class Look(TypedDict):
    """What `look` answers: a form with two parts, or JSON with the picture in base64, as the client asks."""

    digit: int
    seen: PIL.Image.Image


@tiffin.service
class Pictures:
    """Reads photographs of handwritten digits."""

    def __init__(self) -> None:
        self.device = tiffin.device()
        torch.set_num_threads(1)
        self.network = network().to(self.device).eval()
        self.network.load_state_dict(torch.load(WEIGHTS, map_location=self.device, weights_only=True))
        self._digits(np.zeros((8, SIDE, SIDE), np.float32))

    @tiffin.api(batchable=True, max_batch_size=32, one_row=True)
    def read(self, images: list[PIL.Image.Image]) -> list[int]:
        """Return the digit that each photograph shows."""
        return self._digits(np.stack([seen(image) for image in images]))

    @tiffin.api
    def look(self, image: PIL.Image.Image) -> Look:
        """Return the digit, and what the network saw of the photograph."""
        small = seen(image)
        return {"digit": self._digits(small[None])[0], "seen": PIL.Image.fromarray((small * 255).astype(np.uint8))}

    def _digits(self, images: np.ndarray) -> list[int]:
        with torch.inference_mode():
            digits: list[int] = self.network(torch.from_numpy(images).to(self.device)).argmax(1).tolist()
        return digits
