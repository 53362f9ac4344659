"""The two models of the GPU benchmark, in plain PyTorch with weights from one seed; run as a program it times the offline loop.

DistilBERT's and ResNet-50's architectures and sizes (67 and 26 million parameters); what they say does not matter, what they cost does.
Nothing is fetched. Times in seconds, memory in bytes.
"""
# pyright: basic

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

TOKENS = 128
_VOCABULARY, _WIDTH, _HEADS, _LAYERS = 30_522, 768, 12, 6
_BLOCKS = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # width, blocks, stride of each stage
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DistilBert(nn.Module):
    """Token ids int64 [rows, tokens] → logits [rows, 2]."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(_VOCABULARY, _WIDTH)
        self.places = nn.Embedding(512, _WIDTH)
        self.norm = nn.LayerNorm(_WIDTH)
        layer = nn.TransformerEncoderLayer(_WIDTH, _HEADS, 4 * _WIDTH, 0.0, "gelu", batch_first=True)
        self.layers = nn.TransformerEncoder(layer, _LAYERS, enable_nested_tensor=False)
        self.before = nn.Linear(_WIDTH, _WIDTH)
        self.head = nn.Linear(_WIDTH, 2)

    def forward(self, ids: Tensor) -> Tensor:
        """Classify."""
        places = torch.arange(ids.shape[1], device=ids.device)
        hidden = self.layers(self.norm(self.words(ids.long()) + self.places(places)))
        return self.head(torch.relu(self.before(hidden[:, 0])))


class _Bottleneck(nn.Module):
    def __init__(self, entry: int, width: int, stride: int) -> None:
        super().__init__()
        out = 4 * width
        self.path = nn.Sequential(
            *(nn.Conv2d(entry, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)),
            *(nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)),
            *(nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out)),
        )
        self.short: nn.Module = nn.Identity()
        if stride != 1 or entry != out:
            self.short = nn.Sequential(nn.Conv2d(entry, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.path(images) + self.short(images))


class ResNet50(nn.Module):
    """Images uint8 [rows, 3, 224, 224] → logits [rows, 1000]; scaled on the device, so that a byte a value travels."""

    def __init__(self) -> None:
        super().__init__()
        stages: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
        stages.append(nn.MaxPool2d(3, 2, 1))
        entry = 64
        for width, blocks, stride in _BLOCKS:
            for number in range(blocks):
                stages.append(_Bottleneck(entry, width, stride if number == 0 else 1))
                entry = 4 * width
        self.stages = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(entry, 1000)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1) * 255)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(1, 3, 1, 1) * 255)

    def forward(self, images: Tensor) -> Tensor:
        """Classify."""
        scaled = (images.to(self.mean.dtype) - self.mean) / self.deviation
        return self.head(self.stages(scaled.contiguous(memory_format=torch.channels_last)))


@dataclass(frozen=True)
class Workload:
    """One model and how it is asked.

    Attributes:
        name, model: which. gpu_batch, cpu_batch: rows that run at once. connections: clients, on the GPU; 16 on the CPU.
    """

    name: str
    model: type[nn.Module]
    gpu_batch: int
    cpu_batch: int
    connections: int

    def rows(self, count: int) -> np.ndarray:
        """Return random rows: int32 [count, 128] ids or uint8 [count, 3, 224, 224] images."""
        random = np.random.default_rng(0)
        if self.model is DistilBert:
            return random.integers(1000, _VOCABULARY, (count, TOKENS), dtype=np.int32)
        return random.integers(0, 256, (count, 3, 224, 224), dtype=np.uint8)

    def build(self, device: str) -> nn.Module:
        """Return the model, ready to run: bf16 and channels-last on a GPU, float32 on the CPU."""
        torch.manual_seed(0)
        torch.set_float32_matmul_precision("high")
        model = self.model().eval().to(device)
        if self.model is ResNet50:
            model = model.to(memory_format=torch.channels_last)
        return model.to(torch.bfloat16) if device != "cpu" else model


WORKLOADS = {
    one.name: one
    for one in (
        Workload("distilbert", DistilBert, gpu_batch=128, cpu_batch=8, connections=256),
        Workload("resnet50", ResNet50, gpu_batch=128, cpu_batch=8, connections=256),
    )
}


def run(model: nn.Module, rows: np.ndarray, device: str) -> np.ndarray:
    """Run rows as a service does: from an array of the host to an array of the host, float32 [rows, classes]."""
    with torch.inference_mode():
        result: np.ndarray = model(torch.from_numpy(rows).to(device, non_blocking=True)).float().cpu().numpy()
    return result


def offline(workload: Workload, device: str, seconds: float) -> dict[str, Any]:
    """Time the model in a plain loop over full batches: what no server can beat with this code.

    Returns:
        rows per second, rows per batch, and on a GPU the most memory that was allocated.
    """
    batch = workload.cpu_batch if device == "cpu" else workload.gpu_batch
    model = workload.build(device)
    rows = workload.rows(batch)
    for _ in range(3):
        run(model, rows, device)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        run(model, rows, device)
        done += batch
    took = time.perf_counter() - started
    peak = torch.cuda.max_memory_allocated() if device != "cpu" else 0
    return {"rows_per_s": done / took, "batch": batch, "peak_bytes": peak}


def main() -> None:
    """Print the offline figures of one model as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=list(WORKLOADS))
    parser.add_argument("device")
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    print(json.dumps(offline(WORKLOADS[options.workload], options.device, options.seconds)))


if __name__ == "__main__":
    main()
