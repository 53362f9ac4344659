"""What `tiffin doctor` prints for made-up machines, compared letter for letter with the files in golden/.

To accept a change: TIFFIN_GOLDEN=write python -m pytest tests/unit/gpu/doctor/test_golden.py, then read the diff.
"""

from __future__ import annotations

import json
import os
from errno import EACCES
from pathlib import Path

import click
import pytest

from tests.unit.gpu.doctor.conditions import IN_DOCKER, MISMATCH, NO_DRIVER, NO_MODULE, fell_off, with_torch
from tests.unit.gpu.doctor.machines import GIB, LIBRARY, PCI, RELEASES, VERSION, examined, gpu, machine, working
from tiffin.cli.doctor import as_report, as_text
from tiffin.gpu.doctor.finding import exit_status
from tiffin.gpu.doctor.nvml import Occupant
from tiffin.gpu.doctor.packages import Packages

GOLDEN = Path(__file__).parent / "golden"
NEW_LIBRARY = LIBRARY.rpartition(".so.")[0] + ".so.580.95.05"
GUEST = Occupant(pid=4711, name="python3", memory=70 * GIB)
NOTHING = ("/sys/bus", VERSION, "/proc/modules", "/dev/nvidia", LIBRARY)

MACHINES = {
    "healthy": (machine(), 0),
    "no_gpu": (machine(without=NOTHING, nvml=NO_DRIVER, packages=Packages()), 0),
    "nouveau": (
        machine(**NO_MODULE, links={f"{PCI}/driver": "x/nouveau"}, files={"/sys/module/nouveau/refcnt": "1"}),
        2,
    ),
    "no_driver_rhel": (machine(**NO_MODULE, files={"/etc/os-release": RELEASES["rhel"]}), 2),
    "mismatch": (machine(nvml=MISMATCH, files={NEW_LIBRARY: ""}, without=(LIBRARY,)), 2),
    "no_uvm": (machine(without=("/dev/nvidia-uvm",)), 2),
    "permission": (machine(errors={"/dev/nvidiactl": EACCES, "/dev/nvidia0": EACCES}), 2),
    "old_driver": (machine(nvml=working(gpu(), driver="550.90", cuda="12.4"), packages=with_torch("13.0")), 2),
    "cpu_wheel": (machine(packages=with_torch("")), 1),
    "mig_empty": (machine(nvml=working(gpu(mig=True))), 2),
    "busy_exclusive": (
        machine(nvml=working(gpu(compute_mode="exclusive", memory_free=3 * GIB, occupants=(GUEST,)))),
        1,
    ),
    "xid_79": (machine(commands=fell_off(79), nvml=working(gpu(0, problem="GPU is lost", code=15), gpu(1))), 2),
    "wsl": (machine(files={"/dev/dxg": "", "/proc/version": "microsoft"}, without=("/sys/bus", VERSION, LIBRARY)), 0),
    "container_without_library": (machine(nvml=NO_DRIVER, without=(LIBRARY, "/dev/nvidia"), files=IN_DOCKER), 2),
    "hidden": (machine(environ={"CUDA_VISIBLE_DEVICES": "-1"}), 2),
}


def compare(name: str, text: str) -> None:
    file = GOLDEN / name
    if os.environ.get("TIFFIN_GOLDEN") == "write":
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize("name", MACHINES)
def test_text(name):
    facts, status = MACHINES[name]
    found = examined(facts)
    assert exit_status(found) == status
    compare(f"{name}.txt", click.unstyle(as_text(found)) + "\n")


def test_verbose_text():
    compare("healthy_verbose.txt", click.unstyle(as_text(examined(machine()), verbose=True)) + "\n")


def test_json():
    facts = machine(nvml=MISMATCH, files={NEW_LIBRARY: ""}, without=(LIBRARY,))
    text = as_report(facts, examined(facts))
    compare("mismatch.json", text + "\n")
    assert list(json.loads(text)) == ["version", "status", "system", "devices", "findings"]


def test_every_golden_file_is_compared():
    names = {f"{name}.txt" for name in MACHINES} | {"healthy_verbose.txt", "mismatch.json"}
    assert {file.name for file in GOLDEN.iterdir()} == names


def test_one_cause_is_one_error():
    facts, _status = MACHINES["nouveau"]
    assert [one.check for one in examined(facts) if one.level == "error"] == ["nouveau"]
