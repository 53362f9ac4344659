"""Reviews, good or bad, by a recurrent network: `python train_sentiment.py && tiffin serve sentiment:Sentiment`."""

from __future__ import annotations

import numpy as np

import tiffin

tiffin.tensorflow.setup()  # memory grows as it is needed; a shared GPU's limit is kept

LENGTH = 12


@tiffin.service
class Sentiment:
    """Tells how good a review is, from 0 to 1."""

    def __init__(self) -> None:
        model = tiffin.models.get("sentiment:latest")
        self.network = model.load()
        self.vocabulary: dict[str, int] = model.object("vocabulary")

    @tiffin.api(batchable=True, max_batch_size=128)
    def rate(self, texts: list[str]) -> np.ndarray:
        rows = np.zeros((len(texts), LENGTH), np.int32)
        for row, text in zip(rows, texts, strict=True):
            tokens = [self.vocabulary.get(word, 1) for word in text.lower().split()][-LENGTH:]
            row[LENGTH - len(tokens) :] = tokens
        scores: np.ndarray = self.network(rows, training=False).numpy()[:, 0]
        return scores
