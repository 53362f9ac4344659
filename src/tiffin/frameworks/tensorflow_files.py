"""TensorFlow SavedModels in the store.

Owns writing and reading of the folder and its signature. A graph is a program: one that somebody else made needs trust.
"""
# pyright: basic

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiffin.errors import ModelError
from tiffin.frameworks.library import library
from tiffin.frameworks.room import Framework, is_a, refuse_code, take_options
from tiffin.store.manifest import Signature, Value, free_rows
from tiffin.store.rooms import Written
from tiffin.store.store import Stored

_PROGRAM = "a SavedModel is a program: its operations may read and write files, when it is loaded and when it is called"
# For people only. The names are looked for as bytes anywhere in the graph: protobuf can write one field in more than one way.
_REACHING = (
    "ReadFile",
    "WriteFile",
    "MatchingFiles",
    "PyFunc",
    "EagerPyFunc",
    "PyFuncStateless",
    "DecodeProtoV2",
    "LoadLibrary",
)


class TensorFlow(Framework):
    """`tiffin.tensorflow`: see the module."""

    name = "tensorflow"
    distributions = ("tensorflow", "tensorflow-cpu")

    def claims(self, value: object) -> bool:
        """Say whether it is a module of TensorFlow's."""
        return is_a(value, "tensorflow:Module") and not is_a(value, "keras:Model")

    def write(self, value: Any, folder: Path, *, example: Any, trusted: bool, options: Mapping[str, Any]) -> Written:
        """Write a SavedModel.

        Args:
            value: a tf.Module, a Keras model, or the Path of a SavedModel. options: signatures: as for `tf.saved_model.save`.
        """
        del example, trusted
        given = take_options(options, ("signatures",), "tiffin.tensorflow.save")
        tf = library("tensorflow")
        if isinstance(value, str | Path):
            raise ModelError("a SavedModel on disk is taken by tiffin.models.import_(folder, name)")
        if is_a(value, "keras:Model"):
            value.export(str(folder), verbose=False)
        else:
            tf.saved_model.save(value, str(folder), signatures=given.get("signatures"))
        found = self.detect(folder)
        if found is None:
            raise ModelError("TensorFlow wrote no SavedModel")
        loaded = tf.saved_model.load(str(folder))
        return Written(
            format=found.format, code=found.code, distributions=self.distributions, signatures=_signatures(loaded)
        )

    def detect(self, path: Path) -> Written | None:
        """Know the folder of a SavedModel."""
        graph = path / "saved_model.pb"
        if not graph.is_file():
            return None
        return Written(format="saved_model", code=True, distributions=self.distributions)

    def examine(self, path: Path) -> list[str]:
        """Look into the graph of a SavedModel."""
        return reach(path) if (path / "saved_model.pb").is_file() else []

    def _read(self, stored: Stored, device: str, options: Mapping[str, Any]) -> Any:
        del options
        if stored.trust is None or not stored.manifest.code:
            refuse_code(stored, reach(stored.folder))
        tf = library("tensorflow")
        with tf.device(device_name(device)):
            return tf.saved_model.load(str(stored.folder))

    def runner(self, stored: Stored, loaded: Any) -> Any:
        """Return what calls the serving signature with arrays by name."""
        if not loaded.signatures:
            return super().runner(stored, loaded)
        name = "serving_default" if "serving_default" in loaded.signatures else next(iter(loaded.signatures))
        function = loaded.signatures[name]
        tf = library("tensorflow")

        def run(**inputs: Any) -> Any:
            found = function(**{key: tf.convert_to_tensor(value) for key, value in inputs.items()})
            return next(iter(found.values())) if len(found) == 1 else dict(found)

        return run

    def signatures(self, stored: Stored) -> dict[str, Signature]:
        """Read them from the graph."""
        stored.verify()
        return _signatures(self.read(stored, "cpu", {}))


ROOM = TensorFlow()


def device_name(device: str) -> str:
    """Return a device ("cpu", "cuda:1") as TensorFlow names it."""
    return "/CPU:0" if device == "cpu" else f"/GPU:{device.partition(':')[2] or 0}"


def reach(folder: Path) -> list[str]:
    """Return what a SavedModel's graph could do beyond tensors, as sentences."""
    try:
        content = (folder / "saved_model.pb").read_bytes()
    except OSError as error:
        raise ModelError(f"{folder.name}: saved_model.pb cannot be read: {error.strerror}") from error
    return [_PROGRAM, *(f"saved_model.pb has the operation {name}" for name in _REACHING if name.encode() in content)]


def _signatures(loaded: Any) -> dict[str, Signature]:
    """Return how the serving signature is called."""
    if not loaded.signatures:
        return {}
    name = "serving_default" if "serving_default" in loaded.signatures else next(iter(loaded.signatures))
    function = loaded.signatures[name]
    inputs = [_value(key, spec) for key, spec in function.structured_input_signature[1].items()]
    outputs = [_value(key, spec) for key, spec in function.structured_outputs.items()]
    batch_dim = free_rows([*inputs, *outputs]) if inputs else None
    return {"predict": Signature(inputs=inputs, outputs=outputs, batch_dim=batch_dim, call=name)}


def _value(name: str, spec: Any) -> Value:
    shape = None if spec.shape.rank is None else [None if size is None else int(size) for size in spec.shape]
    dtype = "str" if spec.dtype.name == "string" else spec.dtype.name
    return Value(name=name, dtype=dtype, shape=shape)
