"""BentoML: DistilBERT with adaptive batching."""

import bentoml
import numpy as np

from benchmarks.models import BERT_BATCH, Bert


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class BertService:
    """Classifies texts."""

    def __init__(self) -> None:
        self.model = Bert()

    @bentoml.api(batchable=True, max_batch_size=BERT_BATCH, max_latency_ms=60000)
    def predict(self, texts: list[str]) -> np.ndarray:
        """Classify a batch."""
        return self.model(texts)
