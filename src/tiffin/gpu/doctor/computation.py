"""The computation that proves a device: `python -m tiffin.gpu.doctor.computation`, in a process of its own.

Owns one matrix product per framework, and a round trip through the CUDA driver where there is none. The numbers are small integers,
so that every precision, TF32 too, gives exactly the CPU's result. Prints one line, see `proof`.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from tiffin.gpu.doctor import cuda_driver
from tiffin.gpu.doctor.packages import Packages, read_packages
from tiffin.gpu.doctor.proof import MARK, DeviceProof, Proof

SIDE = 2048  # a float32 matrix of 16 MiB
_ROWS = 8  # of the product that are compared with the CPU's


def main(packages: Packages | None = None) -> Proof:
    """Compute with the first framework that is built for CUDA, else through the driver.

    Args:
        packages: what is installed; read here where None.
    """
    builds = (packages or read_packages()).builds
    engines: tuple[tuple[str, Callable[[], Proof]], ...] = (
        ("torch", with_torch),
        ("cupy", with_cupy),
        ("tensorflow", with_tensorflow),
        ("onnxruntime-gpu", with_onnxruntime),
    )
    for name, compute in engines:
        built = next(
            (cuda for package, cuda in builds.items() if package == name or package.startswith(f"{name}-cuda")), ""
        )
        if built:
            try:
                return compute()
            except Exception as error:  # any failure of a framework is the very thing that is looked for
                return Proof(engine=name, error=f"{type(error).__name__}: {error}")
    return cuda_driver.prove()


def with_torch(device: str = "cuda") -> Proof:
    """Compute with PyTorch on every device of a kind."""
    torch: Any = importlib.import_module("torch")
    engine = f"torch {torch.__version__} (CUDA {torch.version.cuda})"
    if device == "cuda" and not torch.cuda.is_available():
        torch.cuda.init()  # raises with the reason
        return Proof(engine=engine, error="torch.cuda.is_available() is False")
    count = torch.cuda.device_count() if device == "cuda" else 1
    matrix = torch.from_numpy(_matrix())

    def product(index: int) -> Any:
        there = matrix.to(f"cuda:{index}" if device == "cuda" else "cpu")
        return (there @ there).cpu().numpy()

    names = [torch.cuda.get_device_name(index) if device == "cuda" else "cpu" for index in range(count)]
    architectures = tuple(torch.cuda.get_arch_list()) if device == "cuda" else ()
    return Proof(engine=engine, devices=tuple(_each(names, product)), architectures=architectures)


def with_cupy() -> Proof:
    """Compute with CuPy on every device."""
    cupy: Any = importlib.import_module("cupy")

    def product(index: int) -> Any:
        with cupy.cuda.Device(index):
            there = cupy.asarray(_matrix())
            return cupy.asnumpy(there @ there)

    count = int(cupy.cuda.runtime.getDeviceCount())
    names = [cupy.cuda.runtime.getDeviceProperties(index)["name"].decode() for index in range(count)]
    return Proof(engine=f"cupy {cupy.__version__}", devices=tuple(_each(names, product)))


def with_tensorflow(kind: str = "GPU") -> Proof:
    """Compute with TensorFlow on every device of a kind; memory grows as needed, so that others keep theirs."""
    tf: Any = importlib.import_module("tensorflow")
    engine = f"tensorflow {tf.__version__}"
    devices = tf.config.list_physical_devices(kind)
    if not devices:
        return Proof(
            engine=engine, error="tf.config.list_physical_devices('GPU') is empty: its CUDA libraries were not found"
        )
    for one in devices if kind == "GPU" else ():
        tf.config.experimental.set_memory_growth(one, True)

    def product(index: int) -> Any:
        with tf.device(f"/{kind}:{index}"):
            there = tf.constant(_matrix())
            return tf.linalg.matmul(there, there).numpy()

    names = [str(tf.config.experimental.get_device_details(one).get("device_name", one.name)) for one in devices]
    return Proof(engine=engine, devices=tuple(_each(names, product)))


def with_onnxruntime(provider: str = "CUDAExecutionProvider") -> Proof:
    """Compute with ONNX Runtime on its first device; that the provider was not silently replaced is part of the proof."""
    runtime: Any = importlib.import_module("onnxruntime")
    engine = f"onnxruntime {runtime.__version__}"
    if hasattr(runtime, "preload_dlls") and provider.startswith("CUDA"):
        runtime.preload_dlls()  # CUDA's and cuDNN's libraries from their wheels
    session = runtime.InferenceSession(_product_model(), providers=[provider])
    active = session.get_providers()
    if active[0] != provider:
        return Proof(
            engine=engine, error=f"{provider} was asked for, {active[0]} is in use: its libraries cannot be loaded"
        )

    def product(_index: int) -> Any:
        return session.run(None, {"a": _matrix()})[0]

    return Proof(engine=engine, devices=tuple(_each([provider], product)))


def _matrix() -> Any:
    numpy: Any = importlib.import_module("numpy")
    rows, columns = numpy.ogrid[:SIDE, :SIDE]
    return ((rows * 7 + columns * 3) % 4).astype(numpy.float32)


def _each(names: list[str], product: Callable[[int], Any]) -> Iterator[DeviceProof]:
    """Compute on each device: once to wake it up, once for the time."""
    expected = _matrix()[:_ROWS] @ _matrix()
    for index, name in enumerate(names):
        try:
            product(index)
            begin = time.perf_counter()
            got = product(index)
            time_ms = (time.perf_counter() - begin) * 1e3
        except Exception as fault:  # the other devices are still to be tried
            yield DeviceProof(name=f"{index} {name}", error=f"{type(fault).__name__}: {fault}".split("\n", 1)[0])
            continue
        wrong = int((got[:_ROWS] != expected).sum())
        error = f"{wrong} of {expected.size} numbers differ from the CPU's" if wrong else ""
        yield DeviceProof(name=f"{index} {name}", time_ms=round(time_ms, 2), error=error)


def _product_model() -> bytes:
    """Return the ONNX model y = a · a as bytes, written by hand: the package `onnx` is rarely where models are served."""

    def field(number: int, value: bytes | int) -> bytes:
        if isinstance(value, int):
            return _varint(number << 3) + _varint(value)
        return _varint(number << 3 | 2) + _varint(len(value)) + value

    def tensor(name: bytes) -> bytes:
        size = field(1, field(1, SIDE))
        kind = field(1, field(1, 1) + field(2, size + size))  # float32 [SIDE, SIDE]
        return field(1, name) + field(2, kind)

    node = field(1, b"a") + field(1, b"a") + field(2, b"y") + field(4, b"MatMul")
    graph = field(1, node) + field(2, b"product") + field(11, tensor(b"a")) + field(12, tensor(b"y"))
    return field(1, 8) + field(7, graph) + field(8, field(2, 13))  # IR version 8, opset 13


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


if __name__ == "__main__":
    sys.stdout.write(f"\n{MARK}{msgspec.json.encode(main()).decode()}\n")
