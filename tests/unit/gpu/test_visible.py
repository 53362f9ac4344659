from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize(
    ("value", "indices", "problem"),
    [
        ("0,1", [0, 1], ""),
        ("0,1,", [0, 1], ""),  # a comma too many
        ("0,-1", [0], ""),  # the usual way to end a list
        ("0,-1,x", [0], ""),
        ("0,-1,2", [0], "-1 ends the list"),
        ("0,7,1", [0], "'7' names nothing and ends the list"),
        ("0,,1", [0], "'' names nothing and ends the list"),
        ("0, GPU-x", [0], "'GPU-x' names nothing and ends the list"),
        ("0,1,0", [0, 1], "names '0' twice: it is used once"),
        ("GPU-11,1", [1], "names '1' twice: it is used once"),
        ("2,GPU-", [2], "'GPU-' is the beginning of more than one uuid"),
    ],
)
def test_what_a_list_may_not_mean_is_said_with_the_value(value, indices, problem):
    found = visible(FOUR, {"CUDA_VISIBLE_DEVICES": value})
    assert [device.index for device in found.devices] == indices
    assert len(found.problems) == bool(problem)
    for line in found.problems:
        assert problem in line
        assert f"CUDA_VISIBLE_DEVICES={value!r}" in line
        assert "twice" in line or "there are 0 (GPU-00), 1 (GPU-11), 2 (GPU-22), 3 (GPU-33)" in line


def test_problems_of_boards_are_kept():
    broken = Inventory(devices=FOUR.devices, problems=("GPU 4 cannot be used: GPU is lost",))
    assert visible(broken, {"CUDA_VISIBLE_DEVICES": "0"}).problems == broken.problems
    assert visible(broken, {"CUDA_VISIBLE_DEVICES": "9"}).problems == broken.problems


def test_boards_of_different_models_are_counted_as_nvidia_smi_does_and_that_is_said():
    mixed = Inventory(devices=(board(0, name="L4"), board(1, name="H200")))
    found = visible(mixed, {"CUDA_VISIBLE_DEVICES": "1"})
    assert [device.name for device in found.devices] == ["H200"]
    assert found.problems == (
        "CUDA_VISIBLE_DEVICES='1' is read in the order of nvidia-smi (CUDA_DEVICE_ORDER=PCI_BUS_ID)",
    )
    for environ in (
        {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1"},
        {"CUDA_VISIBLE_DEVICES": "GPU-11"},
    ):
        assert visible(mixed, environ).problems == ()


WHOLE = board(0)
SLICES = tuple(
    board(1, uuid=f"MIG-{letter}", parent="GPU-11", instance=f"{instance}/0")
    for letter, instance in (("a", 7), ("b", 9))
)
MIXED = Inventory(devices=(WHOLE, *SLICES))


@pytest.mark.parametrize(
    ("value", "chosen"),
    [
        ("MIG-b", [SLICES[1]]),
        ("MIG-b,MIG-a", [SLICES[1], SLICES[0]]),
        ("GPU-11", list(SLICES)),
        ("MIG-GPU-11/9/0", [SLICES[1]]),
        ("MIG-GPU-11/9/0, 0", [SLICES[1], WHOLE]),
        ("MIG-GPU-11/8/0", []),
        ("MIG-GPU-11/9/1", []),
        ("MIG-GPU-00/9/0", []),
        ("MIG-c", []),
        ("1", []),
    ],
)
def test_a_slice_is_chosen_by_each_of_its_names(value, chosen):
    assert list(visible(MIXED, {"CUDA_VISIBLE_DEVICES": value}).devices) == chosen


def test_a_slice_of_an_old_driver_has_the_older_name_itself():
    old = board(1, uuid="MIG-GPU-11/9/0", parent="GPU-11", instance="9/0")
    found = visible(Inventory(devices=(old,)), {"CUDA_VISIBLE_DEVICES": "MIG-GPU-11/9/0"})
    assert found.devices == (old,)


def test_a_board_in_mig_mode_is_not_named_by_its_number():
    found = visible(MIXED, {"CUDA_VISIBLE_DEVICES": "1"})
    assert "names a GPU in MIG mode, whose slices must be named instead" in found.reason
    assert "1 (MIG-a), 1 (MIG-b)" in found.reason
    found = visible(MIXED, {"CUDA_VISIBLE_DEVICES": "0,1"})
    assert found.devices == (WHOLE,)
    assert "GPU 1 is in MIG mode, so its slices must be named" in found.problems[0]


@pytest.mark.parametrize(
    "value", ["all", "void", "", "0,1,2,3", "4,5,6,7", "nvidia.com/gpu=all", "/var/run/nvidia-container-devices"]
)
def test_the_container_runtime_showed_what_it_was_told_to(value):
    # Four boards in a container that was given the host's boards 4 to 7: they are numbered from 0 again.
    assert visible(FOUR, {"NVIDIA_VISIBLE_DEVICES": value}) == FOUR


@pytest.mark.parametrize(
    ("value", "indices"),
    [("1", [1]), ("GPU-22,GPU-00", [0, 2]), ("nvidia.com/gpu=3", [3]), ("nvidia.com/gpu=1,nvidia.com/gpu=2", [1, 2])],
)
def test_the_container_variable_is_honoured_outside_of_a_container(value, indices):
    found = visible(FOUR, {"NVIDIA_VISIBLE_DEVICES": value})
    assert [device.index for device in found.devices] == indices
    assert found.problems == ()


@pytest.mark.parametrize(
    ("value", "chosen"),
    [
        ("1:1", [SLICES[1]]),
        ("1:0,0", [WHOLE, SLICES[0]]),
        ("1", list(SLICES)),
        ("MIG-a", [SLICES[0]]),
        ("MIG-GPU-11/9/0", [SLICES[1]]),
    ],
)
def test_the_container_variable_names_slices_too(value, chosen):
    assert list(visible(MIXED, {"NVIDIA_VISIBLE_DEVICES": value}).devices) == chosen


def test_slices_in_a_container_that_shows_only_them():
    inside = Inventory(devices=SLICES)
    assert visible(inside, {"NVIDIA_VISIBLE_DEVICES": "4:2,4:3"}) == inside


def test_an_unknown_entry_of_the_container_variable_is_a_problem():
    found = visible(FOUR, {"NVIDIA_VISIBLE_DEVICES": "GPU-22,GPU-77"})
    assert [device.index for device in found.devices] == [2]
    assert "NVIDIA_VISIBLE_DEVICES='GPU-22,GPU-77': there is no 'GPU-77'; there are 0 (GPU-00)" in found.problems[0]


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


ENTRIES = st.sampled_from(
    ["0", "1", "2", "-1", "", " ", "9", "GPU-00", "GPU-", "GPU-11", "MIG-a", "MIG-", "MIG-GPU-11/7/0",
     "MIG-GPU-11", "1:0", "1:9", "1:x",
     "1:²", "all", "none", "void", "nvidia.com/gpu=0", "/x", "x", "²", "00"]
)  # fmt: skip


@given(st.lists(ENTRIES, max_size=4).map(",".join), st.lists(ENTRIES, max_size=4).map(",".join))
def test_whatever_the_lists_hold_there_is_a_choice_or_a_reason(cuda, runtime):
    found = visible(MIXED, {"CUDA_VISIBLE_DEVICES": cuda, "NVIDIA_VISIBLE_DEVICES": runtime})
    assert set(found.devices) <= set(MIXED.devices)
    assert len(set(found.devices)) == len(found.devices)
    assert bool(found.devices) != bool(found.reason)
    for line in (found.reason, *found.problems):
        assert not line or repr(cuda) in line or repr(runtime) in line
