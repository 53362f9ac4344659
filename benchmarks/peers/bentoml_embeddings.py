"""BentoML: sentence embeddings, batchable."""

import bentoml
import numpy as np

from benchmarks.peers.minilm import encoder


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Embeddings:
    """Embeds texts."""

    def __init__(self) -> None:
        self.model = encoder()

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=10000)
    def encode(self, texts: list[str]) -> np.ndarray:
        """Embed texts."""
        return self.model.encode(texts, batch_size=len(texts), show_progress_bar=False)
