"""Which exceptions mean that memory ran out, and which that the device is dead; with the frameworks' own types."""

from __future__ import annotations

import numpy as np
import pytest

from tiffin.worker.device_errors import classify


def made(name: str, module: str, text: str = "", base: type[Exception] = RuntimeError, **facts) -> Exception:
    """Return an exception as a framework that is not installed would raise it."""
    error: Exception = type(name, (base,), {"__module__": module})(text)
    for key, value in facts.items():
        setattr(error, key, value)
    return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        made("OutOfMemoryError", "torch", "CUDA out of memory. Tried to allocate 20.00 GiB"),
        made("Deeper", "app", base=type("OutOfMemoryError", (RuntimeError,), {})),
        RuntimeError("CUDA out of memory. Tried to allocate 2 MiB (GPU 0; 79 GiB total capacity)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried 8 TB"
        ),
        made("AcceleratorError", "torch", "CUDA error: out of memory", error_code=2),
        made("ResourceExhaustedError", "tensorflow.python.framework.errors_impl", "OOM when allocating tensor"),
        made(
            "RuntimeException",
            "onnxruntime.capi.onnxruntime_pybind11_state",
            "BFCArena::AllocateRawInternal(size_t) failed",
        ),
        made(
            "Fail", "onnxruntime.capi.onnxruntime_pybind11_state", "CUDA failure 2: out of memory ; GPU=0 ; hostname=h"
        ),
        made("OutOfMemoryError", "cupy.cuda.memory", "Out of memory allocating 8,000 bytes", MemoryError),
        made("JaxRuntimeError", "jaxlib.xla_extension", "RESOURCE_EXHAUSTED: Out of memory while trying to allocate"),
        made("CudaAPIError", "numba.cuda.cudadrv.driver", "[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY"),
    ],
)
def test_memory_ran_out(error):
    assert classify(error) == "out_of_memory"


@pytest.mark.parametrize(
    "error",
    [
        made("AcceleratorError", "torch", "CUDA error: device-side assert triggered", error_code=710),
        made("AcceleratorError", "torch", "CUDA error: something new", error_code=719),
        RuntimeError(
            "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported"
        ),
        RuntimeError("CUDA error: misaligned address"),
        RuntimeError("CUDA error: unspecified launch failure"),
        RuntimeError("CUDA error: uncorrectable ECC error encountered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`"),
        made(
            "InternalError",
            "tensorflow.python.framework.errors_impl",
            "could not synchronize: CUDA_ERROR_ILLEGAL_ADDRESS",
        ),
        made(
            "Fail", "onnxruntime.capi.onnxruntime_pybind11_state", "CUDA failure 700: an illegal memory access ; GPU=0"
        ),
        made("CUDARuntimeError", "cupy_backends.cuda.api.runtime", "cudaErrorIllegalAddress: …", status=700),
        made("CudaAPIError", "numba.cuda.cudadrv.driver", "[719] Call to cuStreamSynchronize: CUDA", code=719),
        made("LaunchError", "pycuda._driver", "cuCtxSynchronize failed: unspecified launch failure"),
        made("JaxRuntimeError", "jaxlib.xla_extension", "INTERNAL: CUDA_ERROR_ECC_UNCORRECTABLE"),
        made("NVMLError_GpuIsLost", "torch.cuda", "GPU is lost"),
    ],
)
def test_the_device_is_dead(error):
    assert classify(error) == "dead_device"


class Speechless(RuntimeError):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    "error",
    [
        ValueError("CUDA out of memory"),
        ValueError("CUDA error: device-side assert triggered"),
        RuntimeError("out of memory"),
        RuntimeError("the shelf is out of memory foam"),
        RuntimeError("upstream said: CUDA out of memory"),
        RuntimeError("misaligned address in my table"),
        RuntimeError("record: hardware stack error reported by sensor"),
        type("OutOfMemoryError", (ValueError,), {})(),
        type("ResourceExhaustedError", (RuntimeError,), {})("quota"),
        RuntimeError("CUDA error: invalid argument"),
        made("MyError", "app", "CUDA error: an illegal memory access was encountered"),
        made("MyError", "app", error_code=700),
        made("RuntimeError", "app", status=700),
        made("InvalidArgument", "onnxruntime.capi.onnxruntime_pybind11_state", "Got invalid dimensions for input"),
        made("AcceleratorError", "torch", "CUDA error: invalid configuration argument", error_code=9),
        KeyError("RESOURCE_EXHAUSTED"),
        Speechless(),
        SystemExit(700),
    ],
)
def test_anything_else(error):
    assert classify(error) == "other"


def test_numpys_own():
    with pytest.raises(MemoryError) as caught:
        np.empty(2**46, np.uint8)
    assert classify(caught.value) == "out_of_memory"


@pytest.mark.torch
def test_pytorchs_own():
    import torch

    assert classify(torch.OutOfMemoryError("CUDA out of memory.")) == "out_of_memory"
    assert (
        classify(torch.AcceleratorError("CUDA error: an illegal memory access was encountered", 700)) == "dead_device"
    )
    assert classify(torch.AcceleratorError("CUDA error: out of memory", 2)) == "out_of_memory"
    assert classify(torch.AcceleratorError("CUDA error: invalid argument", 1)) == "other"
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**46, dtype=torch.uint8)
    assert classify(caught.value) == "out_of_memory"
