"""Imports a framework when it is needed. Owns what is said where it is not installed."""

from __future__ import annotations

import importlib
from typing import Any

from tiffin.errors import ConfigError

_INSTALL = {
    "torch": "pip install torch",
    "tensorflow": "pip install 'tensorflow[and-cuda]' (on a machine without a GPU: tensorflow-cpu)",
    "onnxruntime": "pip install 'onnxruntime-gpu[cuda,cudnn]' (on a machine without a GPU: onnxruntime)",
}


def library(name: str) -> Any:
    """Return a framework's module.

    Raises:
        ConfigError: it is not installed; says how to.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:  # it is there, and lacks something itself
            raise
        raise ConfigError(f"{name} is not installed here", hint=_INSTALL[name]) from None
