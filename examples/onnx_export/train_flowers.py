"""Train a network on the iris flowers with PyTorch, export it to ONNX with free rows, save it: `python train_flowers.py`."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_iris

import tiffin


def main() -> None:
    torch.manual_seed(0)
    data = load_iris()
    rows = torch.tensor(data.data, dtype=torch.float32)
    labels = torch.tensor(data.target)
    mean, spread = rows.mean(0), rows.std(0)

    class Flowers(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))

        def forward(self, flowers: torch.Tensor) -> torch.Tensor:
            return torch.softmax(self.layers((flowers - mean) / spread), dim=1)

    network = Flowers()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _epoch in range(200):
        loss = torch.nn.functional.nll_loss(torch.log(network(rows)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    saved = tiffin.torch.save("flowers-torch", network.eval(), format="export", example=np.asarray(rows[:8]))
    made = tiffin.models.convert(saved.ref, "onnx", name="flowers")
    accuracy = (network(rows).argmax(1) == labels).float().mean().item()
    print(f"saved {made.ref}, accuracy {accuracy:.1%}, differs from PyTorch by at most {made.difference:.1e}")


if __name__ == "__main__":
    main()
