"""A network exported to ONNX, with the execution provider checked: `python train_flowers.py && tiffin serve flowers:Flowers`.

`tiffin serve model:flowers` serves the same graph without this class.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np

import tiffin
from tiffin import DType, Shape


@tiffin.service
class Flowers:
    """Tells three kinds of iris apart."""

    def __init__(self) -> None:
        self.session = tiffin.onnx.load(
            "flowers:latest"
        )  # an error where a GPU is there and ONNX Runtime would not use it
        self.provider = self.session.get_providers()[0]
        self.input = self.session.get_inputs()[0].name

    @tiffin.api(batchable=True)
    def predict(self, flowers: Annotated[np.ndarray, Shape(None, 4), DType("float32")]) -> np.ndarray:
        probabilities: np.ndarray = self.session.run(None, {self.input: flowers})[0]
        return probabilities

    @tiffin.api
    def provider_in_use(self) -> str:
        return str(self.provider)
