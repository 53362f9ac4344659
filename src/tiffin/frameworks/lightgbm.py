"""LightGBM models in the store: `tiffin.lightgbm`. Written as text; scikit-learn's wrappers are made again. Owns nothing else."""
# pyright: basic

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiffin.errors import ModelError
from tiffin.frameworks.boosters import Boosters

__all__ = ["load", "save"]


class LightGBM(Boosters):
    """`tiffin.lightgbm`: see the module."""

    name = "lightgbm"
    distributions = ("lightgbm",)
    classes = ("LGBMClassifier", "LGBMRegressor", "LGBMRanker", "Booster")
    suffixes = (".txt", ".lgb")
    plain = "Booster"

    def _store(self, value: Any, path: Path, name: str) -> dict[str, Any]:
        booster = value if name == "Booster" else value.booster_
        booster.save_model(str(path))
        if name == "Booster":
            return {}
        wrapper = {"objective": value.objective_} if isinstance(value.objective_, str) else {}
        if name != "LGBMClassifier":
            return wrapper
        classes = value.classes_.tolist()
        if not all(isinstance(label, str | int | float | bool) for label in classes):
            raise ModelError(f"the classes {classes[:3]!r} of this LGBMClassifier are neither text nor numbers")
        return {**wrapper, "classes": classes, "classes_dtype": str(value.classes_.dtype)}

    def _restore(self, cls: Any, path: Path, options: Mapping[str, Any], device: str) -> Any:
        del device  # LightGBM predicts on the CPU
        import lightgbm

        booster = lightgbm.Booster(model_file=str(path))
        if cls is lightgbm.Booster:
            return booster
        model = cls(objective=options.get("objective"), verbose=-1)
        # What `fit` would have left behind; the wrapper has no loader of its own.
        model._Booster = booster
        model._n_features = model._n_features_in = booster.num_feature()
        model._best_iteration = 0
        model._objective = options.get("objective")
        model.fitted_ = True
        if "classes" in options:
            import numpy as np
            from sklearn.preprocessing import LabelEncoder

            encoder = LabelEncoder().fit(np.asarray(options["classes"], dtype=options["classes_dtype"]))
            model._le = encoder
            model._classes = encoder.classes_
            model._n_classes = len(options["classes"])
        return model

    def _mine(self, head: bytes) -> bool:
        return head.startswith(b"tree\n")

    def _features(self, value: Any) -> int:
        return int(value.num_feature()) if type(value).__name__ == "Booster" else super()._features(value)


ROOM = LightGBM()
save, load = ROOM.save, ROOM.load
