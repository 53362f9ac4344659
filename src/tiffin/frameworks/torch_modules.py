"""What saving and loading does with the user's own PyTorch modules: their inputs, modes, precision and classes.

Owns no file; never leaves a module otherwise than it was given.
"""
# pyright: basic

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tiffin.errors import ModelError
from tiffin.frameworks.library import library
from tiffin.frameworks.room import is_a

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@contextmanager
def evaluating(module: Any) -> Generator[None]:
    """Run a module as it will be served: in eval mode. It is the user's, and gets its modes back."""
    parts = list(module.modules()) if hasattr(module, "modules") else []
    modes = [part.training for part in parts]
    try:
        for part in parts:
            part.training = False
        yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode


def take_precision(module: Any, path: Path) -> None:
    """Give a module's weights the element types of the file, so that loading changes no number."""
    saved: dict[str, Any] = {}
    with library("safetensors").safe_open(str(path), framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  not a dict
            saved[name] = file.get_slice(name).get_dtype()
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        dtype = _DTYPES.get(saved.get(name, ""))
        if dtype is not None:
            tensor.data = tensor.data.to(getattr(library("torch"), dtype))


def not_made_again(module: Any, init: Mapping[str, Any]) -> str:
    """Return why another process cannot make the module by its class's import path, "" where it can.

    It is tried on PyTorch's meta device, which takes no memory for weights.
    """
    torch = library("torch")
    cls = type(module)
    if "<locals>" in cls.__qualname__:
        return f"{cls.__qualname__} is defined in a function"
    if cls.__module__ == "__main__":
        return f"{cls.__qualname__} is defined in the program that runs, not in a module that can be imported"
    try:
        with torch.device("meta"):
            made = cls(**init)
    except Exception as error:  # wall: the user's own constructor
        return f"{cls.__qualname__} cannot be made with init={dict(init)!r} ({type(error).__name__}: {error}); save(…, init={{…}})"
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    if {name: tensor.shape for name, tensor in made.state_dict().items()} != shapes:
        return f"{cls.__qualname__} made with init={dict(init)!r} has other weights than this one; save(…, init={{…}})"
    return ""


def check_header(path: Path) -> None:
    """Refuse what is no safetensors file.

    Raises:
        ModelError: it is none.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        head = file.read(size) if 2 <= size <= 100_000_000 else b""
    try:
        known = isinstance(json.loads(head), dict)
    except ValueError:
        known = False
    if not known:
        raise ModelError(f"{path.name} is no safetensors file, or is cut short")


def parameters(value: Any) -> list[str]:
    """Return the names of a module's inputs."""
    if is_a(value, "torch.jit:ScriptModule"):
        return [argument.name for argument in value.forward.schema.arguments[1:] if not argument.has_default_value()]
    try:
        return [name for name in inspect.signature(value.forward).parameters if name != "self"]
    except (TypeError, ValueError, AttributeError):
        return []


def tensors(inputs: Mapping[str, Any], module: Any) -> dict[str, Any]:
    """Return inputs as tensors where the module is."""
    torch = library("torch")
    place = (
        next((tensor.device for tensor in module.parameters()), torch.device("cpu"))
        if hasattr(module, "parameters")
        else "cpu"
    )
    return {name: torch.as_tensor(value).to(place) for name, value in inputs.items()}


def plain(output: Any) -> Any:
    """Return a result as a tensor, a tuple of tensors or a dict of tensors."""
    if isinstance(output, Mapping):
        return dict(output)
    if isinstance(output, tuple | list):
        return output[0] if len(output) == 1 else tuple(output)
    return output


def imported(ref: str, place: str, base: Any) -> Any:
    """Return the class that a trusted model names.

    Raises:
        ModelError: it cannot be imported, or is no module of PyTorch.
    """
    module, _, name = place.partition(":")
    try:
        found: Any = sys.modules.get(module) or importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ModelError(
            f"{ref}: its class {place} cannot be imported here: {error}",
            hint="put its module on the path, or load(…, cls=…)",
        ) from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ModelError(f"{ref}: {place} is no class of PyTorch modules")
    return found


@contextmanager
def weights_only() -> Generator[None]:
    """Keep PyTorch from unpickling where its plain load fails, which torch.export would do."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
