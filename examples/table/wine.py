"""A scikit-learn table as a service: `tiffin serve wine:Wine` in this folder, after `python train_wine.py`.

curl localhost:3000/predict -H 'content-type: text/csv' --data-binary @model/held_back.csv
"""

from __future__ import annotations

from typing import Annotated

import pandas as pd

import tiffin

MEASURED = (
    "alcohol",
    "malic_acid",
    "ash",
    "alcalinity_of_ash",
    "magnesium",
    "total_phenols",
    "flavanoids",
    "nonflavanoid_phenols",
    "proanthocyanins",
    "color_intensity",
    "hue",
    "od280/od315_of_diluted_wines",
    "proline",
)
Wines = Annotated[pd.DataFrame, tiffin.Columns(dict.fromkeys(MEASURED, "float64"), missing=False)]
Found = Annotated[pd.DataFrame, tiffin.Columns({"cultivar": "str", "probability": "float64"})]


@tiffin.service
class Wine:
    """Tells the cultivar of a wine from 13 measurements."""

    def __init__(self) -> None:
        self.model = tiffin.models.load("wine:latest")

    @tiffin.api(batchable=True, max_batch_size=256)
    def predict(self, wines: Wines) -> Found:
        """Return the cultivar of each wine and how sure the model is of it."""
        scores = self.model.predict_proba(wines)
        return pd.DataFrame({"cultivar": self.model.classes_[scores.argmax(1)], "probability": scores.max(1)})
