"""Train a small network on scikit-learn's bundled digits, seen as a photograph of each would look: scaled up, as JPEG, scaled down.

    python learn.py [FOLDER]

Writes FOLDER/pictures.pt (weights only) and FOLDER/photos/NUMBER-DIGIT.jpg (100 pictures that the network has never seen).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SIDE = 16  # pixels of what the network sees
PHOTO = 224  # pixels of a photograph
HELD_BACK = 100
EPOCHS = 30
SEED = 7


def network() -> torch.nn.Sequential:
    """Return the network, untrained: float32 [rows, SIDE, SIDE] in 0..1 -> scores float32 [rows, 10]."""
    return torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(SIDE * SIDE, 128),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.2),
        torch.nn.Linear(128, 10),
    )


def photo(digit: np.ndarray) -> PIL.Image.Image:
    """Return an 8x8 digit (0..16) as a photograph of it: grey paper, soft edges, in colour."""
    ink = PIL.Image.fromarray((digit * 12 + 30).astype(np.uint8)).resize((PHOTO, PHOTO), PIL.Image.Resampling.BICUBIC)
    return ink.convert("RGB")


def seen(image: PIL.Image.Image) -> np.ndarray:
    """Return what the network sees of a photograph: float32 [SIDE, SIDE] in 0..1."""
    grey = image.convert("L").resize((SIDE, SIDE), PIL.Image.Resampling.BILINEAR)
    return np.asarray(grey, np.float32) / 255


def main(folder: Path) -> None:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    digits = load_digits()
    train_x, test_x, train_y, test_y = train_test_split(
        digits.images, digits.target, test_size=HELD_BACK, random_state=SEED, stratify=digits.target
    )
    x = torch.from_numpy(np.stack([seen(photo(digit)) for digit in train_x]))
    y = torch.from_numpy(train_y.astype(np.int64))
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    photos = folder / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), folder / "pictures.pt")
    for number, (digit, label) in enumerate(zip(test_x, test_y, strict=True)):
        photo(digit).save(photos / f"{number:03}-{label}.jpg", quality=85)
    print(f"trained on {len(x)} pictures, wrote {HELD_BACK} photographs")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "model")
