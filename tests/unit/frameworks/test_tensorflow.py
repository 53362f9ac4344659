"""TensorFlow's helper: its calls, seen by a TensorFlow that is made up. The real one is in the process ring."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from tiffin.errors import ConfigError
from tiffin.frameworks import tensorflow as helper


class Config:
    """`tf.config` with two GPUs, that notes what is set."""

    def __init__(self) -> None:
        self.set: list[Any] = []
        self.started = False
        self.experimental = SimpleNamespace(set_memory_growth=self.growth)
        self.threading = SimpleNamespace(
            set_intra_op_parallelism_threads=lambda count: self.set.append(("threads", count))
        )

    def list_physical_devices(self, _kind: str) -> list[Any]:
        return [SimpleNamespace(name=f"/physical_device:GPU:{index}") for index in range(2)]

    def growth(self, gpu: Any, on: bool) -> None:
        if self.started:
            raise RuntimeError("Physical devices cannot be modified after being initialized")
        self.set.append(("growth", gpu.name[-1], on))

    def LogicalDeviceConfiguration(self, memory_limit: int) -> int:  # noqa: N802  TensorFlow's name
        return memory_limit

    def set_logical_device_configuration(self, gpu: Any, made: list[int]) -> None:
        self.set.append(("limit", gpu.name[-1], *made))

    def set_soft_device_placement(self, on: bool) -> None:
        self.set.append(("soft", on))


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Config:
    made = Config()
    log = SimpleNamespace(set_log_device_placement=lambda on: made.set.append(("log", on)))
    fake = SimpleNamespace(config=made, debugging=log, device=nullcontext)
    monkeypatch.setitem(sys.modules, "tensorflow", fake)
    monkeypatch.delenv("TIFFIN_GPU_MEMORY", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    return made


def test_memory_grows_where_there_is_no_limit(config: Config) -> None:
    assert helper.setup() == ["/physical_device:GPU:0", "/physical_device:GPU:1"]
    assert config.set == [("threads", 3), ("growth", "0", True), ("growth", "1", True), ("soft", True)]


def test_a_limit_is_a_hard_one(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIFFIN_GPU_MEMORY", f"{8 << 30},0")
    helper.setup(log_placement=True, soft_placement=False)
    assert config.set[1:] == [("limit", "0", 8192), ("growth", "1", True), ("soft", False), ("log", True)]


def test_too_late_says_what_to_do(config: Config) -> None:
    config.started = True
    with pytest.raises(ConfigError, match="came too late: Physical devices") as caught:
        helper.setup()
    assert "first in __init__" in caught.value.hint


def test_names_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIFFIN_DEVICE", "cpu")
    assert helper.device() == "/CPU:0"
    monkeypatch.setenv("TIFFIN_DEVICE", "cuda:0")
    assert helper.device() == "/GPU:0"
