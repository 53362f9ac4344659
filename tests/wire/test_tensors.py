"""Methods that take and return tensors: the same bodies as for arrays, on the worker's device."""

from __future__ import annotations

import io
from typing import Annotated, Any

import httpx
import numpy as np
import pytest

import tiffin
from tiffin.errors import SpecError
from tiffin.service.signature import read_signature

pytestmark = pytest.mark.torch
torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed (make test installs it)")

Rows = Annotated[torch.Tensor, tiffin.Shape("rows", 4), tiffin.DType("float32")]
KINDS: list[Any] = []


@tiffin.service
class Network:
    """A layer, called with tensors."""

    def __init__(self) -> None:
        self.layer = torch.nn.Linear(4, 2)
        torch.nn.init.ones_(self.layer.weight)
        torch.nn.init.zeros_(self.layer.bias)

    @tiffin.api(batchable=True)
    def scores(self, x: Rows) -> torch.Tensor:
        """Return tensors that carry gradients, as forgetful code does."""
        KINDS.append((type(x), x.dtype, x.device.type, tuple(x.shape)))
        return self.layer(x)

    @tiffin.api(batchable=True)
    def half(self, x: Rows) -> dict[str, torch.Tensor]:
        """Return columns in a type that numpy has not."""
        return {"twice": (x * 2).to(torch.bfloat16)}

    @tiffin.api
    def total(self, x: torch.Tensor, by: float = 1.0) -> torch.Tensor:
        """Return a tensor without dimensions."""
        return x.sum() * by


@tiffin.service
class Caller:
    """Calls it from another service."""

    network = tiffin.depends(Network)

    @tiffin.api
    def ask(self, x: Rows) -> list[str]:
        """Say what comes back."""
        found = self.network.scores(x)
        return [type(found).__name__, str(found.tolist())]


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def test_tensors_in_and_out() -> None:
    KINDS.clear()
    with tiffin.serve(Network) as server:
        url = server.url
        reply = httpx.post(f"{url}/scores", json={"x": [[1, 2, 3, 4], [0, 0, 0, 1]]})
        assert reply.json() == [[10.0, 10.0], [1.0, 1.0]]
        assert [(torch.Tensor, torch.float32, "cpu", (2, 4))] == KINDS
        headers = {"content-type": "application/x-npy", "accept": "application/x-npy"}
        reply = httpx.post(f"{url}/scores", content=npy(np.ones((3, 4), np.float32)), headers=headers)
        assert np.load(io.BytesIO(reply.content)).tolist() == [[4.0, 4.0]] * 3
        reply = httpx.post(f"{url}/half", json={"x": [[1, 2, 3, 4]]})
        assert reply.json() == {"twice": [[2.0, 4.0, 6.0, 8.0]]}
        reply = httpx.post(f"{url}/half", json={"x": [[1, 2, 3, 4]]}, headers={"accept": "application/msgpack"})
        assert reply.status_code == 200
        assert httpx.post(f"{url}/total", json={"x": [[1.5, 2], [3, 4]], "by": 2}).json() == 21.0
        wrong = httpx.post(f"{url}/scores", json={"x": [[1, 2, 3]]})
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "INVALID_INPUT")


def test_a_tensor_comes_back_from_another_service() -> None:
    with tiffin.serve(Caller) as server:
        assert httpx.post(f"{server.url}/ask", json={"x": [[1, 2, 3, 4]]}).json() == ["Tensor", "[[10.0, 10.0]]"]


def test_a_tensor_is_a_parameter_of_its_own() -> None:
    def nested(self: Any, x: list[torch.Tensor]) -> None: ...
    def maybe(self: Any, x: torch.Tensor | None) -> None: ...
    def returned(self: Any, x: int) -> dict[str, list[torch.Tensor]]:
        return {}

    for method in (nested, maybe):
        with pytest.raises(SpecError, match="a tensor must be a parameter of its own"):
            read_signature(method, "Svc.method")
    read_signature(returned, "Svc.returned")
