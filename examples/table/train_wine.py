"""Train a classifier on scikit-learn's bundled wine table: 178 wines, 13 chemical measurements, 3 cultivars.

    python train_wine.py [FOLDER]

Saves the model as "wine" (`tiffin models list` shows it) and writes FOLDER/held_back.csv (40 wines that it has never seen).
"""

from __future__ import annotations

import sys
from pathlib import Path

from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tiffin

SEED = 7


def main(folder: Path) -> None:
    wine = load_wine(as_frame=True)
    names = wine.target.map(dict(enumerate(wine.target_names)))
    train_x, test_x, train_y, test_y = train_test_split(
        wine.data, names, test_size=40, random_state=SEED, stratify=names
    )
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(train_x, train_y)
    folder.mkdir(parents=True, exist_ok=True)
    tiffin.sklearn.save("wine", model, example=train_x[:2])
    test_x.to_csv(folder / "held_back.csv", index=False)
    print(f"trained on {len(train_x)} wines; {model.score(test_x, test_y):.1%} right on {len(test_x)} held back")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "model")
