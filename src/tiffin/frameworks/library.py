"""Imports a framework when it is needed. Owns what is said where it is not installed."""

from __future__ import annotations

import importlib
from typing import Any

from tiffin.errors import ConfigError

_INSTALL = {
    "torch": "pip install torch",
    "tensorflow": "pip install 'tensorflow[and-cuda]' (on a machine without a GPU: tensorflow-cpu)",
    "keras": "pip install keras and one of its backends: torch, or tensorflow",
    "onnxruntime": "pip install 'onnxruntime-gpu[cuda,cudnn]' (on a machine without a GPU: onnxruntime)",
    "onnx": "pip install onnx",
    "lightning": "pip install lightning",
    "pytorch_lightning": "pip install pytorch-lightning",
    "transformers": "pip install 'tiffin[transformers]'",
    "sentence_transformers": "pip install sentence-transformers",
    "safetensors": "pip install safetensors",
    "sklearn": "pip install scikit-learn",
    "skops": "pip install 'tiffin[sklearn]'",
    "xgboost": "pip install xgboost (on a machine without a GPU: xgboost-cpu)",
    "lightgbm": "pip install lightgbm",
    "catboost": "pip install catboost",
    "joblib": "pip install joblib",
    "cloudpickle": "pip install cloudpickle",
}


def library(name: str) -> Any:
    """Return a framework's module.

    Raises:
        ConfigError: it is not installed; says how to.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        top = name.partition(".")[0]
        if error.name not in (name, top):  # it is there, and lacks something itself
            raise
        raise ConfigError(f"{top} is not installed here", hint=_INSTALL[top]) from None
