"""PyTorch models in the store: classes by import path, weights that do not fit, programs looked into, versions with holes."""

from __future__ import annotations

import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest

import tiffin
from tiffin.errors import ModelError, TrustError
from tiffin.frameworks import torch_programs

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed (make test installs it)")
pytest.importorskip("safetensors", reason="safetensors is not installed (make test installs it)")
pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path / "home"))


class Tied(torch.nn.Module):
    """Two layers that share a weight, and a buffer."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.first = torch.nn.Linear(size, size, bias=False)
        self.second = torch.nn.Linear(size, size, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, rows: Any) -> Any:
        return self.second(self.first(rows)) * self.scale


@pytest.fixture
def tied(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class, as another process would import it."""
    module = types.ModuleType("somebodys_module")
    module.Tied = Tied  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "somebodys_module", module)
    monkeypatch.setattr(Tied, "__module__", "somebodys_module")
    torch.manual_seed(0)
    return Tied().eval()


def test_a_class_by_import_path_with_tied_weights_and_a_buffer(tied: Any) -> None:
    rows = torch.rand(4, 3)
    model = tiffin.torch.save("m", tied, example=rows)
    assert model.info.options == {"class": "somebodys_module:Tied", "init": {}}
    loaded = model.load(device="cpu")
    assert loaded.training is False
    assert loaded.first.weight is loaded.second.weight
    torch.testing.assert_close(loaded(rows), tied(rows))
    assert model.info.signatures["predict"].inputs[0].name == "rows"


def test_the_class_of_a_strangers_model_is_not_imported(tied: Any, tmp_path: Path) -> None:
    archive = tiffin.models.export(tiffin.torch.save("m", tied).ref, tmp_path)
    tiffin.models.delete("m:latest")
    model = tiffin.models.import_(archive)
    with pytest.raises(TrustError, match="somebodys_module:Tied") as caught:
        model.load(device="cpu")
    assert "cls=Network" in caught.value.hint
    assert type(model.load(device="cpu", cls=Tied)) is Tied
    tiffin.models.trust(model.ref)
    assert type(tiffin.models.load(model.ref, device="cpu")) is Tied


def test_a_class_that_cannot_be_made_again_is_said_when_it_is_saved(tied: Any) -> None:
    with pytest.warns(UserWarning, match=r"has other weights than this one; save\(…, init="):
        model = tiffin.torch.save("m", Tied(size=5))
    assert model.info.options == {}
    assert set(model.load(device="cpu")) == {"first.weight", "scale"}
    assert tiffin.torch.save("n", Tied(size=5), init={"size": 5}).load(device="cpu").first.weight.shape == (5, 5)

    class Local(torch.nn.Linear):
        pass

    with pytest.warns(UserWarning, match="is defined in a function"):
        tiffin.torch.save("l", Local(2, 2))
    with pytest.raises(ModelError, match="is not JSON"):
        tiffin.torch.save("o", tied, init={"size": object()})


def test_weights_that_do_not_fit_the_class_are_named(tied: Any) -> None:
    tiffin.torch.save("m", tied)
    with pytest.raises(ModelError, match=r"do not fit Linear: missing \['bias', 'weight'\]") as caught:
        tiffin.torch.load("m", cls=torch.nn.Linear(3, 3))
    assert "has changed since" in caught.value.hint
    with pytest.raises(ModelError, match="Tied cannot be made"):
        tiffin.torch.load("m", cls=Tied, init={"sise": 3})
    with pytest.raises(ModelError, match="is a model of torch, not of keras"):
        tiffin.keras.load("m")


def test_a_checkpoint_of_tensors_is_data_and_one_with_more_is_not(tied: Any, tmp_path: Path) -> None:
    torch.save({"state": tied.state_dict(), "epoch": 3}, tmp_path / "good.pt")
    model = tiffin.models.import_(tmp_path / "good.pt")
    assert (model.info.format, model.info.code) == ("checkpoint", False)
    assert model.load(device="cpu")["epoch"] == 3
    torch.save(tied, tmp_path / "whole.pt")
    with pytest.raises(TrustError):
        tiffin.models.import_(tmp_path / "whole.pt")
    assert tiffin.models.import_(tmp_path / "whole.pt", trusted=True).info.format == "module"


def test_s_model_03_a_pytorch_with_known_holes_is_said(
    tied: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(tied.state_dict(), tmp_path / "c.pt")
    model = tiffin.models.import_(tmp_path / "c.pt")
    monkeypatch.setattr(torch, "__version__", "2.9.1")
    with pytest.warns(UserWarning, match=r"PyTorch 2\.9\.1 has published holes"):
        model.load(device="cpu")
    monkeypatch.setattr(torch, "__version__", "2.10.0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.load(device="cpu")


@pytest.mark.parametrize(
    "text",
    ["s0", "2*s0 + 1", "Max(s0, s1)", "Symbol('s31', positive=True, integer=True)", "Mul(Integer(2), Symbol('s1', integer=True))",
     "(s0 // 4) * 4", "FloorDiv(s0, 2)", "s0 >= 2"],
)  # fmt: skip
def test_sizes_that_torch_export_writes_are_expressions(text: str) -> None:
    assert torch_programs._is_expression(text)


@pytest.mark.parametrize(
    "text",
    ["__import__('os')", "open('x')", "s0.__class__", "os.system", "eval(s0)", "lambda: 0", "[x for x in s0]",
     "Symbol('s1', f=open)", "exec('x')", "'a'*9", "s0; s1", "getattr(s0, s1)", "Symbol(s0)('x')", "{s0}", "s0\\n"],
)  # fmt: skip
def test_code_is_no_expression(text: str) -> None:
    assert not torch_programs._is_expression(text)
