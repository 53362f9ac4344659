"""Tiffin: from one Python class to a fast, safe inference service.

Owns the public names (`__all__`); everything else is an inner matter. What can wait is loaded when first used, so that
`import tiffin` is cheap and loads no numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tiffin.errors import Error, Failed
from tiffin.service.columns import Columns
from tiffin.service.context import Context

# At once, not lazily: the import of the room `tiffin.service` would take the place of the decorator of that name.
from tiffin.service.decorators import api, on_shutdown, on_startup, service
from tiffin.service.depends import depends
from tiffin.service.markers import ContentType, DType, Shape
from tiffin.version import VERSION

__version__ = VERSION

if TYPE_CHECKING:
    from tiffin.client.asynchronous import AsyncHTTPClient
    from tiffin.client.synchronous import SyncHTTPClient
    from tiffin.frameworks import (
        catboost,
        keras,
        lightgbm,
        lightning,
        onnx,
        sentence_transformers,
        sklearn,
        tensorflow,
        torch,
        transformers,
        xgboost,
    )
    from tiffin.gpu.device import device
    from tiffin.server.inline import serve
    from tiffin.store import models

_LATER = {
    "AsyncHTTPClient": "tiffin.client.asynchronous",
    "SyncHTTPClient": "tiffin.client.synchronous",
    "device": "tiffin.gpu.device",
    "serve": "tiffin.server.inline",
}
# Of tiffin.frameworks; the libraries are imported by what is called there.
_ROOMS = (
    "catboost",
    "keras",
    "lightgbm",
    "lightning",
    "onnx",
    "sentence_transformers",
    "sklearn",
    "tensorflow",
    "torch",
    "transformers",
    "xgboost",
)

__all__ = [
    "AsyncHTTPClient",
    "Columns",
    "ContentType",
    "Context",
    "DType",
    "Error",
    "Failed",
    "Shape",
    "SyncHTTPClient",
    "__version__",
    "api",
    "catboost",
    "depends",
    "device",
    "keras",
    "lightgbm",
    "lightning",
    "models",
    "on_shutdown",
    "on_startup",
    "onnx",
    "sentence_transformers",
    "serve",
    "service",
    "sklearn",
    "tensorflow",
    "torch",
    "transformers",
    "xgboost",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        room = globals()[name] = importlib.import_module(f"tiffin.frameworks.{name}")
        return room
    if name == "models":
        models = globals()[name] = importlib.import_module("tiffin.store.models")
        return models
    home = _LATER.get(name)
    if home is None:
        raise AttributeError(f"module 'tiffin' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return __all__
