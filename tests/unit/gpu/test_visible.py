from __future__ import annotations

from typing import Any

import pytest

from tiffin.gpu.inventory import Device, Inventory, visible


def board(index: int, **changes) -> Device:
    facts: dict[str, Any] = {
        "uuid": f"GPU-{index}{index}",
        "index": index,
        "name": "H200",
        "memory_total": 80 << 30,
        "memory_free": 80 << 30,
    }
    return Device(**(facts | changes))


FOUR = Inventory(devices=tuple(board(index) for index in range(4)), driver="580.1", cuda="13.0")


@pytest.mark.parametrize(
    ("value", "indices"),
    [
        ("0", [0]),
        ("2,0", [2, 0]),
        ("GPU-33", [3]),
        ("GPU-1,GPU-0", [1, 0]),
        ("0,7,1", [0]),  # the list ends at the first entry that names nothing
        ("0,0", [0]),
        ("0,-1,1", [0]),
        (" 1 , 2", [1, 2]),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(value, indices):
    found = visible(FOUR, {"CUDA_VISIBLE_DEVICES": value})
    assert [device.index for device in found.devices] == indices
    assert found.reason == ""


@pytest.mark.parametrize("value", ["", "-1", "9", "NoDevFiles", "MIG-abc"])
def test_a_list_that_names_nothing_hides_all_and_says_so(value):
    found = visible(FOUR, {"CUDA_VISIBLE_DEVICES": value})
    assert found.devices == ()
    assert f"CUDA_VISIBLE_DEVICES={value!r} hides every GPU" in found.reason
    assert "0 (GPU-00), 1 (GPU-11)" in found.reason


def test_a_slice_is_chosen_by_its_uuid_and_by_its_board():
    whole = board(0)
    slices = tuple(board(1, uuid=f"MIG-{letter}", parent="GPU-11") for letter in "ab")
    found = Inventory(devices=(whole, *slices))
    assert visible(found, {"CUDA_VISIBLE_DEVICES": "MIG-b"}).devices == (slices[1],)
    assert visible(found, {"CUDA_VISIBLE_DEVICES": "GPU-11"}).devices == slices
    assert visible(found, {"CUDA_VISIBLE_DEVICES": "1"}).devices == ()


@pytest.mark.parametrize("value", ["all", "void", "", "0,1,2,3", "4,5,6,7"])
def test_the_container_runtime_showed_what_it_was_told_to(value):
    # Four boards in a container that was given the host's boards 4 to 7: they are numbered from 0 again.
    assert visible(FOUR, {"NVIDIA_VISIBLE_DEVICES": value}).devices == FOUR.devices


@pytest.mark.parametrize(("value", "indices"), [("1", [1]), ("GPU-22,GPU-00", [0, 2])])
def test_the_container_variable_is_honoured_outside_of_a_container(value, indices):
    assert [device.index for device in visible(FOUR, {"NVIDIA_VISIBLE_DEVICES": value}).devices] == indices


def test_none_means_none():
    found = visible(FOUR, {"NVIDIA_VISIBLE_DEVICES": "none"})
    assert found.devices == ()
    assert "NVIDIA_VISIBLE_DEVICES='none' hides every GPU" in found.reason


def test_both_variables_together():
    found = visible(FOUR, {"NVIDIA_VISIBLE_DEVICES": "1,2", "CUDA_VISIBLE_DEVICES": "2,3"})
    assert [device.index for device in found.devices] == [2]


def test_a_machine_without_devices_keeps_its_own_reason():
    empty = Inventory(reason="no NVIDIA driver visible: x")
    assert visible(empty, {"CUDA_VISIBLE_DEVICES": "0"}) is empty
