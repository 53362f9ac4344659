"""The inventory against a driver library that is made up, in a process of its own (the library's folder is fixed at its start)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tiffin.gpu.inventory import Inventory

SOURCE = Path(__file__).parents[1] / "fakes" / "nvml" / "nvml.c"
LOOK = "import sys, msgspec; from tiffin.gpu import inventory; sys.stdout.buffer.write(msgspec.json.encode(inventory.take()))"


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> Path:
    """Return the folder of the made-up driver library."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) to build the made-up driver with")
    folder: Path = tmp_path_factory.mktemp("driver")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1", "-o", library, SOURCE], check=True)
    return folder


def look(driver: Path | None, **env: str) -> Inventory:
    clean = {name: value for name, value in os.environ.items() if not name.endswith("VISIBLE_DEVICES")}
    library = {"LD_LIBRARY_PATH": str(driver)} if driver else {}
    out = subprocess.run(
        [sys.executable, "-c", LOOK], env=clean | library | env, stdout=subprocess.PIPE, check=True, timeout=30
    )
    return msgspec.json.decode(out.stdout, type=Inventory)


def test_two_boards(driver):
    found = look(driver, FAKE_NVML_GPUS="2")
    assert [device.uuid[:12] for device in found.devices] == ["GPU-00000000", "GPU-00000001"]
    assert found.devices[0].name == "NVIDIA Fake 80GB"
    assert found.devices[0].memory_total == found.devices[0].memory_free == 80 << 30
    assert found.devices[0].capability == (9, 0)
    assert (found.driver, found.cuda, found.reason) == ("580.65.06", "13.0", "")


def test_the_environment_chooses(driver):
    assert [device.index for device in look(driver, FAKE_NVML_GPUS="3", CUDA_VISIBLE_DEVICES="2").devices] == [2]
    assert "hides every GPU" in look(driver, CUDA_VISIBLE_DEVICES="").reason


def test_a_lost_board_is_a_problem_and_the_rest_is_used(driver):
    found = look(driver, FAKE_NVML_GPUS="2", FAKE_NVML_LOST="0")
    assert [device.index for device in found.devices] == [1]
    assert found.problems == ("GPU 0 cannot be used: GPU is lost",)
    assert look(driver, FAKE_NVML_LOST="0").reason == "no usable GPU: GPU 0 cannot be used: GPU is lost"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("9", "no NVIDIA driver visible: the kernel module is not loaded"),
        ("18", "no NVIDIA driver visible: the driver's library and its kernel module have different versions"),
        ("999", "access to the devices was lost"),
        ("10", "NVML does not start"),
    ],
)
def test_a_driver_that_does_not_start_says_why(driver, code, words):
    found = look(driver, FAKE_NVML_INIT=code)
    assert found.devices == ()
    assert words in found.reason


def test_no_boards(driver):
    assert look(driver, FAKE_NVML_GPUS="0").reason.startswith("driver 580.65.06 is loaded, but it shows no GPU")


def test_slices(driver):
    found = look(driver, FAKE_NVML_GPUS="2", FAKE_NVML_MIG="2")
    assert [device.uuid[:4] for device in found.devices] == ["MIG-", "MIG-", "GPU-"]
    assert found.devices[0].parent.startswith("GPU-00000000")
    assert "has no instances" in look(driver, FAKE_NVML_MIG="0").reason


def test_a_busy_board_shows_its_memory(driver):
    assert look(driver, FAKE_NVML_BUSY="0").devices[0].memory_free < 10 << 30


def test_a_library_that_is_none(tmp_path):
    (tmp_path / "libnvidia-ml.so.1").write_text("this is no library")
    assert look(tmp_path).reason.startswith("no NVIDIA driver visible: libnvidia-ml.so.1 cannot be loaded: ")


@pytest.mark.parametrize(("placed", "answer"), [("cuda:0", "cuda:0"), ("cpu", "cpu"), (None, "cuda:0")])
def test_device(driver, placed, answer):
    env = dict(os.environ, LD_LIBRARY_PATH=str(driver)) | ({"TIFFIN_DEVICE": placed} if placed else {})
    code = "from tiffin.gpu.device import device; print(device())"
    out = subprocess.run(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True, check=True, timeout=30
    )
    assert out.stdout.strip() == answer


@pytest.mark.gpu
def test_a_real_board():
    found = look(None)
    assert found.devices
    assert found.devices[0].uuid.startswith(("GPU-", "MIG-"))
    assert found.driver
