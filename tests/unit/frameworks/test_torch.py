"""PyTorch's helpers: really on the CPU, and on a GPU that is made up where only the calls can be seen."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tiffin.errors import ConfigError
from tiffin.frameworks import torch as helper
from tiffin.frameworks.torch_model import bucket_sizes

pytestmark = pytest.mark.torch


def network() -> Any:
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 3))


def rows(count: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, 4), np.float32)


def plain(model: Any, inputs: np.ndarray) -> Any:
    import torch

    with torch.inference_mode():
        return model.eval()(torch.from_numpy(inputs))


def test_the_device_is_this_processs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIFFIN_DEVICE", "cpu")
    assert str(helper.device()) == "cpu"
    assert [str(one) for one in helper.devices()] == ["cpu"]
    monkeypatch.setenv("TIFFIN_DEVICE", "cuda:0")
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert str(helper.device()) == "cuda:0"
    assert [str(one) for one in helper.devices()] == ["cuda:0", "cuda:1"]


def test_a_prepared_model_gives_what_the_model_gives() -> None:
    import torch

    model = network()
    ready = helper.prepare(model)
    inputs = rows(5)
    right = plain(model, inputs)
    for given in (inputs, torch.from_numpy(inputs), inputs.astype(np.float64)):
        out = ready(given)
        assert torch.equal(out, right)
        assert not out.requires_grad
    assert not model.training


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
def test_padded_batches_give_the_same_rows(count: int) -> None:
    import torch

    model = network()
    ready = helper.prepare(model, buckets=8, example=rows(1))
    seen: list[int] = []
    model.register_forward_pre_hook(lambda _module, args: seen.append(len(args[0])))
    out = ready(rows(count))
    assert seen == [next(size for size in (1, 2, 4, 8) if size >= count)]
    assert out.shape == (count, 3)
    assert torch.allclose(out, plain(model, rows(count)), atol=1e-6)


def test_more_rows_than_the_largest_bucket_are_refused() -> None:
    with pytest.raises(ValueError, match="9 rows are more than the largest bucket, 8"):
        helper.prepare(network(), buckets=[2, 8])(rows(9))


@pytest.mark.parametrize(
    ("buckets", "sizes"),
    [(None, ()), (1, (1,)), (8, (1, 2, 4, 8)), (12, (1, 2, 4, 8, 12)), ([8, 1, 8], (1, 8)), ((3,), (3,))],
)
def test_buckets(buckets: Any, sizes: tuple[int, ...]) -> None:
    assert bucket_sizes(buckets) == sizes


@pytest.mark.parametrize("buckets", [0, -1, True, "8", [0], [1, "2"], [], [1.5]])
def test_what_are_no_buckets(buckets: Any) -> None:
    with pytest.raises(ConfigError, match="buckets="):
        bucket_sizes(buckets)


def test_every_bucket_is_run_before_the_first_call_the_largest_first() -> None:
    model = network()
    seen: list[int] = []
    model.register_forward_pre_hook(lambda _module, args: seen.append(len(args[0])))
    helper.prepare(model, buckets=4, example=rows(1))
    assert seen == [4, 2, 1]


def test_dicts_tuples_and_other_results_keep_their_form() -> None:
    import torch

    class Several(torch.nn.Module):
        def forward(self, x: Any, mask: Any) -> Any:
            return {"sum": x.sum(1), "pair": (x[:, 0], [mask.sum(1)]), "name": "n"}

    ready = helper.prepare(Several(), buckets=4)
    out = ready(rows(3), np.ones((3, 4), np.int64))
    assert out["sum"].shape == (3,)
    assert out["pair"][0].shape == (3,)
    assert out["pair"][1][0].tolist() == [4, 4, 4]
    assert out["pair"][1][0].dtype == torch.int64
    assert out["name"] == "n"


def test_bf16_in_and_float32_out() -> None:
    import torch

    model = network()
    right = plain(network(), rows(3))
    ready = helper.prepare(model, precision="bf16")
    assert next(model.parameters()).dtype == torch.bfloat16
    out = ready(rows(3))
    assert out.dtype == torch.float32
    assert torch.allclose(out, right, atol=0.05)


def test_channels_last_reaches_the_model() -> None:
    import torch

    class Look(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.tensor([x.is_contiguous(memory_format=torch.channels_last)])

    images = np.zeros((2, 3, 8, 8), np.float32)
    assert helper.prepare(Look(), channels_last=True)(images).item()
    assert not helper.prepare(Look())(images).item()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precision": "int4"}, "precision='int4' does not exist"),
        ({"precision": "fp16"}, "slower than fp32"),
        ({"compile": True}, "compile without buckets"),
        ({"graphs": True}, "graphs without buckets"),
        ({"graphs": True, "buckets": 2}, "graphs needs example"),
    ],
)
def test_what_cannot_be_prepared(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], words: str) -> None:
    monkeypatch.setenv("TIFFIN_DEVICE", "cpu")
    with pytest.raises(ConfigError, match=words):
        helper.prepare(network(), **options)


def test_auto_is_bf16_where_the_gpu_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    for capability, dtype in (((7, 5), torch.float32), ((8, 0), torch.bfloat16), ((12, 0), torch.bfloat16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _place, found=capability: found)
        assert helper._dtype("auto", torch.device("cuda:0")) is dtype


def test_weights_saved_on_another_gpu_load_here() -> None:
    import torch

    file = io.BytesIO()
    torch.save({"weight": torch.arange(3.0)}, file)
    source = _repacked(file.getvalue())
    loaded = helper.load_file(io.BytesIO(source))
    assert loaded["weight"].tolist() == [0, 1, 2]
    assert loaded["weight"].device.type == "cpu"
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(io.BytesIO(source), weights_only=True)


def _repacked(content: bytes) -> bytes:
    """Return a checkpoint as a machine with four GPUs would have written it: where its storages were is a text in the archive."""
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("data.pkl"):
                data = data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:3")
            new.writestr(name, data)
    return out.getvalue()


def test_a_whole_module_loads_with_trust_only() -> None:
    import torch

    file = io.BytesIO()
    torch.save(network(), file)
    file.seek(0)
    with pytest.raises(ConfigError, match="holds more than tensors") as caught:
        helper.load_file(file)
    assert "trusted=True" in caught.value.hint
    file.seek(0)
    assert isinstance(helper.load_file(file, trusted=True), torch.nn.Sequential)


def test_a_framework_that_is_not_installed_says_how_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ConfigError, match="torch is not installed here") as caught:
        helper.device()
    assert caught.value.hint == "pip install torch"


# -- memory: only what is asked of CUDA can be seen here ---------------------------------------------------------------------------


class Cuda:
    """Two made-up GPUs of 80 GiB, as `torch.cuda` shows them."""

    def __init__(self) -> None:
        self.fractions: dict[int, float] = {}
        self.allocated = [100, 20]
        self.peak = [100, 20]

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 2

    def get_device_properties(self, _index: int) -> Any:
        return SimpleNamespace(total_memory=80 << 30)

    def set_per_process_memory_fraction(self, fraction: float, index: int) -> None:
        self.fractions[index] = fraction

    def memory_reserved(self, index: int) -> int:
        return self.allocated[index] * 2

    def memory_allocated(self, index: int) -> int:
        return self.allocated[index]

    def max_memory_allocated(self, index: int) -> int:
        return self.peak[index]

    def reset_peak_memory_stats(self, index: int) -> None:
        self.peak[index] = self.allocated[index]


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    made = Cuda()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=made))
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    return made


def test_limits_become_fractions_once(cuda: Cuda) -> None:
    from tiffin.frameworks.memory import Limits

    limits = Limits([20 << 30, 0])
    limits.apply()
    assert cuda.fractions == {0: 0.25}
    cuda.fractions.clear()
    limits.apply()
    assert cuda.fractions == {}
    Limits([0, 0]).apply()
    assert cuda.fractions == {}


def test_limits_wait_until_the_framework_is_there(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiffin.frameworks.memory import Limits

    module = sys.modules.pop("torch")
    limits = Limits([20 << 30])
    limits.apply()
    monkeypatch.setitem(sys.modules, "torch", module)
    limits.apply()
    assert cuda.fractions == {0: 0.25}


def test_what_is_held_and_what_batches_took(cuda: Cuda) -> None:
    from tiffin.frameworks.memory import Peaks, held

    assert held() == 240
    peaks = Peaks()
    for took, count in ((50, 3), (30, 4), (7, 1), (9, 5)):
        base = peaks.before()
        cuda.peak[1] += took
        peaks.after(base, "predict", count)
    assert peaks.seen() == {"predict": {4: 50, 1: 7, 8: 9}}


def test_without_a_device_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    from tiffin.frameworks.memory import Peaks, held

    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    for modules in (
        {},
        {"torch": SimpleNamespace()},
        {"torch": SimpleNamespace(cuda=SimpleNamespace(is_initialized=bool))},
    ):
        monkeypatch.delitem(sys.modules, "torch", raising=False)
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        peaks = Peaks()
        assert held() == -1
        peaks.after(peaks.before(), "predict", 1)
        assert peaks.seen() == {}
