"""Arrays → tensors on the device of this process.

Owns the conversion; never copies on the CPU (the array is the method's own already), copies once to a GPU.
"""
# pyright: basic

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tiffin.frameworks.library import library
from tiffin.gpu.device import device

Convert = Callable[[Any], Any]


def converter(kind: str) -> Convert:
    """Return what makes a tensor of an array that nobody else holds.

    Args:
        kind: "torch" or "tensorflow"; it is imported here.
    """
    place = device()
    if kind == "torch":
        torch = library("torch")
        where = torch.device(place)
        if where.type == "cpu":
            plain: Convert = torch.from_numpy
            return plain

        def to_gpu(array: Any) -> Any:
            # Not pinned: pinning a batch costs more than the pageable copy unless the buffer is used again.
            return torch.from_numpy(array).to(where, non_blocking=True)

        return to_gpu
    tf = library("tensorflow")
    name = "/CPU:0" if place == "cpu" else "/GPU:0"

    def to_tensorflow(array: Any) -> Any:
        with tf.device(name):
            return tf.convert_to_tensor(array)

    return to_tensorflow
