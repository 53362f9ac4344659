"""CatBoost models in the store: `tiffin.catboost`. Written in its own binary format. Owns nothing else."""
# pyright: basic

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiffin.frameworks.boosters import Boosters

__all__ = ["load", "save"]


class CatBoost(Boosters):
    """`tiffin.catboost`: see the module."""

    name = "catboost"
    distributions = ("catboost",)
    classes = ("CatBoostClassifier", "CatBoostRegressor", "CatBoostRanker", "CatBoost")
    suffixes = (".cbm",)
    plain = "CatBoost"

    def _store(self, value: Any, path: Path, name: str) -> dict[str, Any]:
        del name
        value.save_model(str(path), format="cbm")
        return {}

    def _restore(self, cls: Any, path: Path, options: Mapping[str, Any], device: str) -> Any:
        del options, device  # CatBoost predicts on the CPU unless asked per call
        model = cls()
        model.load_model(str(path), format="cbm")
        return model

    def _mine(self, head: bytes) -> bool:
        return head.startswith(b"CBM1")

    def _features(self, value: Any) -> int:
        return len(value.feature_names_ or ())


ROOM = CatBoost()
save, load = ROOM.save, ROOM.load
