"""Three services that call each other: letters are cleaned, embedded and sorted; each part is placed and batched on its own.

Needs the encoder of ../embeddings: `python ../embeddings/import_minilm.py && tiffin serve triage:Triage`.
"""

from __future__ import annotations

import re
from typing import TypedDict

import numpy as np

import tiffin

DESKS = {
    "billing": ["I was charged twice", "please refund my payment", "the invoice is wrong"],
    "delivery": ["my parcel has not arrived", "the package was sent to another address", "when will it be delivered"],
    "technical": ["the app crashes at the start", "I cannot log in", "the device does not turn on"],
}


class Sorted(TypedDict):
    desk: str
    similarity: float


@tiffin.service
class Clean:
    """Takes greetings, addresses and white space out of letters."""

    @tiffin.api(batchable=True)
    def clean(self, letters: list[str]) -> list[str]:
        without = (
            re.sub(r"^(dear|hello|hi)\b.*?,|https?://\S+|\S+@\S+", " ", text, flags=re.IGNORECASE) for text in letters
        )
        return [" ".join(text.split()) for text in without]


@tiffin.service
class Embed:
    """Turns sentences into vectors of length 1."""

    def __init__(self) -> None:
        self.encoder = tiffin.models.load("minilm:latest")

    @tiffin.api(batchable=True, max_batch_size=64)
    def embed(self, texts: list[str]) -> np.ndarray:
        vectors: np.ndarray = self.encoder.encode(texts, show_progress_bar=False, normalize_embeddings=True)
        return vectors


@tiffin.service
class Triage:
    """Sends a letter to the desk whose usual sentences it is most like."""

    clean = tiffin.depends(Clean)
    embed = tiffin.depends(Embed)

    def __init__(self) -> None:
        self.desks: np.ndarray | None = None
        self.names = [name for name, sentences in DESKS.items() for _ in sentences]

    @tiffin.api
    def sort(self, letter: str) -> Sorted:
        if self.desks is None:
            self.desks = self.embed.embed([text for sentences in DESKS.values() for text in sentences])
        (text,) = self.clean.clean([letter])
        (vector,) = self.embed.embed([text])
        scores = self.desks @ vector
        best = int(scores.argmax())
        return Sorted(desk=self.names[best], similarity=float(scores[best]))
