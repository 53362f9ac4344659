"""The doctor on this machine, with a made-up driver, and its child processes."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tiffin.gpu.doctor.proof import prove

FAKES = Path(__file__).parents[1] / "fakes"
DRIVER = "import sys; from tiffin.gpu.doctor import cuda_driver, proof; import msgspec; "
DRIVER += "print(proof.MARK + msgspec.json.encode(cuda_driver.prove()).decode())"
TRACES = ("/dev/nvidiactl", "/proc/driver/nvidia", "/dev/dxg", "/etc/nv_tegra_release")
here = pytest.mark.skipif(any(Path(path).exists() for path in TRACES), reason="this machine has an NVIDIA driver")


def doctor(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.endswith("VISIBLE_DEVICES")}
    argv = [sys.executable, "-m", "tiffin", "doctor", *args]
    return subprocess.run(argv, env=clean | env, capture_output=True, text=True, timeout=90, check=False)


def build(folder: Path, source: str, library: str) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) to build the made-up driver with")
    argv = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{library}", "-o", str(folder / library), str(FAKES / source)]
    subprocess.run(argv, check=True)
    return folder


@pytest.fixture(scope="module")
def nvml(tmp_path_factory) -> Callable[..., dict[str, str]]:
    """Return what gives the environment that shows made-up boards; settings are those of the head of nvml.c."""
    if not (FAKES / "nvml" / "nvml.c").exists():  # it has moved to where services' tests find it, too
        return lambda **settings: importlib.import_module("tiffin.testing.devices").FakeDevices(**settings).env
    folder = build(tmp_path_factory.mktemp("nvml"), "nvml/nvml.c", "libnvidia-ml.so.1")
    return lambda **settings: {
        "LD_LIBRARY_PATH": str(folder),
        **{f"FAKE_NVML_{name.upper()}": str(value) for name, value in settings.items()},
    }


@pytest.fixture(scope="module")
def cuda(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("cuda"), "cuda/cuda.c", "libcuda.so.1")


@here
def test_a_machine_without_a_gpu_gets_one_calm_line():
    ran = doctor()
    assert ran.stdout == (
        "no NVIDIA GPU here (nothing on the PCI bus, no driver): services run on the CPU; nothing to mend\n"
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(json.loads(doctor("--json").stdout)["findings"]) == 1


@here
def test_a_library_without_a_module_is_one_error_and_the_rest_is_skipped(nvml):
    ran = doctor("--json", **nvml(gpus=2))
    report = json.loads(ran.stdout)
    assert [one["check"] for one in report["findings"] if one["level"] == "error"] == ["kernel-module"]
    assert (ran.returncode, report["status"], len(report["devices"])) == (2, 2, 2)


def test_the_made_up_driver_is_read_to_its_errors(nvml):
    code = "from tiffin.gpu.doctor.nvml import read_nvml; from tiffin.gpu.host import LocalHost; "
    code += "import msgspec; print(msgspec.json.encode(read_nvml(LocalHost())).decode())"

    def look(**settings: object):
        whole = dict(os.environ) | nvml(**settings)
        return json.loads(
            subprocess.run([sys.executable, "-c", code], env=whole, capture_output=True, check=True).stdout
        )

    found = look(gpus=2, lost=1, mig=2)
    assert [(one["mig"], len(one["slices"]), one["code"]) for one in found["boards"]] == [(True, 2, 0), (None, 0, 15)]
    assert (found["driver"], found["cuda"]) == ("580.65.06", "13.0")
    assert found["boards"][0]["capability"] == [9, 0]
    assert (look(init=18)["code"], look(init=18)["loaded"]) == (18, True)


def test_the_round_trip_through_the_driver(cuda, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", str(cuda))
    monkeypatch.setenv("FAKE_CUDA_DEVICES", "3")
    monkeypatch.setenv("FAKE_CUDA_FULL", "1")
    monkeypatch.setenv("FAKE_CUDA_WRONG", "2")
    found = prove((sys.executable, "-c", DRIVER), 60)
    assert (found.end, found.engine) == ("done", "CUDA driver 13.0, no framework")
    assert [(one.name, one.error) for one in found.devices] == [
        ("0 Fake 0", ""),
        ("1 Fake 1", "cuMemAlloc_v2: CUDA_ERROR_OUT_OF_MEMORY (2)"),
        ("2 Fake 2", "what came back is not what was sent"),
    ]
    monkeypatch.setenv("FAKE_CUDA_INIT", "35")
    assert prove((sys.executable, "-c", DRIVER), 60).error == "cuInit: CUDA_ERROR_INSUFFICIENT_DRIVER (35)"


def test_a_child_that_crashes_shows_where():
    found = prove((sys.executable, "-c", "import os; os.abort()"), 60)
    assert (found.end, found.error) == ("crashed", "ended by SIGABRT")
    assert found.last_lines[0] == "Fatal Python error: Aborted"


def test_a_child_of_the_child_does_not_hold_us_up():
    code = "import subprocess, sys, time; subprocess.Popen(['sleep', '600']); time.sleep(600)"
    assert prove((sys.executable, "-c", code), 3).end == "timeout"


def test_a_child_that_hangs_is_killed():
    found = prove((sys.executable, "-uc", "import time; print('on my way'); time.sleep(600)"), 3)
    assert (found.end, found.last_lines) == ("timeout", ("on my way",))


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("torch", "with_torch('cpu')"),
        ("onnxruntime", "with_onnxruntime('CPUExecutionProvider')"),
        ("tensorflow", "with_tensorflow('CPU')"),
    ],
)
def test_each_frameworks_product_is_right_on_the_cpu(package, call):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    code = f"import msgspec; from tiffin.gpu.doctor import computation as c, proof; p = c.{call}; "
    code += "print(proof.MARK + msgspec.json.encode(p).decode())"
    found = prove((sys.executable, "-c", code), 100)
    assert (found.end, found.error) == ("done", ""), found
    assert [one.error for one in found.devices] == [""]
    assert found.devices[0].time_ms > 0


@pytest.mark.gpu
def test_a_real_gpu_is_proved():
    found = prove()
    assert (found.end, found.error) == ("done", "")
    assert found.devices
    assert not any(one.error for one in found.devices)
