"""What an exception of the user's code says about memory and about the device.

Owns the table of the frameworks' own exceptions; pure, imports none of them: types are known by name and module, so that a
`ValueError("out of memory")` of the user's means nothing here. Numbers are those of the CUDA runtime API (cudaError_t).
"""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal["out_of_memory", "dead_device", "other"]

_NO_MEMORY_CODE = 2
# After these the context is gone for good ("the process must be terminated and relaunched", CUDA Runtime API, Data types), or the
# device itself is.
_DEAD_CODES = frozenset({100, 101, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 999})

_NO_MEMORY = re.compile(
    r"CUDA out of memory|CUDA error: out of memory|HIP out of memory|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation"
    r"|CU(BLAS|DNN|SOLVER|SPARSE|FFT)_STATUS_ALLOC_FAILED|DefaultCPUAllocator: (can't allocate|not enough) memory"
    r"|Failed to allocate memory for requested buffer|BFCArena::AllocateRawInternal|CUDA failure 2:|\ARESOURCE_EXHAUSTED",
)
_DEAD = re.compile(
    r"an illegal memory access was encountered|device-side assert triggered|misaligned address|unspecified launch failure"
    r"|an illegal instruction was encountered|hardware stack error|operation not supported on global/shared address space"
    r"|invalid program counter|the launch timed out and was terminated|uncorrectable (ECC|NVLink) error"
    r"|GPU is lost|no CUDA-capable device is detected|context is destroyed|CUDA error: unknown error"
    r"|CUDA_ERROR_(ILLEGAL_ADDRESS|ASSERT|MISALIGNED_ADDRESS|LAUNCH_FAILED|LAUNCH_TIMEOUT|ILLEGAL_INSTRUCTION"
    r"|INVALID_PC|INVALID_ADDRESS_SPACE|HARDWARE_STACK_ERROR|ECC_UNCORRECTABLE|NVLINK_UNCORRECTABLE|CONTEXT_IS_DESTROYED|UNKNOWN)"
    r"|CU(BLAS|DNN|SOLVER|SPARSE|FFT)_STATUS_EXECUTION_FAILED",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"CUDA failure (\d+)[: ]|cudaError_?t?\(?(\d+)\)?")

# What PyTorch says in a plain RuntimeError begins with these; the same words further on are somebody's own sentence.
_PLAIN = re.compile(r"CUDA |CUDNN|cuDNN|CUBLAS|cuBLAS|HIP |NCCL|GPU is lost|\[enforce fail at |DefaultCPUAllocator")

# Modules whose exceptions are their own word about the device; plain RuntimeErrors are PyTorch's way, for one.
_MODULES = (
    "torch",
    "tensorflow",
    "onnxruntime",
    "jax",
    "jaxlib",
    "cupy",
    "cupy_backends",
    "numba",
    "pycuda",
    "tensorrt",
    "triton",
)


def classify(error: BaseException) -> Kind:
    """Return what an exception means.

    Returns:
        "out_of_memory": memory of the machine or of the device ran out; less at once may work.
        "dead_device": the process's CUDA context is dead, or the device is: nothing works there any more in this process.
        "other": anything else.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "OutOfMemoryError" in names):
        return "out_of_memory"
    plain = type(error) is RuntimeError
    if plain and not _PLAIN.match(_text(error)):
        return "other"
    if not plain and not any(_is_frameworks(kind) for kind in type(error).__mro__):
        return "other"
    if "ResourceExhaustedError" in names:  # TensorFlow
        return "out_of_memory"
    code = _code(error)
    if code == _NO_MEMORY_CODE:
        return "out_of_memory"
    if code in _DEAD_CODES:
        return "dead_device"
    text = _text(error)
    if _NO_MEMORY.search(text):
        return "out_of_memory"
    numbered = _NUMBERED.search(text)
    if _DEAD.search(text) or (numbered and int(numbered[1] or numbered[2]) in _DEAD_CODES):
        return "dead_device"
    return "other"


def _is_frameworks(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in _MODULES


def _code(error: BaseException) -> int | None:
    """Return the CUDA error number that an exception carries: PyTorch's, CuPy's, Numba's."""
    for name in ("error_code", "status", "code"):
        value = getattr(error, name, None)
        if (
            isinstance(value, int)
            and type(error) is not RuntimeError
            and "CUDA" in (type(error).__name__ + _text(error)).upper()
        ):
            return int(value)
    return None


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # wall: the user's __str__ may raise anything
        return ""
