"""Train a small CNN on scikit-learn's bundled digits: 1,797 real handwritten 8x8 images, in seconds on a CPU.

    python train.py [FOLDER]

Writes FOLDER/digits.pt (weights only) and FOLDER/held_back.npz (200 images the model has never seen, with their labels).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from network import DigitsNet
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

EPOCHS = 12
BATCH = 64
HELD_BACK = 200
SEED = 7


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return train images, held-back images (float32 [n, 8, 8], 0..1), train labels, held-back labels (int64 [n])."""
    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)
    labels = digits.target.astype(np.int64)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=HELD_BACK, random_state=SEED, stratify=labels
    )
    return train_x, test_x, train_y, test_y


def shifted(images: torch.Tensor) -> torch.Tensor:
    """Return [n, 8, 8] images moved by up to one pixel: the only augmentation that small digits need."""
    down, right = (int(torch.randint(-1, 2, (1,))) for _ in range(2))
    return torch.roll(images, (down, right), (1, 2))


def train(images: np.ndarray, labels: np.ndarray, console: Console) -> DigitsNet:
    """Return the trained network; shows a progress bar on a terminal and nothing in a pipe."""
    torch.manual_seed(SEED)
    network = DigitsNet()
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    steps = EPOCHS * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    columns = (TextColumn("Training"), BarColumn(), TextColumn("{task.fields[loss]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("train", total=steps, loss="")
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(x)).split(BATCH):
                loss = torch.nn.functional.cross_entropy(network(shifted(x[rows])), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                progress.update(bar, advance=1, loss=f"loss {loss.item():.3f}")
    return network.eval()


def main(folder: Path) -> None:
    console = Console(stderr=True)
    torch.set_num_threads(1)  # so small a network is faster on one core, and leaves the others free
    train_x, test_x, train_y, test_y = load()
    started = time.perf_counter()
    network = train(train_x, train_y, console)
    with torch.inference_mode():
        found = network(torch.from_numpy(test_x)).argmax(1).numpy()
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), folder / "digits.pt")
    np.savez(folder / "held_back.npz", images=test_x, labels=test_y)
    seconds = time.perf_counter() - started
    right = float((found == test_y).mean())
    print(f"trained on {len(train_x)} images in {seconds:.1f} s; {right:.1%} right on {len(test_x)} held back")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "model")
