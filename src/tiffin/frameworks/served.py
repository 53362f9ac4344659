"""A model in the store as a service of its own, without a class that somebody writes: what `tiffin serve model:digits` serves.

Owns how a recorded signature becomes a method: parameters by name with dtypes and shapes, batching where axis 0 is free. The class
of a model is an attribute of this module, `served.model_<hex of "name:version">`: every process imports it like any service.
"""
# pyright: basic

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Callable
from typing import Annotated, Any

from tiffin.errors import SpecError
from tiffin.frameworks.served_name import PREFIX, decoded, encoded
from tiffin.service.columns import Columns
from tiffin.service.decorators import api, service
from tiffin.service.markers import DType, Shape
from tiffin.store import models
from tiffin.store.manifest import Signature, Value
from tiffin.store.model import Model
from tiffin.store.rooms import room


def target_of(ref: str) -> str:
    """Return the import string of a model's service.

    Raises:
        NotFoundError: there is no such model.
    """
    found = models.get(ref)
    return f"{__name__}:{encoded(found.ref)}"


def __getattr__(name: str) -> Any:
    if not name.startswith(PREFIX):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = service_of(models.get(decoded(name)), name)
    return found


def service_of(model: Model, name: str) -> type:
    """Return the service class of a model.

    Args:
        name: of the class.

    Raises:
        SpecError: nothing says how it is called.
    """
    owner = room(model.info.framework)
    recorded = model.info.signatures or owner.signatures(model._stored)
    if not recorded:
        raise SpecError(
            f"{model.ref}: nothing says which inputs it takes",
            hint="save it with example=one input, or write a service class that loads it",
        )

    def start(self: Any) -> None:
        self.run = owner.runner(model._stored, model.load())

    methods = {method: _method(method, signature, model) for method, signature in recorded.items()}
    cls = type(
        name,
        (),
        {"__init__": start, "__module__": __name__, "__qualname__": name, "__doc__": _doc(model), **methods},
    )
    return service(name=model.name)(cls)


def _method(name: str, signature: Signature, model: Model) -> Callable[..., Any]:
    """Return the served method of one signature."""
    names = _identifiers([value.name for value in signature.inputs])
    batchable = signature.batch_dim == 0 and all(_has_rows(value) for value in signature.inputs)
    keys = [value.name for value in signature.inputs]

    def call(self: Any, **given: Any) -> Any:
        return self.run(**dict(zip(keys, (given[own] for own in names), strict=True)))

    annotations = {own: _annotation(value) for own, value in zip(names, signature.inputs, strict=True)}
    returns = _result(signature)
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    parameters += [
        inspect.Parameter(own, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotations[own]) for own in names
    ]
    call.__name__ = name
    call.__qualname__ = f"{model.name}.{name}"
    call.__doc__ = f"{model.ref}, {model.info.framework}/{model.info.format}"
    call.__annotations__ = {**annotations, "return": returns}
    call.__signature__ = inspect.Signature(parameters, return_annotation=returns)  # type: ignore[attr-defined]
    return api(batchable=batchable)(call)


def _annotation(value: Value) -> Any:
    if value.kind == "text":
        return list[str]
    if value.kind == "table":
        import pandas as pd

        columns = {name: "" if kind == "object" else kind for name, kind in (value.columns or {}).items()}
        return Annotated[pd.DataFrame, Columns(columns or None)]
    import numpy as np

    markers: list[Any] = []
    if value.shape is not None:
        markers.append(Shape(tuple(value.shape)))
    if value.dtype:
        markers.append(DType(value.dtype))
    array: Any = np.ndarray
    for marker in markers:
        array = Annotated[array, marker]
    return array


def _result(signature: Signature) -> Any:
    """Return the annotation of the result: an array where there is one and it holds numbers."""
    outputs = signature.outputs
    if len(outputs) == 1 and outputs[0].kind == "tensor" and outputs[0].dtype not in ("", "str", "bfloat16"):
        import numpy as np

        return np.ndarray
    return Any


def _has_rows(value: Value) -> bool:
    return value.kind != "tensor" or bool(value.shape and value.shape[0] is None)


def _identifiers(names: list[str]) -> list[str]:
    """Return names that Python can use for parameters, each once: "serving_x:0" → "serving_x_0"."""
    found: list[str] = []
    for name in names:
        plain = re.sub(r"\W", "_", name, flags=re.ASCII) or "input"
        if plain[0].isdigit() or keyword.iskeyword(plain) or plain in ("self", "call"):
            plain = f"input_{plain}"
        while plain in found:
            plain += "_"
        found.append(plain)
    return found


def _doc(model: Model) -> str:
    told = model.metadata.get("description") or model.labels.get("description") or ""
    return f"{model.ref} ({model.info.framework}/{model.info.format}). {told}".strip()
