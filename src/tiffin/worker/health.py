"""Whether this process can go on: memory that does not come back and dead devices end it, so that another one takes its calls.

Owns the counts that tell a batch that is too large from a process that has too little, and the leaving; never answers a call.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable, Iterable

from tiffin.errors import Code, Error
from tiffin.messages.link import Open
from tiffin.worker.device_errors import Kind, classify
from tiffin.worker.failures import describe, log_failure
from tiffin.worker.setup import EXIT_DEVICE, EXIT_OUT_OF_MEMORY

_IN_A_ROW = 3  # calls that end in OUT_OF_MEMORY with nothing that ran in between: the process holds what it should not
_log = logging.getLogger("tiffin.worker")

Leave = Callable[[int], None]


class Health:
    """See the module; one for all lanes of a worker.

    Args:
        leave: ends the process at once with this exit status and does not return; None where the process is not ours to end
            (serving from a notebook): then calls are answered with what went wrong.
    """

    def __init__(self, leave: Leave | None) -> None:
        self._leave = leave
        self._fitted: dict[int, dict[int, int]] = {}  # most rows that ran at once, by method and size of a row
        self._row = 0

    def kind(self, method: str, members: Iterable[Open], error: BaseException) -> Kind:
        """Return what an exception means; a dead device ends the process here, its members unanswered: they run elsewhere."""
        if isinstance(error, Error) and error.code == Code.BAD_OUTPUT and error.__cause__ is not None:
            error = error.__cause__  # it came to light while the result was written
        kind = classify(error)
        if kind == "dead_device" and self._leave is not None:
            log_failure(method, members, error)
            _log.error("the device is lost to this process (%s); it is replaced", describe(error))
            self._leave(EXIT_DEVICE)
        return kind

    def fitted(self, method: int, bucket: int, rows: int) -> None:
        """Note rows of a size class (see `size_bucket`) that ran at once. Hot path: costs two looks into dicts."""
        self._row = 0
        known = self._fitted.get(method)
        if known is None:
            known = self._fitted[method] = {}
        if known.get(bucket, 0) < rows:
            known[bucket] = rows

    def exhausted(self, method: int, bucket: int, name: str, rows: int) -> None:
        """Memory ran out with so few rows that nothing smaller can be tried.

        Ends the process where that is its own fault: as many such rows, or anything at all three times ago, ran here before. Where
        nothing of the method ever fitted another process would do no better.
        """
        self._row += 1
        known = self._fitted.get(method, {})
        before = known.get(bucket, 0)
        if self._leave is None or (before < rows and not (known and self._row >= _IN_A_ROW)):
            return
        why = f"{before} ran at once before" if before >= rows else f"it is the {self._row}th time in a row"
        _log.error(
            "method %r runs out of memory with %d row(s), and %s: memory is held that does not come back. "
            "This worker is replaced; its calls run again",
            name,
            rows,
            why,
        )
        self._leave(EXIT_OUT_OF_MEMORY)


def leave_process(status: int) -> None:
    """End this process at once: no hooks, no waiting for other threads, who may hang on the device."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # nobody reads it any more
            continue
    os._exit(status)


def size_bucket(size: int, rows: int) -> int:
    """Return the class of a row's size, a power of two: 0 for no bytes, 1 for one, 2 for two or three, and so on."""
    return (size // rows if rows > 1 else size).bit_length()


def free_memory() -> None:
    """Give back what a failed run still holds, the caches of PyTorch and CuPy on the device included.

    TensorFlow, JAX and ONNX Runtime keep arenas that cannot be emptied; what was freed in them is used again.
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    cupy = sys.modules.get("cupy")
    if cupy is not None:
        cupy.get_default_memory_pool().free_all_blocks()
