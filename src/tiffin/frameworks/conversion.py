"""One format of a model into another, checked against the original and measured: `tiffin models convert`.

Owns the ways from PyTorch, transformers, scikit-learn, Keras and TensorFlow to ONNX, safetensors and TorchScript, the numeric check
on example rows, and the measuring; never replaces the original. Times in milliseconds, sizes in bytes.
"""
# pyright: basic

from __future__ import annotations

import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tiffin.errors import ModelError
from tiffin.frameworks import conversion_ways as ways
from tiffin.frameworks.library import library
from tiffin.store import models

TARGETS = ("onnx", "safetensors", "torchscript")
ROWS = (1, 32)
_RUNS_S = 1.0  # measuring takes about this long a line
Call = Callable[[Mapping[str, Any]], Any]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One model in the table. size: bytes of its files. ms: median time of a run by its number of rows."""

    what: str
    size: int
    ms: dict[int, float]


class Converted(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a conversion.

    Attributes:
        ref: of the new model. lines: original and converted. difference: largest absolute one of any output.
        agreement: share of the rows whose largest output is the same one, None where outputs have no classes.
        rows: checked. cpu: vector instructions that the processor has, of those that matter.
    """

    ref: str
    lines: list[Line]
    difference: float
    agreement: float | None
    rows: int
    cpu: list[str]


def convert(
    ref: str,
    to: str,
    *,
    name: str | None = None,
    opset: int | None = None,
    dynamic_axes: Sequence[str] = (),
    quantize: str | None = None,
    example: Any = None,
    tolerance: float = 1e-4,
) -> Converted:
    """Convert a model, check it and measure both.

    Args:
        ref: of the original. to: "onnx", "safetensors" or "torchscript". name: of the new model; by default NAME-onnx or so.
        opset: ONNX operator set. dynamic_axes: "input:axis" that may vary besides axis 0 of all inputs.
        quantize: "int8": weights as 8-bit integers, activations quantized as they come (ONNX only).
        example: inputs to check with; by default the recorded ones. tolerance: largest relative difference without quantization.

    Raises:
        ModelError: there is no way from this format to that; no example; the converted model answers differently.
    """
    if to not in TARGETS:
        raise ModelError(f"format {to!r} is no target", hint=f"choose {', '.join(TARGETS)}")
    if quantize not in (None, "int8"):
        raise ModelError(f"quantize={quantize!r} does not exist", hint="choose int8")
    if quantize and to != "onnx":
        raise ModelError(f"quantizing works on ONNX, not on {to}", hint="--to onnx --quantize int8")
    model = models.get(ref)
    source = ways.source_of(model, example)
    new = name or f"{model.name}-{to}{f'-{quantize}' if quantize else ''}"
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # exporters warn of their own insides
        path = ways.write(source, to, Path(scratch), opset=opset, dynamic_axes=dynamic_axes)
        if quantize:
            path = _quantized(path)
        call = ways.caller(source, to, path)
        difference, agreement = compare(source.call, call, source.inputs)
        limit = tolerance * max(1.0, _largest(source.call(source.inputs)))
        if quantize is None and not difference <= limit:
            raise ModelError(
                f"{model.ref} as {to} answers differently: by {difference:.3g} on the example, at most {limit:.3g} is taken",
                hint="--tolerance takes more; the original stays as it is",
            )
        facts = {"converted_from": model.ref, "largest_difference": difference, "agreement": agreement}
        saved = ways.save(source, to, path, new, {**model.metadata, **facts})
        lines = [
            Line(
                what=f"{model.info.framework}/{model.info.format}",
                size=model.info.size,
                ms=measure(source.call, source.inputs),
            ),
            Line(
                what=f"{to}{f' {quantize}' if quantize else ''}", size=saved.info.size, ms=measure(call, source.inputs)
            ),
        ]
    rows = len(next(iter(source.inputs.values())))
    return Converted(ref=saved.ref, lines=lines, difference=difference, agreement=agreement, rows=rows, cpu=cpu_flags())


def compare(original: Call, converted: Call, inputs: Mapping[str, Any]) -> tuple[float, float | None]:
    """Return the largest absolute difference of two models' outputs, and the share of rows with the same largest output."""
    import numpy as np

    first, second = (ways.arrays(call(inputs)) for call in (original, converted))
    if len(first) != len(second):
        raise ModelError(f"the converted model has {len(second)} outputs, the original {len(first)}")
    worst = 0.0
    for a, b in zip(first, second, strict=True):
        if a.size != b.size:
            raise ModelError(f"an output of the converted model has shape {b.shape}, of the original {a.shape}")
        if a.dtype.kind not in "fiub":
            worst = worst if np.array_equal(a, b.reshape(a.shape)) else float("inf")
        elif a.size:
            one, other = a.astype(np.float64), b.reshape(a.shape).astype(np.float64)
            same = (one == other) | (np.isnan(one) & np.isnan(other))
            apart = float(np.max(np.where(same, 0.0, np.abs(one - other))))
            worst = max(worst, float("inf") if np.isnan(apart) else apart)
    main, found = first[-1], second[-1]
    if main.ndim != 2 or main.shape[1] < 2:
        return worst, None
    return worst, float(np.mean(main.argmax(axis=1) == found.reshape(main.shape).argmax(axis=1)))


def measure(call: Call, inputs: Mapping[str, Any]) -> dict[int, float]:
    """Return the median milliseconds of a run, by number of rows."""
    import numpy as np

    found: dict[int, float] = {}
    for rows in ROWS:
        batch = {name: np.concatenate([value] * (rows // len(value) + 1))[:rows] for name, value in inputs.items()}
        call(batch)
        times: list[float] = []
        began = time.perf_counter()
        while len(times) < 5 or (time.perf_counter() - began < _RUNS_S and len(times) < 200):
            start = time.perf_counter()
            call(batch)
            times.append(time.perf_counter() - start)
        found[rows] = round(statistics.median(times) * 1000, 3)
    return found


def cpu_flags() -> list[str]:
    """Return the vector instructions of this processor that int8 and float32 products use."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return []
    flags = next((line.partition(":")[2].split() for line in text.splitlines() if line.startswith("flags")), [])
    return [flag for flag in ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "amx_bf16") if flag in flags]


def _largest(output: Any) -> float:
    return max(
        (float(abs(array).max()) for array in ways.arrays(output) if array.size and array.dtype.kind in "fiu"),
        default=1.0,
    )


def _quantized(path: Path) -> Path:
    quantization = library("onnxruntime.quantization")
    target = path.with_name("quantized.onnx")
    kinds = quantization.QuantType
    # Signed weights with 7 bits would be needed on AVX2 without VNNI, where pairs of products can saturate.
    reduced = not any(flag.endswith("vnni") or flag == "amx_int8" for flag in cpu_flags())
    logging.disable(logging.WARNING)  # advice of the library about models that are quantized differently
    try:
        quantization.quantize_dynamic(
            str(path), str(target), weight_type=kinds.QInt8, per_channel=True, reduce_range=reduced
        )
    finally:
        logging.disable(logging.NOTSET)
    return target


def table(made: Converted) -> list[tuple[str, ...]]:
    """Return the table's lines as text, the ratio to the original in the last columns."""
    first = made.lines[0]
    found: list[tuple[str, ...]] = []
    for line in made.lines:
        times = tuple(f"{line.ms[rows]:.2f} ms" for rows in ROWS)
        faster = tuple(f"{first.ms[rows] / line.ms[rows]:.2f}x" for rows in ROWS)
        found.append((line.what, f"{line.size / 1e6:.1f} MB", *times, *faster))
    return found
