"""ONNX Runtime's helper: real sessions on the CPU, and the GPU's word against a runtime that is made up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tiffin.errors import ConfigError
from tiffin.frameworks import onnx_sessions as helper

onnx = pytest.importorskip("onnx", reason="ONNX is not installed (make test installs it)")
runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed (make test installs it)")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a model that doubles rows of four."""
    from onnx import TensorProto
    from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

    ends = [make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 4]) for name in ("x", "y")]
    graph = make_graph([make_node("Add", ["x", "x"], ["y"])], "double", ends[:1], ends[1:])
    made = make_model(graph, opset_imports=[make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "double.onnx"
    onnx.save(made, path)
    return path


def test_a_session_on_the_cpu(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIFFIN_DEVICE", "cpu")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for source in (model, str(model), model.read_bytes()):
        session = helper.session(source)
        assert session.get_providers() == ["CPUExecutionProvider"]
        assert session.get_session_options().intra_op_num_threads == 1
        assert np.array_equal(session.run(None, {"x": np.ones((3, 4), np.float32)})[0], np.full((3, 4), 2, np.float32))


def test_a_gpu_and_a_runtime_without_cuda_is_an_error_that_says_why(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIFFIN_DEVICE", "cuda:0")
    monkeypatch.setattr(helper, "_installed", lambda name: name == "onnxruntime")
    with pytest.raises(
        ConfigError, match=r"has no CUDAExecutionProvider: it has .*CPUExecutionProvider; onnxruntime is"
    ) as caught:
        helper.session(model)
    assert "onnxruntime-gpu[cuda,cudnn]" in caught.value.hint
    monkeypatch.setattr(helper, "_installed", lambda _name: True)
    with pytest.raises(ConfigError, match="both onnxruntime and onnxruntime-gpu are installed"):
        helper.session(model, wanted=["CUDAExecutionProvider"])


def test_the_providers_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    have = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(runtime, "get_available_providers", lambda: have)
    monkeypatch.setenv("TIFFIN_DEVICE", "cuda:0")
    monkeypatch.delenv("TIFFIN_GPU_MEMORY", raising=False)
    alone = {"device_id": 0, "cudnn_conv_algo_search": "HEURISTIC"}
    assert helper.providers() == [("CUDAExecutionProvider", alone), ("CPUExecutionProvider", {})]
    assert helper.providers(tensorrt=True)[0] == ("TensorrtExecutionProvider", {"device_id": 0})
    monkeypatch.setenv("TIFFIN_GPU_MEMORY", "1000,2000")
    shared = alone | {"gpu_mem_limit": 1000, "arena_extend_strategy": "kSameAsRequested"}
    assert helper.providers()[0] == ("CUDAExecutionProvider", shared)
    del have[0]
    with pytest.raises(ConfigError, match="has no TensorrtExecutionProvider"):
        helper.providers(tensorrt=True)


def test_a_session_that_fell_back_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper, "_installed", lambda name: name == "onnxruntime-gpu")
    fallen: Any = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    with pytest.raises(
        ConfigError, match="was asked for CUDAExecutionProvider and runs on CPUExecutionProvider; its CUDA"
    ):
        helper.check(fallen)
    helper.check(fallen, "CPUExecutionProvider")
