"""BentoML: the MLP with adaptive batching."""

from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import DType, Shape

from benchmarks.models import MLP_BATCH, Mlp


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class MlpService:
    """Classifies rows."""

    def __init__(self) -> None:
        self.model = Mlp()

    @bentoml.api(batchable=True, max_batch_size=MLP_BATCH, max_latency_ms=60000)
    def predict(self, x: Annotated[np.ndarray, DType("float32"), Shape((-1, 64))]) -> np.ndarray:
        """Classify a batch."""
        return self.model(x)
