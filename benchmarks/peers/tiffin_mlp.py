"""Tiffin: the MLP, batched."""

from typing import Annotated

import numpy as np
import tiffin

from benchmarks.models import MLP_BATCH, MLP_FEATURES, Mlp as Network


@tiffin.service
class Mlp:
    """Classifies rows."""

    def __init__(self) -> None:
        self.model = Network()

    @tiffin.api(batchable=True, max_batch_size=MLP_BATCH, one_row=True)
    def predict(
        self, x: Annotated[np.ndarray, tiffin.Shape(None, MLP_FEATURES), tiffin.DType("float32")]
    ) -> np.ndarray:
        """Classify a batch."""
        return self.model(x)
