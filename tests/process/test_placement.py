"""`tiffin serve` on machines with made-up GPUs: what every worker sees, and what is said where there are too few."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tiffin.testing import FakeDevices, TestServer

SERVICE = """
import os
import tiffin

NAMES = (
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "TIFFIN_DEVICE", "TIFFIN_GPU_MEMORY", "OMP_NUM_THREADS",
    "TF_FORCE_GPU_ALLOW_GROWTH",
)


class Base:
    def __init__(self):
        path = os.path.join(os.path.dirname(__file__), "seen", f"{type(self).__name__}-{os.getpid()}")
        with open(path, "w") as file:
            file.write("\\n".join(f"{name}={os.environ.get(name)}" for name in NAMES))

    @tiffin.api
    def where(self) -> dict[str, str]:
        return {"device": tiffin.device()}


"""


def write(folder: Path, *services: str) -> None:
    """Write services, each the arguments of its decorator; the last one depends on the others."""
    text = SERVICE
    for number, options in enumerate(services):
        text += f"@tiffin.service({options})\nclass S{number}(Base):\n    pass\n\n\n"
    if len(services) > 1:
        depends = "".join(f"    s{number} = tiffin.depends(S{number})\n" for number in range(len(services)))
        text += f"@tiffin.service(resources={{'cpu': 1}})\nclass Entry(Base):\n{depends}"
    (folder / "service.py").write_text(text)
    (folder / "seen").mkdir()


def seen(folder: Path, name: str = "S0") -> list[dict[str, str]]:
    """Return what each worker of a service saw, in the order of its devices."""
    written = (path.read_text().splitlines() for path in (folder / "seen").glob(f"{name}-*"))
    found = [dict(line.split("=", 1) for line in lines) for lines in written]
    return sorted(found, key=lambda one: one["CUDA_VISIBLE_DEVICES"])


def devices(folder: Path, name: str = "S0") -> list[str]:
    """Return the numbers of each worker's boards, "0,1"."""
    found = [one["CUDA_VISIBLE_DEVICES"].split(",") for one in seen(folder, name)]
    return [",".join(str(int(uuid.split("-")[1])) for uuid in uuids if uuid) for uuids in found]


def serve(folder: Path, fake: FakeDevices, *options: str, entry: str = "S0", **env: str) -> TestServer:
    return TestServer(f"service.py:{entry}", app_dir=folder, options=options, env=fake.env | env)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


def test_two_workers_with_two_gpus_each(tmp_path):
    write(tmp_path, "workers=2, resources={'gpu': 2}")
    with FakeDevices(4) as fake, serve(tmp_path, fake) as server:
        assert server.post("/where", {}) == (200, {"device": "cuda:0"})
        assert {worker["device"] for worker in server.status()["workers"]} == {"cuda:0"}
    assert devices(tmp_path) == ["0,1", "2,3"]
    first = seen(tmp_path)[0]
    assert first["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert first["TIFFIN_DEVICE"] == "cuda:0"
    assert first["TIFFIN_GPU_MEMORY"] == ""  # they have them for themselves
    assert first["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert first["OMP_NUM_THREADS"] == str(max(1, len(os.sched_getaffinity(0)) // 2))


def test_two_workers_share_one_gpu(tmp_path):
    write(tmp_path, "resources={'gpu': 1}")
    with FakeDevices(1) as fake, serve(tmp_path, fake, "--workers", "2") as server:
        assert "(up to 39.5 GiB)" in server.log()
    assert devices(tmp_path) == ["0", "0"]
    limits = [int(one["TIFFIN_GPU_MEMORY"]) for one in seen(tmp_path)]
    assert limits == [(80 << 30) // 2 - (512 << 20)] * 2


def test_a_worker_for_each_of_eight(tmp_path):
    write(tmp_path, "workers='per_gpu'")
    with FakeDevices(8) as fake, serve(tmp_path, fake):
        pass
    assert devices(tmp_path) == list("01234567")


def test_named_gpus_shares_memory_and_a_type(tmp_path):
    write(
        tmp_path,
        "workers=[{'gpus': [2, 0]}, {'gpus': [1]}]",
        "resources={'gpu_type': 'nvidia-l4', 'gpu_memory': '70GiB'}",
        "workers=2, resources={'gpu': 0.5}",
    )
    names = ["NVIDIA A100-SXM4-80GB"] * 3 + ["NVIDIA L4"] + ["NVIDIA A100-SXM4-80GB"]
    with FakeDevices(5, names=names) as fake, serve(tmp_path, fake, "--set", "workers.placement=pack", entry="Entry"):
        pass
    assert sorted(devices(tmp_path, "S0")) == ["1", "2,0"]
    assert devices(tmp_path, "S1") == ["3"]
    assert seen(tmp_path, "S1")[0]["TIFFIN_GPU_MEMORY"] == str(70 << 30)
    assert len(set(devices(tmp_path, "S2"))) == 1, "two halves, packed onto one"
    assert seen(tmp_path, "Entry")[0]["TIFFIN_DEVICE"] == "cpu"


def test_slices(tmp_path):
    write(tmp_path, "workers=2, resources={'gpu': 1}")
    with FakeDevices(1, mig="2") as fake, serve(tmp_path, fake):
        pass
    uuids = [one["CUDA_VISIBLE_DEVICES"] for one in seen(tmp_path)]
    assert len(set(uuids)) == 2
    assert all(uuid.startswith("MIG-") for uuid in uuids)


@pytest.mark.parametrize(
    ("visible", "boards"), [("1", ["1"]), ("1,0", ["1"]), ("GPU-00000002", ["2"]), ("", [""]), ("-1", [""])]
)
def test_the_operators_choice_is_kept(tmp_path, visible, boards):
    write(tmp_path, "")
    with FakeDevices(3) as fake, serve(tmp_path, fake, CUDA_VISIBLE_DEVICES=visible) as server:
        if boards == [""]:
            assert "S0 runs on the CPU: CUDA_VISIBLE_DEVICES=" in server.log()
    assert devices(tmp_path) == boards


def test_without_a_gpu_the_cpu_and_a_loud_word(tmp_path):
    write(tmp_path, "")
    with FakeDevices(0) as fake, serve(tmp_path, fake) as server:
        assert "S0 runs on the CPU: driver 580.65.06 is loaded, but it shows no GPU" in server.log()
        assert server.post("/where", {}) == (200, {"device": "cpu"})
    assert seen(tmp_path)[0]["CUDA_VISIBLE_DEVICES"] == ""


def test_device_cpu_is_loud(tmp_path):
    write(tmp_path, "resources={'gpu': 2}")
    with FakeDevices(2) as fake, serve(tmp_path, fake, "--device", "cpu") as server:
        assert "S0 asks for 2 GPU(s) and runs on the CPU, as --device cpu says" in server.log()
        assert server.post("/where", {}) == (200, {"device": "cpu"})


def fails(folder: Path, fake: FakeDevices, *options: str) -> tuple[int, str]:
    argv = [sys.executable, "-m", "tiffin", "serve", "service.py:S0", "--port", "0", *options]
    ended = subprocess.run(argv, cwd=folder, env=fake.environ, capture_output=True, text=True, check=False, timeout=60)
    return ended.returncode, ended.stderr


def test_too_few_is_an_error_before_any_worker_starts(tmp_path):
    write(tmp_path, "resources={'gpu': 3}")
    with FakeDevices(2) as fake:
        status, said = fails(tmp_path, fake)
    assert status == 69
    assert "not enough GPUs for service S0: a worker asks for 3 GPUs, and 2 can be used" in said
    assert "  0    NVIDIA Fake 80GB  80.0 GiB  80.0 GiB  free\n" in said
    assert "hint: run on the CPU: --device cpu" in said
    assert "pid" not in said
    assert not seen(tmp_path)


@pytest.mark.parametrize(
    ("options", "settings", "words"),
    [
        ("resources={'gpu_memory': '70GiB'}", {"busy": 0}, "less than 70.5 GiB free"),
        ("resources={'gpu': 1, 'exclusive': True}, workers=2", {}, "no room for worker 2 of 2"),
        ("resources={'gpu': 1}, workers=2", {"mode": "exclusive"}, "its compute mode allows one process"),
        ("resources={'gpu': 1}", {"init": 18}, "library and its kernel module have different versions"),
        ("resources={'gpu': 1}", {"lost": 0}, "GPU 0 cannot be used: GPU is lost"),
        (
            "workers=[{'gpus': ['MIG-77']}]",
            {"mig": "2"},
            "GPU MIG-77 is not visible here: GPU 0 NVIDIA Fake 80GB slice",
        ),
    ],
)
def test_too_full_lost_or_wrong_is_said(tmp_path, options, settings, words):
    write(tmp_path, options)
    with FakeDevices(1, **settings) as fake:
        status, said = fails(tmp_path, fake)
    assert (status, words in said) == (69, True), said


def test_a_wrong_value_is_said_where_the_class_is_written(tmp_path):
    write(tmp_path, "resources={'gpu': 1.5}")
    with FakeDevices(1) as fake:
        status, said = fails(tmp_path, fake)
    assert status == 65
    assert "S0: resources gpu=1.5" in said
    assert "a share of one between 0 and 1" in said
