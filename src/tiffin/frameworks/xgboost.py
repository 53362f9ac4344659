"""XGBoost models in the store: `tiffin.xgboost`. Written as UBJSON, read on the device. Owns nothing else."""
# pyright: basic

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiffin.frameworks.boosters import Boosters
from tiffin.frameworks.library import library

__all__ = ["load", "save"]


class XGBoost(Boosters):
    """`tiffin.xgboost`: see the module."""

    name = "xgboost"
    distributions = ("xgboost", "xgboost-cpu")
    classes = ("XGBClassifier", "XGBRegressor", "XGBRanker", "XGBRFClassifier", "XGBRFRegressor", "Booster")
    suffixes = (".ubj", ".json")
    plain = "Booster"

    def predict(self, model: Any, features: Any) -> Any:
        """Call the model with rows of features; a Booster takes them as a matrix of its own."""
        if type(model).__name__ == "Booster":
            names = model.feature_names if not hasattr(features, "columns") else None
            return model.predict(library("xgboost").DMatrix(features, feature_names=names))
        return model.predict(features)

    def _store(self, value: Any, path: Path, name: str) -> dict[str, Any]:
        del name
        value.save_model(path)
        return {}

    def _restore(self, cls: Any, path: Path, options: Mapping[str, Any], device: str) -> Any:
        del options
        model = cls()
        model.load_model(path)
        if device != "cpu":
            model.set_param({"device": device}) if cls.__name__ == "Booster" else model.set_params(device=device)
        return model

    def _mine(self, head: bytes) -> bool:
        return b"learner" in head

    def _features(self, value: Any) -> int:
        return int(value.num_features()) if type(value).__name__ == "Booster" else super()._features(value)


ROOM = XGBoost()
save, load = ROOM.save, ROOM.load
