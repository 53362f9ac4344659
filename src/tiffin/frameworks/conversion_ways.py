"""The ways from one format to another.

Owns, for each framework, how a loaded model is called with arrays, and how it is written as ONNX, safetensors or TorchScript; never
compares and never measures.
"""
# pyright: basic

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tiffin.errors import ModelError
from tiffin.frameworks import onnx_sessions
from tiffin.frameworks.library import library
from tiffin.frameworks.torch_files import ROOM
from tiffin.store import models
from tiffin.store.examples import as_inputs, to_numpy
from tiffin.store.model import Model
from tiffin.store.rooms import room

_SENTENCES = (
    "The delivery came two days early and everything was in order.",
    "I would not buy it again.",
    "Average.",
    "Support answered within minutes, which I had not expected at all from such a small shop in the countryside.",
)


class Source(NamedTuple):
    """An original, loaded on the CPU.

    Attributes:
        model: where it is from. loaded: the object. inputs: example by name, rows along axis 0. call: runs it with such inputs.
        free: further axes that vary, by input.
    """

    model: Model
    loaded: Any
    inputs: dict[str, Any]
    call: Callable[[Mapping[str, Any]], Any]
    free: dict[str, tuple[int, ...]]


def source_of(model: Model, example: Any) -> Source:
    """Load an original and its example.

    Raises:
        ModelError: it has no example, or a framework from which nothing is converted.
    """
    framework = model.info.framework
    if framework == "transformers":
        return _transformers(model, example)
    if framework not in ("torch", "lightning", "sklearn", "keras", "tensorflow"):
        raise ModelError(f"{model.ref}: there is no way from {framework}/{model.info.format} to another format")
    loaded = model.load(device="cpu")
    if isinstance(loaded, dict):
        raise ModelError(f"{model.ref} is weights without a class", hint="load it with its class, and save it so")
    given = example if example is not None else model.example
    if given is None:
        raise ModelError(
            f"{model.ref} has no example to convert and check with", hint="give example=…, or save it with one"
        )
    signature = next(iter(model.info.signatures.values()), None)
    names = [value.name for value in signature.inputs] if signature else []
    inputs = {name: to_numpy(value) for name, value in as_inputs(given, names).items()}
    run = room(framework).runner(model._stored, loaded)
    return Source(model, loaded, inputs, lambda values: run(**values), {})


def _transformers(model: Model, example: Any) -> Source:
    torch = library("torch")
    pipeline = model.load(device="cpu")
    inner = getattr(pipeline, "model", pipeline)
    tokenizer = getattr(pipeline, "tokenizer", None)
    if example is None and tokenizer is not None:
        example = list(_SENTENCES)
    if tokenizer is not None and isinstance(example, list):
        example = dict(tokenizer(example, padding=True, return_tensors="np"))
    if example is None:
        size = int(getattr(inner.config, "vocab_size", 1000))
        ids = torch.randint(0, size, (4, 32), generator=torch.Generator().manual_seed(0)).numpy()
        example = {"input_ids": ids, "attention_mask": (ids >= 0).astype("int64")}
    inputs = {
        name: to_numpy(value).astype("int64") for name, value in dict(example).items() if name in _accepted(inner)
    }

    def call(values: Mapping[str, Any]) -> Any:
        with torch.inference_mode():
            found = inner(**{name: torch.as_tensor(value) for name, value in values.items()})
        return next(iter(found.values()))

    return Source(model, inner, inputs, call, dict.fromkeys(inputs, (1,)))


def _accepted(module: Any) -> set[str]:
    import inspect

    return set(inspect.signature(module.forward).parameters)


def arrays(output: Any) -> list[Any]:
    """Return all arrays of a result, in order."""
    if isinstance(output, Mapping):
        return [to_numpy(value) for value in output.values()]
    if isinstance(output, tuple | list):
        return [to_numpy(value) for value in output]
    return [to_numpy(output)]


def write(source: Source, to: str, folder: Path, *, opset: int | None, dynamic_axes: Sequence[str]) -> Path:
    """Write the converted model; return its file."""
    framework = source.model.info.framework
    by_torch = framework in ("torch", "lightning", "transformers")
    if to == "onnx":
        free = {**source.free, **_axes(source, dynamic_axes)}
        path = folder / "model.onnx"
        if by_torch:
            _torch_to_onnx(source, path, opset, free)
        elif framework == "sklearn":
            _sklearn_to_onnx(source, path, opset)
        else:
            _tensorflow_to_onnx(source, path, opset)
        return path
    if not by_torch:
        raise ModelError(f"{source.model.ref}: there is no way from {framework} to {to}", hint="--to onnx")
    if to == "safetensors":
        path = folder / "model.safetensors"
        module = source.loaded
        state = {name: tensor.detach().clone().contiguous() for name, tensor in module.state_dict().items()}
        library("safetensors.torch").save_file(state, path)
        return path
    torch = library("torch")
    path = folder / "model.ts"
    with torch.no_grad():
        traced = torch.jit.trace(
            _wrapped(source), tuple(torch.as_tensor(value) for value in source.inputs.values()), check_trace=False
        )
    torch.jit.save(traced, str(path))
    return path


def _axes(source: Source, given: Sequence[str]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for text in given:
        name, _, axis = text.rpartition(":")
        if name not in source.inputs or not axis.isdigit():
            raise ModelError(
                f"dynamic axis {text!r} is none", hint=f"write INPUT:AXIS; the inputs are {', '.join(source.inputs)}"
            )
        found[name] = (*found.get(name, ()), int(axis))
    return found


def _wrapped(source: Source) -> Any:
    """Return the module with a tensor as its result, as exporters want it."""
    if source.model.info.framework != "transformers":
        return source.loaded
    torch = library("torch")
    inner, names = source.loaded, list(source.inputs)
    module: Any = torch.nn.Module

    class First(module):  # type: ignore[misc]  # PyTorch is imported when it is needed
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *values: Any) -> Any:
            return next(iter(self.inner(**dict(zip(names, values, strict=True))).values()))

    return First().eval()


def _torch_to_onnx(source: Source, path: Path, opset: int | None, free: Mapping[str, tuple[int, ...]]) -> None:
    torch = library("torch")
    library("onnx")
    if source.model.info.format == "export":
        program = ROOM.program(source.model._stored)
        made = torch.onnx.export(program, dynamo=True, opset_version=opset or 18, verbose=False)
        made.save(str(path))
        return
    values = tuple(torch.as_tensor(value) for value in source.inputs.values())
    names = list(source.inputs)
    axes = {name: {0: "rows", **{axis: f"{name}_{axis}" for axis in free.get(name, ())}} for name in names}
    torch.onnx.export(
        _wrapped(source),
        values,
        str(path),
        input_names=names,
        output_names=["output"],
        dynamic_axes={**axes, "output": {0: "rows"}},
        opset_version=opset or 17,
        dynamo=False,  # the exporter by tracing: it takes modules, TorchScript and models of transformers alike
    )


def _sklearn_to_onnx(source: Source, path: Path, opset: int | None) -> None:
    try:
        skl2onnx: Any = importlib.import_module("skl2onnx")
    except ModuleNotFoundError:
        raise ModelError("skl2onnx is not installed here", hint="pip install skl2onnx", exit_code=78) from None
    (name, rows) = next(iter(source.inputs.items()))
    kind = [(name, skl2onnx.common.data_types.FloatTensorType([None, rows.shape[1]]))]
    inner = source.loaded
    options = {id(inner): {"zipmap": False}} if hasattr(inner, "predict_proba") else None
    made = skl2onnx.to_onnx(inner, initial_types=kind, options=options, target_opset=opset or 17)
    path.write_bytes(made.SerializeToString())


def _tensorflow_to_onnx(source: Source, path: Path, opset: int | None) -> None:
    try:
        tf2onnx: Any = importlib.import_module("tf2onnx")
    except ModuleNotFoundError:
        raise ModelError("tf2onnx is not installed here", hint="pip install tf2onnx", exit_code=78) from None
    tf = library("tensorflow")
    names = list(source.inputs)
    specs = [tf.TensorSpec([None, *value.shape[1:]], value.dtype, name=name) for name, value in source.inputs.items()]
    if source.model.info.framework == "keras":
        function = tf.function(
            lambda *values: source.loaded(values[0] if len(values) == 1 else list(values), training=False)
        )
    else:
        signature = next(iter(source.loaded.signatures.values()))
        function = tf.function(lambda *values: signature(**dict(zip(names, values, strict=True))))
    tf2onnx.convert.from_function(function, input_signature=specs, opset=opset or 17, output_path=str(path))


def caller(source: Source, to: str, path: Path) -> Callable[[Mapping[str, Any]], Any]:
    """Return what runs the converted model with the original's inputs."""
    if to == "onnx":
        session = onnx_sessions.session(path, wanted=[onnx_sessions.CPU])
        inputs = session.get_inputs()
        kinds = {
            "tensor(float)": "float32",
            "tensor(double)": "float64",
            "tensor(int64)": "int64",
            "tensor(int32)": "int32",
        }
        wanted = _outputs(source, [output.name for output in session.get_outputs()])

        def run(values: Mapping[str, Any]) -> Any:
            feeds = {
                one.name: value.astype(kinds.get(one.type, value.dtype), copy=False)
                for one, value in zip(inputs, values.values(), strict=True)
            }
            return session.run(wanted, feeds)

        return run
    torch = library("torch")
    if to == "torchscript":
        script = torch.jit.load(str(path), map_location="cpu").eval()
    else:
        script = source.loaded
        buffer = io.BytesIO(path.read_bytes())
        script.load_state_dict(library("safetensors.torch").load(buffer.getvalue()))
        if source.model.info.framework == "transformers":
            return source.call

    def call(values: Mapping[str, Any]) -> Any:
        with torch.no_grad():
            return script(*[torch.as_tensor(value) for value in values.values()])

    return call


def _outputs(source: Source, names: list[str]) -> list[str]:
    """Return the outputs of a graph that the original has too: a classifier's graph has labels and probabilities."""
    if source.model.info.framework != "sklearn" or len(names) < 2:
        return names
    signature = next(iter(source.model.info.signatures.values()), None)
    called = signature.call if signature else "predict"
    return [names[1]] if called == "predict_proba" else [names[0]]


def save(source: Source, to: str, path: Path, name: str, metadata: Mapping[str, Any]) -> Model:
    """Put the converted model into the store, with the original's labels and side objects."""
    model = source.model
    objects = {side: model.object(side) for side in model.info.objects}
    if model.info.framework == "transformers" and (model.path / "tokenizer_config.json").is_file():
        loaded = model.load(device="cpu")
        if getattr(loaded, "tokenizer", None) is not None:
            objects["tokenizer"] = loaded.tokenizer
    common: dict[str, Any] = {
        "labels": model.labels,
        "metadata": metadata,
        "objects": objects,
        "example": source.inputs,
    }
    if to == "onnx":
        return models.save(name, path, framework="onnx", **common)
    if to == "torchscript":
        script = library("torch").jit.load(str(path), map_location="cpu")
        return models.save(name, script, framework="torch", format="torchscript", **common)
    files = library("safetensors.torch")
    common.pop("example")
    return models.save(name, files.load_file(path), framework="torch", **common)
