"""ONNX models in the store: a graph and the files beside it that hold its weights, all of them inside the model's folder.

Owns the check of external data (relative, plain, contained, no links) and the signature read from the graph; never runs a graph.
"""
# pyright: basic

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tiffin.errors import ModelError
from tiffin.frameworks import onnx_sessions as runtime
from tiffin.frameworks.library import library
from tiffin.frameworks.room import Framework, is_a, only_file, take_options
from tiffin.store.manifest import Signature, Value, free_rows
from tiffin.store.names import check_path
from tiffin.store.rooms import Written
from tiffin.store.store import Stored

_INLINE_BYTES = 1_900_000_000  # protobuf ends at 2 GB: weights go to a file beside the graph


class Onnx(Framework):
    """`tiffin.onnx`: see the module."""

    name = "onnx"
    distributions = ("onnx", "onnxruntime", "onnxruntime-gpu")
    reading = ("tensorrt", "options", "wanted")

    def claims(self, value: object) -> bool:
        """Say whether it is a graph in memory, or the path of one."""
        return is_a(value, "onnx:ModelProto") or (isinstance(value, Path) and value.suffix == ".onnx")

    def write(self, value: Any, folder: Path, *, example: Any, trusted: bool, options: Mapping[str, Any]) -> Written:
        """Write a graph, an `onnx.ModelProto` or the Path of an .onnx file with what lies beside it."""
        del example, trusted
        take_options(options, (), "tiffin.onnx.save")
        onnx = library("onnx")
        target = folder / "model.onnx"
        if isinstance(value, Path):
            graph = onnx.load(str(value), load_external_data=False)
            external = contained(graph, value.parent)
            target.write_bytes(value.read_bytes())
            for name in external:
                place = folder / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes((value.parent / name).read_bytes())
        else:
            graph = value
            large = value.ByteSize() > _INLINE_BYTES
            onnx.save(value, str(target), save_as_external_data=large, location="model.onnx.data")
            external = ["model.onnx.data"] if large else []
        return self._found(graph, "model.onnx", external)

    def detect(self, path: Path) -> Written | None:
        """Know an .onnx file.

        Raises:
            ModelError: it cannot be read, or names weights outside its folder.
        """
        if path.suffix != ".onnx" or not path.is_file():
            return None
        graph = _parsed(path)
        return self._found(graph, path.name, contained(graph, path.parent))

    def _found(self, graph: Any, name: str, external: list[str]) -> Written:
        return Written(
            format="onnx",
            options={"file": name, "external": external},
            distributions=self.distributions,
            signatures={"predict": graph_signature(graph)},
        )

    def _read(self, stored: Stored, device: str, options: Mapping[str, Any]) -> Any:
        path = only_file(stored, (".onnx",))
        known = {entry.path for entry in stored.manifest.files}
        below = path.parent.relative_to(stored.folder).as_posix()
        for name in contained(_parsed(path), path.parent, linked=True):
            place = name if below == "." else f"{below}/{name}"
            if place not in known:
                raise ModelError(f"{stored.ref}: the graph names {name!r}, which is no file of this model")
        wanted = options.get("wanted") or ([runtime.CPU] if device == "cpu" else None)
        return runtime.session(
            path, wanted=wanted, tensorrt=bool(options.get("tensorrt")), options=options.get("options")
        )

    def runner(self, stored: Stored, loaded: Any) -> Any:
        """Return what runs the session with arrays by name; results by the graph's output names."""
        outputs = [output.name for output in loaded.get_outputs()]
        inputs = [value.name for value in loaded.get_inputs()]
        names = [value.name for value in stored.manifest.signatures["predict"].inputs]

        def run(**given: Any) -> Any:
            feeds = dict(zip(inputs, (given[name] for name in names), strict=True))
            results = loaded.run(None, feeds)
            return results[0] if len(results) == 1 else dict(zip(outputs, results, strict=True))

        return run


ROOM = Onnx()


def _parsed(path: Path) -> Any:
    onnx = library("onnx")
    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as error:  # wall: protobuf has several ways to say that a file is none
        raise ModelError(f"{path.name} is no ONNX model: {str(error)[:200] or type(error).__name__}") from error


def contained(graph: Any, folder: Path, *, linked: bool = False) -> list[str]:
    """Return the files beside a graph that hold its weights, each once.

    Args:
        folder: of the graph. linked: the files may have further names (those of the store have).

    Raises:
        ModelError: one is outside the folder, reached by a link, a link itself, has a further name, or is missing.
    """
    found: list[str] = []
    for tensor in _tensors(graph):
        if tensor.data_location != 1:  # EXTERNAL
            continue
        places = {entry.key: entry.value for entry in tensor.external_data}
        name = places.get("location", "")
        if not name or "base_dir" in places:
            raise ModelError(f"ONNX tensor {tensor.name!r} has weights outside its file without a plain place")
        check_path(name)
        if name in found:
            continue
        place = folder
        for part in name.split("/"):
            place = place / part
            if place.is_symlink():
                raise ModelError(f"ONNX tensor {tensor.name!r}: {name!r} is reached by a link: links are not followed")
        try:
            facts = place.lstat()
        except OSError as error:
            raise ModelError(
                f"ONNX tensor {tensor.name!r}: its file {name!r} is not beside the graph",
                hint="keep them in one folder",
            ) from error
        if not stat.S_ISREG(facts.st_mode):
            raise ModelError(f"ONNX tensor {tensor.name!r}: {name!r} is not a regular file")
        if facts.st_nlink > 1 and not linked:
            raise ModelError(
                f"ONNX tensor {tensor.name!r}: {name!r} is also a file elsewhere (a hard link)", hint="copy it first"
            )
        found.append(name)
    return found


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield all tensors of a model, in whatever graph, function or attribute."""
    left: list[Any] = [graph.graph, *graph.functions]
    left += [part for info in graph.training_info for part in (info.initialization, info.algorithm)]
    while left:
        one = left.pop()
        yield from getattr(one, "initializer", ())
        for sparse in getattr(one, "sparse_initializer", ()):
            yield sparse.values
            yield sparse.indices
        for node in one.node:
            for attribute in node.attribute:
                yield from _in_attribute(attribute, left)
        for attribute in getattr(one, "attribute_proto", ()):
            yield from _in_attribute(attribute, left)


def _in_attribute(attribute: Any, left: list[Any]) -> Iterator[Any]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    for sparse in [attribute.sparse_tensor, *attribute.sparse_tensors] if attribute.ByteSize() else []:
        yield sparse.values
        yield sparse.indices
    if attribute.HasField("g"):
        left.append(attribute.g)
    left.extend(attribute.graphs)


def graph_signature(graph: Any) -> Signature:
    """Return inputs and outputs of a graph with shapes and dtypes; rows may be joined where axis 0 is free in all of them."""
    weights = {tensor.name for tensor in graph.graph.initializer}
    inputs = [_value(one) for one in graph.graph.input if one.name not in weights]
    outputs = [_value(one) for one in graph.graph.output]
    batch_dim = free_rows([*inputs, *outputs]) if inputs else None
    return Signature(inputs=inputs, outputs=outputs, batch_dim=batch_dim)


def _value(one: Any) -> Value:
    helper = library("onnx.helper")
    kind = one.type.tensor_type
    dtype = ""
    if kind.elem_type == 8:  # STRING
        dtype = "str"
    elif kind.elem_type:
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    shape = None
    if kind.HasField("shape"):
        shape = [size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim]
    return Value(name=one.name, dtype=dtype, shape=shape)
