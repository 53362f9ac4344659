"""ONNX Runtime on this worker's device: sessions and providers of `tiffin.onnx`.

Owns the choice of execution providers and the check that the one asked for is the one in use: ONNX Runtime itself falls back to the
CPU with a line in a log. It is imported when a function is called.
"""
# pyright: basic

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from tiffin.errors import ConfigError
from tiffin.frameworks.library import library
from tiffin.gpu.device import MEMORY_VARIABLE
from tiffin.gpu.device import device as _device_name

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


def providers(*, tensorrt: bool = False) -> list[tuple[str, dict[str, Any]]]:
    """Return the providers for this process's device, the best first: TensorRT where asked for, CUDA, then the CPU.

    A worker that shares its GPU gets its limit as `gpu_mem_limit` (it bounds the arena; the library itself takes more), and an
    arena that grows by what is needed.

    Raises:
        ConfigError: this process has a GPU, and the installed ONNX Runtime cannot use one.
    """
    onnxruntime = library("onnxruntime")
    if _device_name() == "cpu":
        return [(CPU, {})]
    available = onnxruntime.get_available_providers()
    if CUDA not in available:
        raise ConfigError(f"ONNX Runtime has no {CUDA}: it has {', '.join(available)}{_why()}", hint=_MEND)
    cuda: dict[str, Any] = {"device_id": 0, "cudnn_conv_algo_search": "HEURISTIC"}
    limit = os.environ.get(MEMORY_VARIABLE, "").split(",")[0]
    if limit and int(limit):
        cuda |= {"gpu_mem_limit": int(limit), "arena_extend_strategy": "kSameAsRequested"}
    chosen: list[tuple[str, dict[str, Any]]] = [(CUDA, cuda), (CPU, {})]
    if tensorrt:
        if TENSORRT not in available:
            raise ConfigError(
                f"ONNX Runtime has no {TENSORRT}: it has {', '.join(available)}",
                hint="install TensorRT, or leave tensorrt out",
            )
        chosen.insert(0, (TENSORRT, {"device_id": 0}))
    return chosen


def session(
    model: str | os.PathLike[str] | bytes,
    *,
    wanted: Sequence[Any] | None = None,
    tensorrt: bool = False,
    options: Any = None,
) -> Any:
    """Make an `onnxruntime.InferenceSession` on this process's device, and make sure that it is there.

    Args:
        model: path, or the file's bytes. wanted: providers in ONNX Runtime's own form instead of `providers()`.
        tensorrt: try TensorRT before CUDA. options: `onnxruntime.SessionOptions`; by default threads as OMP_NUM_THREADS says.

    Raises:
        ConfigError: the first provider is not the one in use; says which is, why, and what to do.
    """
    onnxruntime = library("onnxruntime")
    chosen = list(wanted) if wanted is not None else providers(tensorrt=tensorrt)
    first = chosen[0] if isinstance(chosen[0], str) else chosen[0][0]
    if first != CPU and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # finds CUDA and cuDNN in the nvidia-* wheels, where PyTorch has them too
    if first not in onnxruntime.get_available_providers():
        have = ", ".join(onnxruntime.get_available_providers())
        raise ConfigError(f"ONNX Runtime has no {first}: it has {have}{_why()}", hint=_MEND)
    if options is None:
        options = onnxruntime.SessionOptions()
        threads = os.environ.get("OMP_NUM_THREADS", "")
        if threads.isdigit():
            options.intra_op_num_threads = int(threads)
    source = model if isinstance(model, bytes) else os.fspath(model)
    made = onnxruntime.InferenceSession(source, sess_options=options, providers=chosen)
    check(made, first)
    return made


def check(made: Any, wanted: str = CUDA) -> None:
    """Make sure that a session runs on a provider.

    Raises:
        ConfigError: it runs on another one.
    """
    active = made.get_providers()
    if not active or active[0] != wanted:
        raise ConfigError(
            f"ONNX Runtime was asked for {wanted} and runs on {', '.join(active) or 'nothing'}{_why()}", hint=_MEND
        )


_MEND = (
    "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'onnxruntime-gpu[cuda,cudnn]'; "
    "tiffin doctor looks for what is missing"
)


def _why() -> str:
    """Return the likely reason that a GPU provider is not there."""
    both = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if len(both) == 2:
        return "; both onnxruntime and onnxruntime-gpu are installed, and the one without CUDA is in the way"
    if both == ["onnxruntime"]:
        return "; onnxruntime is installed, the build without CUDA"
    return "; its CUDA or cuDNN libraries cannot be loaded"


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
