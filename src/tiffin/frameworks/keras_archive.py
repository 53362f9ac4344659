"""A `.keras` file, read as the zip and JSON that it is before Keras is given it.

Owns the list of what in it would run code, open other files or change Keras's own guard; never loads a model.
"""
# pyright: basic

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from tiffin.errors import ModelError
from tiffin.store.zips import checked_zip, is_zip, read_member

_MEMBERS = ("config.json", "metadata.json", "model.weights.h5", "model.weights.json")
_FILES_IN_CONFIG = ("vocabulary", "filepath", "file_path", "path", "filename", "directory", "idf_weights")
_RUNS = frozenset(
    ("Lambda", "TFSMLayer", "TorchModuleWrapper", "FlaxLayer", "JaxLayer", "__lambda__", "PyFunc", "ExportArchive")
)
_OWN = ("keras", "builtins", "numpy")
# Where the parts of a model are; not keras.utils, keras.saving, keras.config, which do things.
_LAYERS = re.compile(
    r"keras(\.(src\.)?(layers|initializers|activations|regularizers|constraints|losses|metrics|optimizers|dtype_policies|models|ops"
    r"|random|quantizers)(\.\w+)*)?\Z"
)
_BUILTINS = frozenset(("int", "float", "bool", "str", "dict", "list", "tuple", "slice", "set", "bytes", "NoneType"))
_PLAIN_NUMPY = frozenset(("ndarray", "dtype", "float32", "float64", "int32", "int64", "bool_"))


def reach(path: Path, custom: Collection[str] = ()) -> list[str]:
    """Return what a `.keras` file would run or open beyond its own weights, as sentences; empty: it is data.

    Args:
        custom: names of classes that the caller provides.

    Raises:
        ModelError: it is no `.keras` file, or its zip is not plain.
    """
    if path.suffix != ".keras" or not is_zip(path):
        return [f"{path.name} is in the old HDF5 format, which may hold code"]
    with checked_zip(path) as archive:
        names = set(archive.namelist())
        if "config.json" not in names:
            raise ModelError(f"{path.name} is no .keras file: it has no config.json")
        found = [
            f"{name} does not belong in a .keras file"
            for name in sorted(names)
            if name not in _MEMBERS and not name.startswith(("assets/", "_layer_checkpoint_dependencies"))
        ]
        try:
            config = json.loads(read_member(archive, "config.json"))
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{path.name}: config.json cannot be read: {error}") from error
        found += list(dict.fromkeys(_config(config, set(custom))))
        if "model.weights.h5" in names:
            with archive.open("model.weights.h5") as weights:
                found += list(_weights(weights))
    return found


def _config(config: Any, custom: set[str]) -> Iterator[str]:
    left: list[Any] = [config]
    while left:
        one = left.pop()
        if isinstance(one, list):
            left.extend(one)
        elif isinstance(one, str):
            if "enable_unsafe_deserialization" in one:
                yield "config.json names enable_unsafe_deserialization"
        elif isinstance(one, dict):
            left.extend(one.keys())
            left.extend(one.values())
            yield from _object(one, custom)


def _object(one: dict[str, Any], custom: set[str]) -> Iterator[str]:
    cls = one.get("class_name")
    module = one.get("module")
    if isinstance(cls, str):
        registered = str(one.get("registered_name") or cls)
        given = cls in custom or registered in custom or registered.rpartition(">")[2] in custom
        if cls in _RUNS or registered.rpartition(">")[2] in _RUNS:
            yield f"config.json has a {cls}, which runs code or loads other files"
        elif isinstance(module, str) and not given:
            top = module.partition(".")[0]
            if top not in _OWN or ".." in module:
                yield f"config.json would import {cls} from {module}"
            elif top == "builtins" and cls not in _BUILTINS and cls != "function":
                yield f"config.json names {cls} of Python itself"
            elif top == "numpy" and cls not in _PLAIN_NUMPY:
                yield f"config.json names {cls} of numpy"
            elif top == "keras" and not _LAYERS.match(module):
                yield f"config.json would call {module}.{cls}"
        elif module is not None and not isinstance(module, str):
            yield f"config.json has a module that is no text: {str(module)[:60]}"
        elif module is None and "registered_name" in one and one["registered_name"] and not given:
            yield f"config.json needs {one['registered_name']}, a class of somebody's own (give it as custom_objects)"
        if cls == "function" and str(one.get("config")) not in custom:
            yield f"config.json needs {one.get('config')}, a function of somebody's own (give it as custom_objects)"
    for key in _FILES_IN_CONFIG:
        value = one.get(key)
        if isinstance(value, str) and value:
            yield f"config.json would open the file {value[:80]!r}"


def _weights(file: Any) -> Iterator[str]:
    """Look for what in an HDF5 file leads to other files."""
    import h5py  # Keras brings it

    try:
        with h5py.File(file, "r") as tree:
            left: list[Any] = [tree]
            while left:
                group = left.pop()
                for name in group:
                    link = group.get(name, getlink=True)
                    if not isinstance(link, h5py.HardLink):
                        yield f"model.weights.h5: {name!r} leads to another file or place"
                        continue
                    one = group[name]
                    if isinstance(one, h5py.Group):
                        left.append(one)
                    elif one.is_virtual or one.external:
                        yield f"model.weights.h5: {name!r} keeps its numbers in another file"
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        yield f"model.weights.h5 cannot be read: {str(error)[:120]}"
