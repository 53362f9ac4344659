"""The models every peer serves: the same weights everywhere, on the CPU, one thread. Never fetches anything. Run as a program it answers examples."""
# pyright: basic

from __future__ import annotations

import json
import sys
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

MLP_FEATURES = 64
MLP_BATCH = 64
BERT_BATCH = 8
VOCABULARY = 30_522
_FIRST_WORD_ID = 1_000
_CLS, _SEP, _PAD = 101, 102, 0


class Mlp:
    """A 64-256-256-10 network with fixed random weights."""

    def __init__(self) -> None:
        """Build the network; the weights depend on the seed alone."""
        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.network = nn.Sequential(
            nn.Linear(MLP_FEATURES, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
        ).eval()

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Run the network.

        Args:
            rows: float32 [rows, 64].

        Returns:
            float32 [rows, 10].
        """
        with torch.inference_mode():
            result: np.ndarray = self.network(torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))).numpy()
        return result


def tokenize(text: str) -> list[int]:
    """Turn words into ids by hash, so that no vocabulary has to be fetched.

    Args:
        text: words separated by white space.

    Returns:
        Token ids, with a first and a last marker.
    """
    span = VOCABULARY - _FIRST_WORD_ID
    return [_CLS, *(_FIRST_WORD_ID + zlib.crc32(word.encode()) % span for word in text.split()), _SEP]


class Bert:
    """DistilBERT with two classes, 67 million random weights."""

    def __init__(self) -> None:
        """Build the model; the weights depend on the seed alone."""
        # Takes seconds to import, and the MLP servers must not pay for it.
        from transformers import (  # pyright: ignore[reportMissingImports] - only in the benchmarks' own environments
            DistilBertConfig,
            DistilBertForSequenceClassification,
        )

        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.network: Any = DistilBertForSequenceClassification(DistilBertConfig()).eval()

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Classify texts, padded to the longest of them.

        Args:
            texts: up to eight texts.

        Returns:
            float32 [texts, 2], the logits.
        """
        tokens = [tokenize(text) for text in texts]
        longest = max(len(one) for one in tokens)
        ids = torch.tensor([one + [_PAD] * (longest - len(one)) for one in tokens])
        mask = torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in tokens])
        with torch.inference_mode():
            result: np.ndarray = self.network(input_ids=ids, attention_mask=mask).logits.numpy()
        return result


def main() -> None:
    """Read `{"mlp": rows, "bert": texts}` on standard input and print the same keys with the answers."""
    examples = json.load(sys.stdin)
    answers: dict[str, list[list[float]]] = {}
    if "mlp" in examples:
        answers["mlp"] = Mlp()(np.asarray(examples["mlp"], dtype=np.float32)).tolist()
    if "bert" in examples:
        bert = Bert()
        answers["bert"] = [bert([text])[0].tolist() for text in examples["bert"]]
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
