"""Keras models in the store: `tiffin.keras`. `.keras` files; legacy HDF5 only with trust.

Owns writing and reading; what a file may hold is `keras_archive`'s matter. Works on whichever backend Keras runs.
"""
# pyright: basic

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tiffin.errors import ModelError, TrustError
from tiffin.frameworks import keras_archive
from tiffin.frameworks.library import library
from tiffin.frameworks.room import Framework, is_a, only_file, refuse_code, take_options
from tiffin.frameworks.tensorflow_files import device_name
from tiffin.store.manifest import Signature, Value, free_rows
from tiffin.store.rooms import Written
from tiffin.store.store import Stored

__all__ = ["load", "save"]


class Keras(Framework):
    """`tiffin.keras`: see the module."""

    name = "keras"
    rank = 1
    distributions = ("keras", "tensorflow", "tensorflow-cpu", "torch")
    reading = ("custom_objects", "compile")

    def claims(self, value: object) -> bool:
        """Say whether it is a Keras model."""
        return is_a(value, "keras:Model", "tf_keras:Model")

    def write(self, value: Any, folder: Path, *, example: Any, trusted: bool, options: Mapping[str, Any]) -> Written:
        """Write a model as `.keras`; one with a Lambda layer holds code and needs trusted=True."""
        del example
        take_options(options, (), "tiffin.keras.save")
        path = folder / "model.keras"
        value.save(path)
        reaching = keras_archive.reach(path)
        own = [one for one in reaching if "somebody's own" not in one and "would import" not in one]
        if own and not trusted:
            raise TrustError(
                f"this model is not data alone: {own[0]}",
                hint="replace it by a layer of Keras or a registered class; where the file stays yours: trusted=True",
            )
        return Written(
            format="keras",
            code=bool(own),
            options={"file": path.name},
            distributions=self.distributions,
            signatures={"predict": _signature(value)} if getattr(value, "inputs", None) else {},
        )

    def detect(self, path: Path) -> Written | None:
        """Know a `.keras` file, and an `.h5` file of Keras's."""
        if not path.is_file() or path.suffix not in (".keras", ".h5", ".hdf5"):
            return None
        format = "keras" if path.suffix == ".keras" else "hdf5"
        own = [one for one in keras_archive.reach(path) if "somebody's own" not in one]
        return Written(format=format, code=bool(own), options={"file": path.name}, distributions=self.distributions)

    def examine(self, path: Path) -> list[str]:
        """Look into a `.keras` file."""
        return keras_archive.reach(path) if path.suffix in (".keras", ".h5", ".hdf5") else []

    def _read(self, stored: Stored, device: str, options: Mapping[str, Any]) -> Any:
        path = only_file(stored, (".keras", ".h5", ".hdf5"))
        custom = dict(options.get("custom_objects") or {})
        trusted = stored.trust is not None
        reaching = keras_archive.reach(path, custom)
        if not trusted and reaching:
            if all("somebody's own" in one or "would import" in one for one in reaching):
                raise ModelError(f"{stored.ref}: {reaching[0]}", hint="give the classes: load(…, custom_objects={…})")
            refuse_code(stored, reaching)
        keras = library("keras")
        with _on(device):
            return keras.saving.load_model(
                path,
                custom_objects=custom or None,
                compile=bool(options.get("compile")),
                safe_mode=not (trusted and reaching),
            )

    def runner(self, stored: Stored, loaded: Any) -> Any:
        """Return what calls the model with arrays by name, in inference mode."""
        signature = stored.manifest.signatures.get("predict")
        names = [value.name for value in signature.inputs] if signature else []

        def run(**inputs: Any) -> Any:
            values = [_taken(value) for value in ([inputs[name] for name in names] if names else inputs.values())]
            return loaded(values[0] if len(values) == 1 else values, training=False)

        return run

    def signatures(self, stored: Stored) -> dict[str, Signature]:
        """Read it from the model's inputs."""
        stored.verify()
        loaded = self.read(stored, "cpu", {})
        return {"predict": _signature(loaded)} if getattr(loaded, "inputs", None) else {}

    def _breaks(self, format: str, name: str, then: tuple[int, ...], now: tuple[int, ...]) -> str:
        del format
        if name == "keras" and then[:1] != now[:1]:
            return "Keras 2 and Keras 3 do not read each other's files"
        return ""


ROOM = Keras()
save, load = ROOM.save, ROOM.load


def _on(device: str) -> Any:
    """Return the context in which Keras makes its weights on a device."""
    if library("keras").backend.backend() != "tensorflow":
        return nullcontext() if device == "cpu" else library("keras").device(device.replace("cuda", "gpu"))
    return library("tensorflow").device(device_name(device))


def _signature(model: Any) -> Signature:
    inputs = [_value(tensor, str(tensor.name)) for tensor in model.inputs]
    if len(inputs) == 1:
        inputs = [Value(name="inputs", dtype=inputs[0].dtype, shape=inputs[0].shape)]
    outputs = [
        _value(tensor, "output" if not index else f"output{index}") for index, tensor in enumerate(model.outputs)
    ]
    return Signature(inputs=inputs, outputs=outputs, batch_dim=free_rows(inputs))


def _value(tensor: Any, name: str) -> Value:
    dtype = "str" if str(tensor.dtype) == "string" else str(tensor.dtype)
    return Value(name=name, dtype=dtype, shape=[None if size is None else int(size) for size in tensor.shape])


def _taken(value: Any) -> Any:
    """Return an input as Keras takes it: text is TensorFlow's matter."""
    return library("tensorflow").constant(value.tolist()) if value.dtype.kind in "UO" else value
