"""The examples with several GPUs in one worker: right answers on the CPU, and a group that dies and comes back whole."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.process.load import Load
from tests.process.test_supervisor import gone
from tiffin.testing import FakeDevices, TestServer

EXAMPLES = Path(__file__).parents[2] / "examples" / "multi_gpu"
ROWS = [[1, 2, 3, 4], [0, 0, 0, 1], [-1, 0, 0, 0]]
RIGHT = [[10.0, -10.0], [1.0, -1.0], [-1.0, 1.0]]


def on_cpu(target: str) -> TestServer:
    return TestServer(target, app_dir=EXAMPLES, options=["--device", "cpu"], start_s=100)


def rows(number: int) -> tuple[Any, Any]:
    return {"rows": [[number, 1, 2, 3]]}, [[number + 6.0, -number - 6.0]]


@pytest.mark.torch
def test_data_parallel() -> None:
    with on_cpu("data_parallel.py:Parallel") as server:
        assert server.post("/predict", {"rows": ROWS}) == (200, RIGHT)
        assert server.post("/devices", {}) == (200, [])


@pytest.mark.torch
def test_ranks_share_a_batch_and_the_death_of_one_replaces_the_group() -> None:
    with on_cpu("ranks.py:Ranks") as server:
        for count in (1, 2, 3):
            assert server.post("/predict", {"rows": ROWS[:count]}) == (200, RIGHT[:count])
        status, old = server.post("/ranks", {})
        assert status == 200
        assert len(set(old)) == 2
        with Load(server.port, "/predict", 8, rows) as load:
            time.sleep(0.3)
            os.kill(old[1], signal.SIGKILL)
            assert gone(*old), "the whole group ends"
            status, new = server.post("/ranks", {})
            assert status == 200
            time.sleep(0.3)
        assert set(load.outcomes) == {"ok"}, load.problems
        assert not set(new) & set(old)
        assert server.post("/predict", {"rows": ROWS}) == (200, RIGHT)


@pytest.mark.tensorflow
def test_mirrored() -> None:
    with on_cpu("mirrored.py:Mirrored") as server:
        assert server.post("/predict", {"rows": ROWS}) == (200, RIGHT)
        assert server.post("/replicas", {}) == (200, 1)


def test_one_worker_sees_both_boards(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(
        "import os\nimport tiffin\n\n@tiffin.service(resources={'gpu': 2})\nclass Two:\n    @tiffin.api\n"
        "    def seen(self) -> list[str]:\n        return os.environ['CUDA_VISIBLE_DEVICES'].split(',')\n"
    )
    with FakeDevices(2) as fake, TestServer("service.py:Two", app_dir=tmp_path, env=fake.env) as server:
        status, seen = server.post("/seen", {})
    assert status == 200
    assert [uuid[:12] for uuid in seen] == ["GPU-00000000", "GPU-00000001"]


@pytest.mark.gpu
@pytest.mark.torch
@pytest.mark.parametrize("target", ["data_parallel.py:Parallel", "ranks.py:Ranks"])
def test_on_real_gpus(target: str) -> None:
    import torch

    if torch.cuda.device_count() < 2:
        pytest.skip("this machine has one GPU, the examples take two")
    with TestServer(target, app_dir=EXAMPLES, start_s=100) as server:
        assert server.post("/predict", {"rows": ROWS}) == (200, RIGHT)
