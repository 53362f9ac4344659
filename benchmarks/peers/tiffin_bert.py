"""Tiffin: DistilBERT, batched."""

import numpy as np
import tiffin

from benchmarks.models import BERT_BATCH, Bert as Network


@tiffin.service
class Bert:
    """Classifies texts."""

    def __init__(self) -> None:
        self.model = Network()

    @tiffin.api(batchable=True, max_batch_size=BERT_BATCH, one_row=True)
    def predict(self, text: list[str]) -> np.ndarray:
        """Classify a batch."""
        return self.model(text)
