"""PyTorch's DataParallel on all GPUs of the worker; a plain module on the CPU."""

from typing import Annotated

import torch
from adder import Network

import tiffin

Rows = Annotated[torch.Tensor, tiffin.Shape("rows", 4), tiffin.DType("float32")]


@tiffin.service(resources={"gpu": 2})
class Parallel:
    def __init__(self) -> None:
        self.gpus = [place.index for place in tiffin.torch.devices() if place.type == "cuda"]
        model = Network().eval().to(tiffin.torch.device())
        self.model = torch.nn.DataParallel(model, device_ids=self.gpus) if self.gpus else model

    @tiffin.api(batchable=True, max_batch_size=256)
    def predict(self, rows: Rows) -> torch.Tensor:
        with torch.inference_mode():
            scores: torch.Tensor = self.model(rows)
        return scores

    @tiffin.api
    def devices(self) -> list[int]:
        return self.gpus
