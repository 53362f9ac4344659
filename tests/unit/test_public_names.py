"""What `import tiffin` promises: these names, and no more."""

from __future__ import annotations

import importlib
import inspect

import pytest

import tiffin

NAMES = [
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


def test_the_names_are_pinned():
    assert tiffin.__all__ == NAMES
    assert dir(tiffin) == NAMES


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'tiffin' has no attribute 'task'"):
        vars(type(tiffin))["__getattribute__"](tiffin, "task")


def test_the_decorator_keeps_its_name_when_its_room_is_loaded():
    for room in ("tiffin.service.describe", "tiffin.service.annotations", "tiffin.service"):
        importlib.import_module(room)
    assert inspect.isfunction(tiffin.service)


def test_every_public_name_says_what_it_is():
    assert [name for name in NAMES if name != "__version__" and not (getattr(tiffin, name).__doc__ or "").strip()] == []
