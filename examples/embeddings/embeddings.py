"""Sentence embeddings by MiniLM: `python import_minilm.py && tiffin serve embeddings:Embeddings`."""

from __future__ import annotations

import numpy as np

import tiffin


@tiffin.service
class Embeddings:
    """Turns sentences into vectors that lie near each other where the sentences mean the same."""

    def __init__(self) -> None:
        self.encoder = tiffin.sentence_transformers.load("minilm:latest")

    @tiffin.api(batchable=True, max_batch_size=64)
    def encode(self, texts: list[str]) -> np.ndarray:
        vectors: np.ndarray = self.encoder.encode(texts, show_progress_bar=False)
        return vectors

    @tiffin.api
    def similarity(self, one: str, other: str) -> float:
        first, second = self.encoder.encode([one, other], show_progress_bar=False)
        return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))
