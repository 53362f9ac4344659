"""On a real GPU: placement, memory that really runs out, fractions, compiled models and CUDA graphs, two workers on one device.

Each test says what it measured (pytest -rP shows it); `make gpu` runs them all, and the benchmark.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.process.load import Load
from tests.process.test_faults import until
from tiffin.testing import TestServer

pytestmark = [pytest.mark.gpu, pytest.mark.torch, pytest.mark.timeout(300)]

SERVICE = '''
import os
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

import tiffin

Rows = Annotated[torch.Tensor, tiffin.Shape("rows", 4), tiffin.DType("float32")]
EACH = 1 << 30  # bytes that a row takes while it is computed


class Base:
    def __init__(self):
        self.weights = torch.ones(4, 4, device=tiffin.torch.device())

    @tiffin.api
    def where(self) -> dict[str, str | int | float]:
        free, total = torch.cuda.mem_get_info()
        return {
            "pid": os.getpid(),
            "device": str(self.weights.device),
            "name": torch.cuda.get_device_name(),
            "count": torch.cuda.device_count(),
            "visible": os.environ["CUDA_VISIBLE_DEVICES"],
            "total": total,
        }

    @tiffin.api(batchable=True, max_batch_size=256)
    def hungry(self, x: Rows) -> torch.Tensor:
        """Takes a gigabyte a row, so that a large batch does not fit."""
        with open(os.environ["GPU_NOTES"], "a") as notes:
            notes.write(f"{len(x)}\\n")
        room = torch.empty((len(x), EACH), dtype=torch.uint8, device=x.device)
        room[:, 0] = 1
        return (x @ self.weights)[:, 0] + room[:, 0] - 1

    @tiffin.api
    def take(self, gib: float) -> float:
        """Try to hold so much at once."""
        held = torch.empty(int(gib * 2**30), dtype=torch.uint8, device="cuda:0")
        return len(held) / 2**30

    @tiffin.api(batchable=True, max_batch_size=64)
    def fragile(self, x: Rows) -> torch.Tensor:
        """An index out of range on the device: a device-side assert, which kills the context."""
        if Path(os.environ["GPU_FUSE"]).exists() and (x[:, 0] >= 0).all():
            Path(os.environ["GPU_FUSE"]).unlink(missing_ok=True)
            bad = torch.full((4,), 99, device=x.device)
            torch.arange(4, device=x.device)[bad]
            torch.cuda.synchronize()
        return (x @ self.weights)[:, 0]

    @tiffin.api
    def burn(self, seconds: float) -> int:
        """Keep the device busy."""
        import time
        a = torch.randn(4096, 4096, device="cuda:0", dtype=torch.bfloat16)
        end, rounds = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            for _ in range(20):
                b = a @ a
            torch.cuda.synchronize()
            rounds += 20
        return rounds


@tiffin.service(resources={"gpu": 1})
class One(Base):
    pass


@tiffin.service(workers=2, resources={"gpu": 1})
class Two(Base):
    pass


@tiffin.service(resources={"gpu_memory": "4GiB"})
class Small(Base):
    pass
'''


class House:
    """A server on the real GPU, with the files that its methods write."""

    def __init__(self, folder: Path, name: str) -> None:
        (folder / "service.py").write_text(SERVICE)
        self.notes = folder / "notes"
        self.fuse = folder / "fuse"
        self.notes.write_text("")
        env = {"GPU_NOTES": str(self.notes), "GPU_FUSE": str(self.fuse)}
        self.server = TestServer(f"service.py:{name}", app_dir=folder, env=env, start_s=120)

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.__exit__(None, None, None)

    def metric(self, start: str) -> float:
        text = self.server.request("GET", "/metrics")[2].decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(start))


def gpus() -> dict[str, Any]:
    out = subprocess.run(
        [sys.executable, "-m", "tiffin", "gpus", "--json"], capture_output=True, text=True, check=True, timeout=60
    )
    found: dict[str, Any] = json.loads(out.stdout)
    return found


def rows(number: int) -> tuple[Any, Any]:
    return {"x": [[number % 100, 1, 2, 3]]}, [number % 100 + 6.0]


@pytest.fixture
def one(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path, "One") as house:
        yield house


def test_a_worker_sees_one_gpu_as_number_0(one: House) -> None:
    status, found = one.server.post("/where", {})
    assert status == 200
    assert (found["device"], found["count"]) == ("cuda:0", 1)
    assert found["visible"].startswith(("GPU-", "MIG-"))
    assert found["visible"] in {device["uuid"] for device in gpus()["devices"]}
    print(found)


def test_memory_that_really_runs_out_costs_no_call_and_is_learned(one: House) -> None:
    total = one.server.post("/where", {})[1]["total"]
    with Load(one.server.port, "/hungry", 200, rows) as load:
        assert until(lambda: one.metric("tiffin_batch_limit_rows") > 0, 60), one.server.log()
        seen = len(one.notes.read_text().splitlines())
        time.sleep(3)
    assert set(load.outcomes) == {"ok"}, load.problems
    limit = one.metric("tiffin_batch_limit_rows")
    sizes = [int(line) for line in one.notes.read_text().splitlines()]
    assert limit <= total / 2**30
    assert max(sizes[seen + 5 :]) <= limit
    print({"total GiB": total / 2**30, "limit": limit, "most tried": max(sizes), "calls": load.outcomes["ok"]})


def test_a_dead_context_is_a_new_worker_and_no_failed_call(one: House) -> None:
    old = one.server.worker_pids()
    with Load(one.server.port, "/fragile", 16, rows) as load:
        time.sleep(0.5)
        one.fuse.touch()
        assert until(lambda: bool(one.server.worker_pids()) and one.server.worker_pids() != old, 90), one.server.log()
        time.sleep(1)
    assert set(load.outcomes) == {"ok"}, load.problems
    assert one.metric('tiffin_worker_restarts_total{cause="device"') == 1
    assert "the device is lost to this process" in one.server.log()


def test_a_declared_amount_is_a_limit(tmp_path: Path) -> None:
    with House(tmp_path, "Small") as house:
        assert house.server.post("/take", {"gib": 3})[0] == 200
        status, answer = house.server.post("/take", {"gib": 6})
        assert (status, answer["error"]["code"]) == (503, "OUT_OF_MEMORY")


def test_two_workers_share_one_gpu_and_gpus_shows_them(tmp_path: Path) -> None:
    if len(gpus()["devices"]) > 1:
        pytest.skip("this machine has several GPUs: two workers get one each")
    with House(tmp_path, "Two") as house:
        assert until(lambda: len(house.server.status()["workers"]) == 2, 60)
        found = {house.server.post("/where", {})[1]["visible"] for _ in range(8)}
        assert len(found) == 1
        assert "(up to " in house.server.log()
        with Load(house.server.port, "/burn", 2, lambda _: ({"seconds": 4.0}, None)):
            time.sleep(2.5)
            shown = gpus()
        (device,) = shown["devices"]
        print(json.dumps(shown, indent=1))
        assert device["utilization"] is None or device["utilization"] > 50
        text = subprocess.run(
            [sys.executable, "-m", "tiffin", "gpus"], capture_output=True, text=True, check=True, timeout=60
        )
        assert "Two worker 0" in text.stdout
        assert "Two worker 1" in text.stdout
        print(text.stdout)


MODELS = """
import time
import torch
import tiffin

torch.manual_seed(0)
def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(*[torch.nn.Linear(256, 256) if n % 2 == 0 else torch.nn.GELU() for n in range(24)])

rows = torch.randn(7, 256)
plain = tiffin.torch.prepare(network(), precision="fp32")
right = plain(rows).cpu()

def timed(model, count):
    for _ in range(10):
        model(rows[:count])
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(200):
        model(rows[:count])
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / 200 * 1e6

for name, options in {
    "graphs": {"graphs": True},
    "compiled": {"compile": True},
    "bf16": {"precision": "bf16"},
    "auto, graphs": {"precision": "auto", "graphs": True},
}.items():
    options = {"precision": "fp32", "buckets": 8, "example": rows[:1]} | options
    model = tiffin.torch.prepare(network(), **options)
    for count in (1, 3, 7):
        out = model(rows[:count]).cpu()
        assert out.shape == (count, 256) and out.dtype == torch.float32
        tolerance = 0.1 if options["precision"] != "fp32" else 5e-3
        assert torch.allclose(out, right[:count], atol=tolerance), (name, count, (out - right[:count]).abs().max())
    again = model(rows[:3])
    model(rows[3:6])
    assert torch.equal(again, model(rows[:3])), "a later call has overwritten an earlier result"
    assert model.recompiles == 0
    if "graphs" in options:
        assert len(model._graphs) == 4
    print(f"{name}: {timed(model, 1):.0f} us a call, plain {timed(plain, 1):.0f} us")
"""


def test_compiled_models_graphs_and_precisions_give_the_plain_models_answers() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", MODELS],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env=os.environ | {"TIFFIN_DEVICE": "cuda:0"},
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    print(ended.stdout)
