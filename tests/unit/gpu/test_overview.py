"""The picture of made-up devices, readings and processes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.gpu.test_visible import board
from tiffin.gpu.inventory import Inventory
from tiffin.gpu.live import Look, Process, Reading
from tiffin.gpu.occupants import Here, Worker
from tiffin.gpu.overview import Overview, Stranger, Tenant, overview

GIB = 1 << 30
FOUND = Inventory(devices=tuple(board(index) for index in range(3)), driver="580.1", cuda="13.0")
LOOK = Look(
    readings=tuple(Reading(uuid=f"GPU-{index}{index}", index=index, name="H200", processes=()) for index in range(3))
)


def worker(number: int = 0, **changes: Any) -> Worker:
    facts: dict[str, Any] = {
        "pid": 100 + number,
        "service": "Digits",
        "worker": number,
        "members": frozenset({100 + number}),
    }
    return Worker(**(facts | changes))


def on(uuid: str, *processes: Process, **changes: Any) -> Reading:
    facts: dict[str, Any] = {"uuid": uuid, "index": 0, "name": "H200", "processes": processes}
    return Reading(**(facts | changes))


def shown(here: Here, *readings: Reading, found: Inventory = FOUND, environ: dict[str, str] | None = None) -> Overview:
    return overview(found, Look(readings=readings), here, environ or {})


def test_a_worker_is_where_the_driver_sees_it_with_the_memory_that_the_driver_sees():
    here = Here(workers=(worker(uuids=("GPU-00",), memory_bytes=1),))
    picture = shown(here, on("GPU-00", Process(100, 3 * GIB)), on("GPU-11", index=1))
    assert picture.devices[0].workers == (
        Tenant(service="Digits", worker=0, pid=100, memory_bytes=3 * GIB, source="driver"),
    )
    assert picture.devices[0].processes == ()
    assert picture.devices[1].workers == ()


def test_what_a_worker_started_is_the_workers():
    ranks = frozenset({100, 201, 202})
    picture = shown(Here(workers=(worker(members=ranks),)), on("GPU-00", Process(201, GIB), Process(202, GIB)))
    assert picture.devices[0].workers[0].memory_bytes == 2 * GIB
    assert picture.devices[0].processes == ()


def test_a_worker_that_has_not_touched_its_device_yet_is_there_all_the_same():
    picture = shown(Here(workers=(worker(uuids=("GPU-00", "GPU-22")),)), *LOOK.readings)
    assert [[tenant.worker for tenant in device.workers] for device in picture.devices] == [[0], [], [0]]
    assert picture.devices[0].workers[0].memory_bytes is None
    assert picture.devices[0].workers[0].source == ""


def test_a_worker_whose_card_cannot_be_read_is_found_by_its_pid():
    picture = shown(Here(workers=(worker(),)), on("GPU-00", Process(100, None)), on("GPU-11", index=1))
    assert picture.devices[0].workers == (Tenant(service="Digits", worker=0, pid=100),)
    assert picture.devices[1].workers == ()


def test_others_are_named_as_the_process_list_names_them():
    here = Here(names={7: "python train.py"})
    picture = shown(here, on("GPU-00", Process(7, GIB), Process(8, None)))
    assert picture.devices[0].processes == (
        Stranger(pid=7, memory_bytes=GIB, name="python train.py"),
        Stranger(pid=8, memory_bytes=None, name=""),
    )


def test_in_a_container_workers_are_where_their_cards_say_and_report_their_own_memory():
    # The host's process 100 is not our worker 100.
    here = Here(workers=(worker(uuids=("GPU-11",), memory_bytes=GIB),), names={100: "tiffin: worker"}, host=False)
    picture = shown(here, on("GPU-00", Process(100, 5 * GIB)), on("GPU-11", index=1))
    assert picture.devices[0].workers == ()
    assert picture.devices[0].processes == (Stranger(pid=100, memory_bytes=5 * GIB, name=""),)
    assert picture.devices[1].workers == (
        Tenant(service="Digits", worker=0, pid=100, memory_bytes=GIB, source="worker"),
    )
    assert "host's pids" in picture.notes[0]


def test_hidden_devices_are_left_out_and_counted():
    picture = shown(Here(), *LOOK.readings, environ={"CUDA_VISIBLE_DEVICES": "2,0"})
    assert [device.index for device in picture.devices] == [0, 2]
    assert picture.notes == ("1 more device(s) are hidden by CUDA_VISIBLE_DEVICES or NVIDIA_VISIBLE_DEVICES",)
    picture = shown(Here(), *LOOK.readings, environ={"CUDA_VISIBLE_DEVICES": ""})
    assert (picture.devices, picture.notes) == ((), ())
    assert picture.reason.startswith("CUDA_VISIBLE_DEVICES='' hides every GPU")


def test_slices_follow_their_board_which_leaves_the_processes_to_them():
    found = Inventory(devices=(board(0, uuid="MIG-a", parent="GPU-00", capability=(8, 0)), board(1)))
    process = Process(7, GIB)
    picture = shown(
        Here(),
        on("GPU-00", process, sliced=True),
        on("MIG-a", process, parent="GPU-00"),
        on("GPU-11", index=1),
        found=found,
    )
    whole, part, other = picture.devices
    assert (whole.mig, whole.capability, whole.processes) == (True, "8.0", ())
    assert (part.parent, part.processes) == ("GPU-00", (Stranger(pid=7, memory_bytes=GIB),))
    assert (other.mig, other.capability) == (False, "0.0")
    readings = (on("GPU-00", sliced=True), on("MIG-a", parent="GPU-00"), on("GPU-11", index=1))
    without = shown(Here(), *readings, found=found, environ={"CUDA_VISIBLE_DEVICES": "1"})
    assert [device.uuid for device in without.devices] == ["GPU-11"]


def test_a_lost_board_is_shown_once():
    found = Inventory(devices=(board(0),), problems=("GPU 1 cannot be used: GPU is lost", "something else"))
    picture = shown(Here(), on("GPU-00"), Reading(uuid="", index=1, problem="GPU 1 is lost"), found=found)
    assert [device.problem for device in picture.devices] == ["", "GPU 1 is lost"]
    assert picture.notes == ("something else",)
    assert picture.reason == ""


def test_the_worker_of_a_lost_board_is_shown_on_it_when_there_is_no_doubt():
    found = Inventory(devices=(board(0),))
    lost = Reading(uuid="", index=1, problem="GPU 1 is lost")
    here = Here(workers=(worker(0, uuids=("GPU-00",)), worker(1, uuids=("GPU-11",))))
    fine, gone = shown(here, on("GPU-00"), lost, found=found).devices
    assert [tenant.worker for tenant in fine.workers] == [0]
    assert (gone.uuid, [tenant.worker for tenant in gone.workers]) == ("GPU-11", [1])
    both = shown(here, lost, Reading(uuid="", index=0, problem="GPU 0 is lost"), found=found).devices
    assert [(device.uuid, device.workers) for device in both] == [("", ()), ("", ())]


def test_a_machine_without_devices_says_why_and_nothing_else():
    picture = overview(Inventory(reason="no NVIDIA driver visible: x"), Look(reason="x"), Here(), {})
    assert picture == Overview(reason="no NVIDIA driver visible: x")


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"throttled": ("power cap", "reliability")}, "GPU 0 runs slower than it could: power cap, reliability"),
        (
            {"ecc_uncorrected": 3},
            "GPU 0 had 3 uncorrectable memory error(s) since the driver was loaded (see tiffin doctor)",
        ),
        ({"ecc_uncorrected": 0, "ecc_corrected": 7}, None),
    ],
)
def test_trouble_is_noted(changes, note):
    assert shown(Here(), on("GPU-00", **changes)).notes == ((note,) if note else ())
