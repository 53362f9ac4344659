"""A PyTorch model as a service calls it: inputs moved and padded, results cut and converted.

Owns the buckets, the compiled code's recompile count and the recorded CUDA graphs; see `torch.prepare` for what the options mean.
"""
# pyright: basic

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

from tiffin.errors import ConfigError
from tiffin.frameworks.library import library

_log = logging.getLogger("tiffin.frameworks")
_WARM_UP = 3  # runs before a recording: libraries choose their kernels and allocate on the first ones


class Model:
    """See the module; made by `tiffin.torch.prepare`.

    Attributes:
        module: the model itself. device, dtype: where and in what it runs. buckets: row counts, () for any.
    """

    def __init__(
        self,
        module: Any,
        device: Any,
        dtype: Any,
        buckets: tuple[int, ...],
        *,
        channels_last: bool,
        compile: bool | str,
        graphs: bool,
        example: Any,
    ) -> None:
        torch = library("torch")
        self._torch = torch
        torch.set_float32_matmul_precision("high")
        self._format = torch.channels_last if channels_last else torch.preserve_format
        self.module = module.eval().to(device=device, dtype=dtype)
        if channels_last:
            self.module = self.module.to(memory_format=torch.channels_last)
        self.device = device
        self.dtype = dtype
        self.buckets = buckets
        self._graphs: dict[int, _Graph] = {}
        self._run: Callable[..., Any] = self.module
        if compile:
            mode = compile if isinstance(compile, str) else None
            self._run = torch.compile(self.module, dynamic=False, mode=mode)
        self._compiled = bool(compile)
        self._known = 0
        if example is not None and buckets:
            self._warm(example if isinstance(example, tuple) else (example,), graphs=graphs)

    @property
    def recompiles(self) -> int:
        """Return how often compiled code was made since the warm-up: each costs a caller seconds; 0 is right."""
        return _compilations() - self._known if self._compiled else 0

    def __call__(self, *inputs: Any) -> Any:
        """Run the model.

        Args:
            inputs: tensors or arrays, each [rows, …].

        Returns:
            what the model returns, on its device, floats as float32: a tensor, or a dict, list or tuple of these.
        """
        with self._torch.inference_mode():
            moved = tuple(self._moved(one) for one in inputs)
            if not self.buckets:
                return self._results(self._run(*moved), None)
            rows = int(moved[0].shape[0])
            if rows > self.buckets[-1]:
                raise ValueError(f"{rows} rows are more than the largest bucket, {self.buckets[-1]}")
            size = self.buckets[bisect_left(self.buckets, rows)]
            padded = moved if rows == size else tuple(self._padded(one, size) for one in moved)
            graph = self._graphs.get(size)
            out = self._run(*padded) if graph is None else graph.replay(padded)
            return self._results(out, rows)

    def _warm(self, example: tuple[Any, ...], *, graphs: bool) -> None:
        """Run every bucket, the largest first: it takes the memory that the others then use again."""
        with self._torch.inference_mode():
            one = tuple(self._moved(part) for part in example)
            for size in reversed(self.buckets):
                inputs = tuple(part[:1].repeat(size, *[1] * (part.dim() - 1)) for part in one)
                self._run(*inputs)
                if graphs and self.device.type == "cuda":
                    try:
                        self._graphs[size] = _Graph(self._torch, self._run, inputs)
                    except RuntimeError as error:
                        _log.warning("no CUDA graph for %d rows, its kernels are launched one by one: %s", size, error)
        if graphs and self.device.type != "cuda":
            _log.info("CUDA graphs need a GPU; on the CPU the model is called as it is")
        self._known = _compilations() if self._compiled else 0

    def _moved(self, value: Any) -> Any:
        tensor = value if isinstance(value, self._torch.Tensor) else self._torch.as_tensor(value)
        dtype = self.dtype if tensor.is_floating_point() else tensor.dtype
        tensor = tensor.to(self.device, dtype, non_blocking=True)
        return tensor.contiguous(memory_format=self._format) if tensor.dim() == 4 else tensor

    def _padded(self, tensor: Any, size: int) -> Any:
        """Return a tensor of so many rows; the new ones repeat the last, which is sure to be a row that the model takes."""
        return self._torch.cat([tensor, tensor[-1:].expand(size - tensor.shape[0], *tensor.shape[1:])])

    def _results(self, value: Any, rows: int | None) -> Any:
        if isinstance(value, self._torch.Tensor):
            if rows is not None and value.dim() and value.shape[0] != rows:
                value = value[:rows]
            return value.float() if value.is_floating_point() else value
        if isinstance(value, dict):
            return {key: self._results(part, rows) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._results(part, rows) for part in value)
        return value


class _Graph:
    """One recorded run: inputs are copied to where it reads them, results to where nobody overwrites them."""

    def __init__(self, torch: Any, run: Callable[..., Any], inputs: tuple[Any, ...]) -> None:
        self._torch = torch
        self._inputs = tuple(part.clone() for part in inputs)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                run(*self._inputs)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._out = run(*self._inputs)

    def replay(self, inputs: tuple[Any, ...]) -> Any:
        for kept, given in zip(self._inputs, inputs, strict=True):
            kept.copy_(given)
        self._graph.replay()
        return _cloned(self._torch, self._out)


def _cloned(torch: Any, value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _cloned(torch, part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_cloned(torch, part) for part in value)
    return value


def bucket_sizes(buckets: Sequence[int] | int | None) -> tuple[int, ...]:
    """Return row counts in rising order; a number stands for the powers of two below it, and itself.

    Raises:
        ConfigError: they are no row counts.
    """
    if buckets is None:
        return ()
    if isinstance(buckets, int) and not isinstance(buckets, bool) and buckets > 0:
        return (*(1 << power for power in range((buckets - 1).bit_length())), buckets)
    if isinstance(buckets, int | str) or not buckets or not all(type(one) is int and one > 0 for one in buckets):
        raise ConfigError(f"buckets={buckets!r} are no row counts", hint="for example buckets=64 or buckets=[1, 8, 64]")
    return tuple(sorted(set(buckets)))


def _compilations() -> int:
    """Return how many graphs torch.compile has made in this process."""
    counters: Any = library("torch._dynamo.utils").counters
    return int(counters["stats"]["unique_graphs"])
