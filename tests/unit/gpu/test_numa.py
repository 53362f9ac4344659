from __future__ import annotations

from types import SimpleNamespace

import pytest

from tiffin.gpu.numa import cpu_list, node_of, nodes, sys_name


@pytest.fixture
def sys(tmp_path):
    for node, cores in {0: "0-3,8-11\n", 1: "4-7,12-15\n", 2: "\n"}.items():
        folder = tmp_path / f"devices/system/node/node{node}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(cores)
    for bus, place in {"0000:01:00.0": "1", "0000:3b:00.0": "-1", "10000:e1:00.0": "0"}.items():
        folder = tmp_path / "bus/pci/devices" / bus
        folder.mkdir(parents=True)
        (folder / "numa_node").write_text(f"{place}\n")
    return tmp_path


def nvml(*mask: int) -> SimpleNamespace:
    asked = []

    def affinity(handle, size, scope):
        asked.append((handle, size, scope))
        return list(mask) + [0] * (size - len(mask))

    return SimpleNamespace(nvmlDeviceGetMemoryAffinity=affinity, asked=asked)


def test_nodes_have_cores_and_memory_alone_is_none(sys):
    assert nodes(sys) == {0: (0, 1, 2, 3, 8, 9, 10, 11), 1: (4, 5, 6, 7, 12, 13, 14, 15)}


def test_one_node_leaves_nothing_to_choose(tmp_path, sys):
    (sys / "devices/system/node/node1/cpulist").unlink()
    assert nodes(sys) == {}
    assert nodes(tmp_path / "nothing") == {}
    assert node_of(nvml(), "board", "00000000:01:00.0", {}, sys) == -1


@pytest.mark.parametrize(("bus", "node"), [("00000000:01:00.0", 1), ("00010000:E1:00.0", 0)])
def test_the_kernel_says_where_a_board_is(sys, bus, node):
    asked = nvml(1)
    assert node_of(asked, "board", bus, nodes(sys), sys) == node
    assert asked.asked == []


@pytest.mark.parametrize("bus", ["00000000:3B:00.0", "00000000:99:00.0", "", "no address"])
def test_the_driver_is_asked_where_the_kernel_does_not_say(sys, bus):
    assert node_of(nvml(0b10), "board", bus, nodes(sys), sys) == 1


@pytest.mark.parametrize("mask", [0b11, 0b100, 0])
def test_an_answer_that_names_no_single_node_is_none(sys, mask):
    assert node_of(nvml(mask), "board", "", nodes(sys), sys) == -1


def test_nodes_beyond_the_first_word_of_the_mask():
    known = {0: (0,), 70: (1,)}
    assert node_of(nvml(0, 1 << 6), "board", "", known) == 70


def test_a_driver_without_the_question_loses_nothing():
    assert node_of(SimpleNamespace(), "board", "", {0: (), 1: ()}) == -1


def test_addresses_and_lists_as_the_kernel_writes_them():
    assert sys_name("00000000:3B:00.0") == "0000:3b:00.0"
    assert sys_name("0000AF01:3B:00.0") == "af01:3b:00.0"
    assert cpu_list("0-2,5\n") == (0, 1, 2, 5)
    assert cpu_list("\n") == ()
