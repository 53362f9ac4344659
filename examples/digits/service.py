"""Digits as a service: `tiffin serve service:Digits` in this folder, after `python train.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from network import DigitsNet

import tiffin

WEIGHTS = Path(__file__).parent / "model" / "digits.pt"
Images = Annotated[np.ndarray, tiffin.Shape("rows", 8, 8), tiffin.DType("float32")]


@tiffin.service
class Digits:
    """Reads handwritten digits: 8x8 images with values from 0 to 1."""

    def __init__(self) -> None:
        self.device = tiffin.device()
        torch.set_num_threads(1)  # a batch of such a network is too small to share between cores
        self.network = DigitsNet().to(self.device).eval()
        self.network.load_state_dict(torch.load(WEIGHTS, map_location=self.device, weights_only=True))
        self.predict(np.zeros((64, 8, 8), np.float32))  # the first run is slow: not on a caller's time

    @tiffin.api(batchable=True, max_batch_size=64)
    def predict(self, images: Images) -> np.ndarray:
        """Return the digit that each image shows, int64 [rows]."""
        with torch.inference_mode():
            scores = self.network(torch.from_numpy(images).to(self.device))
            digits: np.ndarray = scores.argmax(1).cpu().numpy()
        return digits

    @tiffin.api
    def about(self) -> dict[str, str]:
        """Say what computes the answers."""
        return {"device": self.device, "torch": torch.__version__}
