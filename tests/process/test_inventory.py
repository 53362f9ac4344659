"""The inventory against a driver library that is made up, in a process of its own (the library's folder is fixed at its start)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from tiffin.gpu.inventory import Inventory
from tiffin.testing.devices import FakeDevices

LOOK = "import sys, msgspec; from tiffin.gpu import inventory; sys.stdout.buffer.write(msgspec.json.encode(inventory.take()))"


def look(environ: Mapping[str, str], **env: str) -> Inventory:
    out = subprocess.run(
        [sys.executable, "-c", LOOK], env={**environ, **env}, stdout=subprocess.PIPE, check=True, timeout=30
    )
    return msgspec.json.decode(out.stdout, type=Inventory)


def fake(gpus: int = 1, *, hidden: str | None = None, old: bool = False, **settings: Any) -> Inventory:
    with FakeDevices(gpus, old=old, **settings) as devices:
        return look(devices.environ, **({} if hidden is None else {"CUDA_VISIBLE_DEVICES": hidden}))


def test_two_boards():
    found = fake(2)
    assert [device.uuid[:12] for device in found.devices] == ["GPU-00000000", "GPU-00000001"]
    assert found.devices[0].name == "NVIDIA Fake 80GB"
    assert found.devices[0].memory_total == found.devices[0].memory_free == 80 << 30
    assert found.devices[0].capability == (9, 0)
    assert found.devices[1].bus == "00000000:02:00.0"
    assert found.devices[0].compute_mode == "default"
    assert (found.driver, found.cuda, found.reason) == ("580.65.06", "13.0", "")


@pytest.mark.parametrize("gpus", [1, 8])
def test_every_board_is_found_with_its_own_facts(gpus):
    found = fake(
        gpus,
        names=["NVIDIA A100-SXM4-80GB", "NVIDIA L4"],
        memory=[81920, 23034],
        capability=["8.0", "8.9"],
        mode=["exclusive", "prohibited", "thread", "default"],
    )
    assert [device.index for device in found.devices] == list(range(gpus))
    names = ["NVIDIA A100-SXM4-80GB", *["NVIDIA L4"] * 7]
    assert [device.name for device in found.devices] == names[:gpus]
    assert found.devices[0].capability == (8, 0)
    modes = ["exclusive", "prohibited", "exclusive", "default", "default", "default", "default", "default"]
    assert [device.compute_mode for device in found.devices] == modes[:gpus]
    if gpus > 1:
        assert found.devices[7].memory_total == 23034 << 20
        assert found.devices[7].capability == (8, 9)


def test_the_environment_chooses():
    assert [device.index for device in fake(3, hidden="2").devices] == [2]
    assert [device.index for device in fake(3, hidden="GPU-00000002,0").devices] == [2, 0]
    assert "hides every GPU" in fake(hidden="").reason


def test_an_entry_that_names_nothing_is_a_problem_that_names_the_choices():
    found = fake(2, hidden="0,7")
    assert [device.index for device in found.devices] == [0]
    assert len(found.problems) == 1
    assert "CUDA_VISIBLE_DEVICES='0,7': '7' names nothing" in found.problems[0]
    assert "1 (GPU-00000001-0000" in found.problems[0]


def test_a_lost_board_is_a_problem_and_the_rest_is_used():
    found = fake(2, lost="0")
    assert [device.index for device in found.devices] == [1]
    assert found.problems == ("GPU 0 cannot be used: GPU is lost",)
    assert fake(lost="0").reason == "no usable GPU: GPU 0 cannot be used: GPU is lost"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (9, "no NVIDIA driver visible: the kernel module is not loaded"),
        (18, "no NVIDIA driver visible: the driver's library and its kernel module have different versions"),
        (4, "no permission to open /dev/nvidiactl"),
        (15, "a GPU has fallen off the bus"),
        (999, "access to the devices was lost"),
        (10, "NVML does not start"),
    ],
)
def test_a_driver_that_does_not_start_says_why(code, words):
    found = fake(init=code)
    assert found.devices == ()
    assert words in found.reason


def test_no_boards():
    assert fake(0).reason.startswith("driver 580.65.06 is loaded, but it shows no GPU")


def test_slices():
    found = fake(2, mig="2")
    assert [device.uuid[:4] for device in found.devices] == ["MIG-", "MIG-", "GPU-"]
    assert found.devices[0].parent.startswith("GPU-00000000")
    assert [device.instance for device in found.devices] == ["1/0", "2/0", ""]
    assert "has no instances" in fake(mig="0").reason


def test_slices_of_different_sizes():
    found = fake(2, mig="3g.40gb,1g.10gb;1g.20gb")
    assert [device.memory_total >> 30 for device in found.devices] == [40, 10, 20]
    assert [device.index for device in found.devices] == [0, 0, 1]


def test_a_slice_is_chosen_by_both_of_its_names():
    new = "MIG-00000000-0000-0000-0000-000000000001"
    old = "MIG-GPU-00000000-0000-0000-0000-000000000000/2/0"
    assert [device.uuid for device in fake(mig="2", hidden=new).devices] == [new]
    assert [device.uuid for device in fake(mig="2", hidden=old).devices] == [new]


def test_a_busy_board_shows_its_memory():
    assert fake(busy="0").devices[0].memory_free < 10 << 30
    held = fake(processes="0 4711 1024;0 4712 -").devices[0]
    assert held.memory_total - held.memory_free == 1 << 30


@pytest.mark.parametrize(
    "settings",
    [
        {"old": True},
        {
            "unsupported": "nvmlDeviceGetPciInfo_v3,nvmlDeviceGetComputeMode,nvmlDeviceGetMigMode,nvmlDeviceGetMemoryAffinity"
        },
    ],
)
def test_what_a_driver_does_not_tell_loses_no_board(settings):
    found = fake(2, **settings)
    assert len(found.devices) == 2
    assert found.problems == ()
    assert (found.devices[0].bus, found.devices[0].numa, found.devices[0].compute_mode) == ("", -1, "default")


def test_a_board_that_shares_the_hosts_memory_has_none_of_its_own():
    assert fake(unsupported="nvmlDeviceGetMemoryInfo").devices[0].memory_total == 0


def test_a_library_that_is_none(tmp_path):
    (tmp_path / "libnvidia-ml.so.1").write_text("this is no library")
    found = look({**os.environ, "LD_LIBRARY_PATH": str(tmp_path)})
    assert found.reason.startswith("no NVIDIA driver visible: libnvidia-ml.so.1 cannot be loaded: ")


@pytest.mark.parametrize(("placed", "answer"), [("cuda:0", "cuda:0"), ("cpu", "cpu"), (None, "cuda:0")])
def test_device(placed, answer):
    code = "from tiffin.gpu.device import device; print(device())"
    with FakeDevices() as devices:
        env = devices.environ | ({"TIFFIN_DEVICE": placed} if placed else {})
        argv = [sys.executable, "-c", code]
        out = subprocess.run(argv, env=env, stdout=subprocess.PIPE, text=True, check=True, timeout=30)
    assert out.stdout.strip() == answer


@pytest.mark.gpu
def test_a_real_board():
    found = look(os.environ)
    assert found.devices
    assert found.devices[0].uuid.startswith(("GPU-", "MIG-"))
    assert found.driver
