"""The classifier of headlines: a bag of word embeddings and one linear layer."""

from __future__ import annotations

import re

import torch
from torch import nn

WORD = re.compile(r"[a-z']+")


class NewsNetwork(nn.Module):
    def __init__(self, words: int, classes: int, size: int = 32) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(words, size, mode="mean")
        self.output = nn.Linear(size, classes)

    def forward(self, tokens: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        """Return scores float32 [rows, classes] of texts whose tokens (int64) lie one after the other, each from its offset."""
        scores: torch.Tensor = self.output(self.embedding(tokens, offsets))
        return scores


def as_bag(texts: list[str], vocabulary: dict[str, int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return tokens and offsets of texts; words that are not in the vocabulary are token 0."""
    rows = [[vocabulary.get(word, 0) for word in WORD.findall(text.lower())] or [0] for text in texts]
    starts = [sum(len(row) for row in rows[:index]) for index in range(len(rows))]
    tokens = [token for row in rows for token in row]
    return torch.tensor(tokens, device=device), torch.tensor(starts, device=device)
