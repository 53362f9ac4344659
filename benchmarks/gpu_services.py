"""What the GPU benchmark serves: the same models, the same code per batch as the offline loop."""
# pyright: basic

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch

import tiffin
from benchmarks.gpu_models import TOKENS, WORKLOADS, run

Ids = Annotated[np.ndarray, tiffin.Shape("rows", TOKENS), tiffin.DType("int32")]
Images = Annotated[np.ndarray, tiffin.Shape("rows", 3, 224, 224), tiffin.DType("uint8")]


class _Served:
    name: str

    def __init__(self) -> None:
        self.device = tiffin.device()
        self.workload = WORKLOADS[self.name]
        self.model = self.workload.build(self.device)
        batch = self.workload.cpu_batch if self.device == "cpu" else self.workload.gpu_batch
        for rows in (1, batch):
            run(self.model, self.workload.rows(rows), self.device)

    @tiffin.api
    def where(self) -> dict[str, str | int]:
        """Return where the model is, and the most device memory that was allocated."""
        peak = 0 if self.device == "cpu" else torch.cuda.max_memory_allocated()
        name = "CPU" if self.device == "cpu" else torch.cuda.get_device_name()
        return {"device": self.device, "name": name, "peak_bytes": peak, "torch": torch.__version__}


def _batch(name: str) -> int:
    return WORKLOADS[name].cpu_batch if tiffin.device() == "cpu" else WORKLOADS[name].gpu_batch


@tiffin.service
class Distilbert(_Served):
    """Classifies texts of 128 tokens."""

    name = "distilbert"

    @tiffin.api(batchable=True, max_batch_size=_batch("distilbert"))
    def predict(self, rows: Ids, /) -> np.ndarray:
        """Classify a batch."""
        return run(self.model, rows, self.device)


@tiffin.service
class Resnet50(_Served):
    """Classifies images."""

    name = "resnet50"

    @tiffin.api(batchable=True, max_batch_size=_batch("resnet50"))
    def predict(self, rows: Images, /) -> np.ndarray:
        """Classify a batch."""
        return run(self.model, rows, self.device)
