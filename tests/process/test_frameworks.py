"""Frameworks whose real selves take seconds to start: TensorFlow, and PyTorch's compiler."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.frameworks.test_torch import network, plain, rows
from tiffin.frameworks import torch as helper

REAL = """
import sys
import numpy as np
import tiffin
tiffin.tensorflow.setup()
import tensorflow as tf
from tiffin.errors import ConfigError
folder = sys.argv[1]
model = tf.keras.Sequential([tf.keras.layers.Input((4,)), tf.keras.layers.Dense(3)])
rows = np.ones((2, 4), np.float32)
right = model(rows).numpy()
model.save(folder + "/m.keras")
model.export(folder + "/saved", verbose=False)
with tiffin.tensorflow.scope():
    assert np.allclose(tiffin.tensorflow.load_file(folder + "/m.keras")(rows).numpy(), right)
    saved = tiffin.tensorflow.load_file(folder + "/saved")
    assert np.allclose(saved.serve(rows).numpy(), right)
try:
    tiffin.tensorflow.load_file(folder)
except ConfigError as error:
    assert "is no model of TensorFlow's" in error.message
else:
    raise SystemExit("a folder without a model was loaded")
from tiffin.codecs.results import encode_msgpack, on_host
from tiffin.frameworks.tensors import converter
tensor = converter("tensorflow")(rows)
assert tensor.device.endswith("CPU:0"), tensor.device
assert on_host({"a": tensor})["a"].tolist() == rows.tolist()
assert encode_msgpack(tf.cast(tensor, tf.bfloat16))
print("right")
"""


@pytest.mark.tensorflow
@pytest.mark.timeout(120)
def test_tensorflow(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", REAL, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert ended.stdout == "right\n", ended.stderr[-3000:]


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler (g++) for torch.compile")
@pytest.mark.timeout(180)
def test_a_compiled_model_is_made_once_for_each_bucket() -> None:
    model = network()
    import torch

    ready = helper.prepare(model, compile=True, buckets=[2, 4], example=rows(1))
    for count in (1, 2, 3, 4):
        assert torch.allclose(ready(rows(count)), plain(model, rows(count)), atol=1e-5)
    assert ready.recompiles == 0


def test_onnxruntimes_own_exceptions():
    if importlib.util.find_spec("onnxruntime") is None:
        pytest.skip("ONNX Runtime is not installed (make test installs it)")
    code = """
from onnxruntime.capi import onnxruntime_pybind11_state as ort
from tiffin.worker.device_errors import classify
assert classify(ort.Fail("CUDA failure 700: an illegal memory access was encountered ; GPU=0")) == "dead_device"
assert classify(ort.RuntimeException("Failed to allocate memory for requested buffer of size 8")) == "out_of_memory"
assert classify(ort.InvalidArgument("INVALID_ARGUMENT : Got invalid dimensions")) == "other"
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)


@pytest.mark.tensorflow
@pytest.mark.timeout(120)
def test_tensorflows_own_exceptions():
    code = """
from tensorflow.errors import InternalError, InvalidArgumentError, ResourceExhaustedError
from tiffin.worker.device_errors import classify
assert classify(ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[8]")) == "out_of_memory"
assert classify(InternalError(None, None, "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access")) == "dead_device"
assert classify(InvalidArgumentError(None, None, "Incompatible shapes")) == "other"
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60, stderr=subprocess.DEVNULL)
