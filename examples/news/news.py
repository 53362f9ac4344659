"""Headlines sorted into four classes, on a GPU where there is one: `python train_news.py && tiffin serve news:News`."""

from __future__ import annotations

from typing import TypedDict

import torch
from news_network import NewsNetwork, as_bag

import tiffin


class Found(TypedDict):
    label: str
    score: float


@tiffin.service
class News:
    """Tells what a headline is about."""

    def __init__(self) -> None:
        model = tiffin.models.get("news:latest")
        self.network = model.load(cls=NewsNetwork)  # already on this worker's device
        self.vocabulary: dict[str, int] = model.object("vocabulary")
        self.labels: list[str] = model.object("labels")
        self.device = tiffin.torch.device()

    @tiffin.api(batchable=True, max_batch_size=256)
    def classify(self, texts: list[str]) -> list[Found]:
        with torch.inference_mode():
            scores = self.network(*as_bag(texts, self.vocabulary, self.device)).softmax(1).cpu()
        best = scores.max(1)
        return [
            Found(label=self.labels[int(index)], score=float(score))
            for score, index in zip(best.values, best.indices, strict=True)
        ]
