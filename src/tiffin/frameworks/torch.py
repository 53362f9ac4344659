"""PyTorch on this worker's device: `tiffin.torch`. Models in the store (`save`, `load`) are `torch_files`' matter.

Owns where a model goes and in which precision it runs; never trains, never changes weights but their precision. The same code works
on the CPU. PyTorch is imported when a function is called.
"""
# pyright: basic

from __future__ import annotations

import os
from _pickle import UnpicklingError  # the error alone: nothing here unpickles
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from tiffin.errors import ConfigError
from tiffin.frameworks.library import library
from tiffin.frameworks.torch_files import ROOM
from tiffin.gpu.device import device as _device_name

if TYPE_CHECKING:
    from tiffin.frameworks.torch_model import Model

Precision = Literal["auto", "fp32", "bf16", "fp16"]

__all__ = ["device", "devices", "load", "load_file", "prepare", "save"]
save, load = ROOM.save, ROOM.load


def device() -> Any:
    """Return the device of this process as a `torch.device`: the first GPU that it sees, else the CPU."""
    torch = library("torch")
    return torch.device(_device_name())


def devices() -> list[Any]:
    """Return all GPUs that this process sees as `torch.device`s, numbered from 0; the CPU alone where it sees none."""
    torch = library("torch")
    if _device_name() == "cpu":
        return [torch.device("cpu")]
    return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]


def load_file(file: str | os.PathLike[str] | BinaryIO, *, trusted: bool = False) -> Any:
    """Load what `torch.save` wrote, from whichever GPU, onto this process's device.

    Args:
        file: path or open file. trusted: also take what is more than tensors and plain containers (a whole module). Loading
            such a file runs code that is in it: only for files of your own.

    Raises:
        ConfigError: it holds more than tensors, and is not trusted.
    """
    torch = library("torch")
    try:
        return torch.load(file, map_location=device(), weights_only=not trusted)
    except UnpicklingError as error:
        if trusted:
            raise
        raise ConfigError(
            f"{file} holds more than tensors: loading it would run code that is in it ({str(error).splitlines()[0]})",
            hint="save the state_dict, or pass trusted=True where the file is your own",
        ) from None


def prepare(
    model: Any,
    *,
    precision: Precision = "auto",
    channels_last: bool = False,
    compile: bool | str = False,
    graphs: bool = False,
    buckets: Sequence[int] | int | None = None,
    example: Any = None,
) -> Model:
    """Make a model ready to serve: on this process's device, in eval mode, in a precision that the device is fast in.

    The result is called as the model is, with tensors or arrays from anywhere, and runs in inference mode. Floating inputs are
    converted to the model's precision, floating results come back as float32.

    Args:
        model: a `torch.nn.Module`.
        precision: "auto" is bf16 on GPUs that have it (compute capability 8.0 and newer), else fp32. float32 products use
            TensorFloat-32 where there is one.
        channels_last: memory format for convolutional networks, whose inputs are [rows, channels, height, width].
        compile: run `torch.compile` on it; a text is its mode.
        graphs: on a GPU replay a CUDA graph for each bucket instead of launching its kernels one by one: for small models.
        buckets: row counts that batches are padded to, so that few shapes exist; a number stands for the powers of two up to it.
            The model must treat each row by itself. Compiled models and graphs need them.
        example: one input (or a tuple of inputs) with one row, to run every bucket once before the service is ready.

    Raises:
        ConfigError: a precision that does not exist or that the device cannot run; buckets that are no row counts.
    """
    from tiffin.frameworks.torch_model import Model, bucket_sizes

    place = device()
    dtype = _dtype(precision, place)
    sizes = bucket_sizes(buckets)
    if (graphs or compile) and not sizes:
        what = "graphs" if graphs else "compile"
        raise ConfigError(
            f"tiffin.torch.prepare: {what} without buckets would make one for every number of rows",
            hint="pass buckets=max_batch_size and example=one row",
        )
    if graphs and example is None:
        raise ConfigError("tiffin.torch.prepare: graphs needs example=one row to record with")
    return Model(
        model, place, dtype, sizes, channels_last=channels_last, compile=compile, graphs=graphs, example=example
    )


def _dtype(precision: str, place: Any) -> Any:
    """Return the element type of a precision on a device."""
    torch = library("torch")
    known = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if precision == "auto":
        fast = place.type == "cuda" and torch.cuda.get_device_capability(place) >= (8, 0)
        return torch.bfloat16 if fast else torch.float32
    if precision not in known:
        raise ConfigError(f"precision={precision!r} does not exist", hint="choose auto, fp32, bf16 or fp16")
    if precision == "fp16" and place.type == "cpu":
        raise ConfigError("precision='fp16' on the CPU is slower than fp32 and lacks operations", hint="choose auto")
    return known[precision]
