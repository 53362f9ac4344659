"""A look at made-up devices, in a process of its own (the library's folder is fixed at its start), and a change while it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from tiffin.gpu.live import Look, Process, Reading
from tiffin.testing.devices import FakeDevices

ZERO = "GPU-00000000-0000-0000-0000-000000000000"
ONE = "GPU-00000001-0000-0000-0000-000000000000"
SLICE = "MIG-00000000-0000-0000-0000-{:012d}"

# Answers one question per line, so that the same process sees a device before and after.
ASKED = """
import sys, msgspec
from tiffin.gpu import live
for line in sys.stdin:
    name, arguments = msgspec.json.decode(line)
    print(msgspec.json.encode(getattr(live, name)(*arguments)).decode(), flush=True)
"""


class Asked:
    """A process that looks."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def _ask(self, name: str, *arguments: Any) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, arguments]) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def look(self) -> Look:
        return msgspec.json.decode(self._ask("look"), type=Look)

    def holders(self, *uuids: str) -> dict[str, set[int]]:
        return msgspec.json.decode(self._ask("holders", uuids), type=dict[str, set[int]])

    def lost(self, *uuids: str) -> dict[str, str]:
        return msgspec.json.decode(self._ask("lost", uuids), type=dict[str, str])


@contextmanager
def asking(devices: FakeDevices) -> Iterator[Asked]:
    argv = [sys.executable, "-c", ASKED]
    with subprocess.Popen(
        argv, env=devices.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Asked(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0


@pytest.mark.parametrize("gpus", [0, 1, 2, 8])
def test_every_board_is_read(gpus):
    with FakeDevices(gpus, utilization="93,0", power="312,20") as devices, asking(devices) as asked:
        look = asked.look()
    assert [reading.index for reading in look.readings] == list(range(gpus))
    assert look.reason == ""
    assert [reading.utilization for reading in look.readings] == [93, 0, 0, 0, 0, 0, 0, 0][:gpus]


def test_all_figures_of_a_board():
    with (
        FakeDevices(
            names="NVIDIA L4",
            memory=23034,
            used=34,
            utilization=80,
            memory_utilization=30,
            temperature=71,
            power=71.5,
            power_limit=72,
            throttle="0x24",
            ecc=2,
            ecc_corrected=9,
            processes="0 4711 1000;0 12 -;0 4711 500",
        ) as devices,
        asking(devices) as asked,
    ):
        assert asked.look().readings == (
            Reading(
                uuid=ZERO,
                index=0,
                name="NVIDIA L4",
                utilization=80,
                memory_utilization=30,
                memory_used=1534 << 20,
                memory_total=23034 << 20,
                temperature=71,
                power=71.5,
                power_limit=72.0,
                throttled=("power cap", "too hot (software)"),
                processes=(Process(12, None), Process(4711, 1500 << 20)),
                ecc_uncorrected=2,
                ecc_corrected=9,
            ),
        )


def test_what_a_board_does_not_tell_is_none_and_the_rest_is_read():
    with FakeDevices(utilization="-", power="-", temperature="-", ecc="-") as devices, asking(devices) as asked:
        (reading,) = asked.look().readings
    told = (reading.utilization, reading.power, reading.temperature, reading.ecc_uncorrected)
    assert told == (None, None, None, None)
    assert reading.memory_total == 80 << 30
    assert reading.problem == ""


def test_an_old_library_tells_what_it_can():
    with FakeDevices(old=True) as devices, asking(devices) as asked:
        (reading,) = asked.look().readings
        assert asked.holders(ZERO) == {}  # nobody knows, which is not nobody
    assert (reading.memory_total, reading.processes) == (80 << 30, None)


def test_slices_have_memory_and_processes_of_their_own():
    with FakeDevices(2, mig="3g.40gb,1g.10gb", processes="0/1 77 1024;1 78 1") as devices, asking(devices) as asked:
        board, big, small, other = asked.look().readings
        assert asked.holders(SLICE.format(0), SLICE.format(1), ONE) == {
            SLICE.format(0): set(),
            SLICE.format(1): {77},
            ONE: {78},
        }
    assert (board.sliced, board.utilization, board.temperature) == (True, None, 40)
    assert [(one.parent, one.memory_total) for one in (big, small)] == [(ZERO, 40 << 30), (ZERO, 10 << 30)]
    assert (small.memory_used, small.processes, small.utilization) == (1 << 30, (Process(77, 1 << 30),), None)
    assert (other.parent, other.sliced) == ("", False)


def test_holders_follow_the_processes():
    with FakeDevices(2) as devices, asking(devices) as asked:
        assert asked.holders(ZERO, ONE) == {ZERO: set(), ONE: set()}
        devices.run([(1, 4711, 100), (1, 4712, "-")])
        assert asked.holders(ZERO, ONE, "GPU-unknown") == {ZERO: set(), ONE: {4711, 4712}}
        devices.run([])
        assert asked.holders(ONE) == {ONE: set()}


def test_a_board_that_is_lost_while_the_process_runs():
    with FakeDevices(2, processes="1 4711 100") as devices, asking(devices) as asked:
        assert asked.lost(ZERO, ONE) == {}
        devices.lose(1)
        lost = asked.lost(ZERO, ONE)
        assert list(lost) == [ONE]
        assert lost[ONE].startswith("GPU 1 is lost: it has fallen off the bus")
        assert asked.holders(ZERO, ONE) == {ZERO: set()}
        fine, gone = asked.look().readings
        assert (fine.problem, gone.index) == ("", 1)
        assert gone.problem == lost[ONE]
        devices.lose()
        assert asked.lost(ZERO, ONE) == {}


def test_a_slice_that_was_destroyed_is_lost_and_a_board_that_left_the_list_too():
    with FakeDevices(2, mig="2") as devices, asking(devices) as asked:
        assert asked.lost(SLICE.format(1), ONE) == {}
        devices.set(mig="1", gpus=1)
        assert asked.lost(SLICE.format(0), SLICE.format(1), ONE) == {
            SLICE.format(1): "the driver does not show it any more",
            ONE: "the driver does not show it any more",
        }


@pytest.mark.parametrize("code", [9, 18, 999])
def test_without_a_driver_nothing_is_known_of_any(code):
    with FakeDevices(init=code) as devices, asking(devices) as asked:
        assert asked.look().readings == ()
        assert asked.look().reason
        assert asked.holders(ZERO) == {}
        assert asked.lost(ZERO) == {}


@pytest.mark.gpu
def test_a_real_board():
    out = subprocess.run(
        [sys.executable, "-c", ASKED], input='["look", []]\n', stdout=subprocess.PIPE, text=True, check=True
    )
    look = msgspec.json.decode(out.stdout, type=Look)
    assert look.readings
    assert look.readings[0].memory_total
