"""Workers on GPUs: started again when their devices are free, not at all while they are lost."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.server.test_fleet import FakeLoop, House
from tiffin.gpu.inventory import Inventory
from tiffin.gpu.xid import XIDS, xid
from tiffin.messages.control import KillWorker, Note, ServiceFailed, WorkerDied
from tiffin.server.boards import BoardWatch
from tiffin.server.deaths import death
from tiffin.server.devices import DeviceWatch, Verdict
from tiffin.worker.setup import EXIT_DEVICE, EXIT_OUT_OF_MEMORY


@pytest.fixture
def house() -> House:
    house = House()
    house.generation(workers=2, gpus=2)
    house.ready(0)
    house.ready(1)
    house.take()
    return house


def starts(house: House) -> list[int]:
    return [process.order.setup.worker for process in house.placer.processes]


def failed(house: House) -> list[str]:
    return [message.reason for message in house.take() if isinstance(message, ServiceFailed)]


def test_the_statuses_of_a_worker_that_gave_up() -> None:
    assert death(EXIT_DEVICE, None, oom=False) == ("device", "its device is lost to it")
    assert death(EXIT_OUT_OF_MEMORY, ("crash", "the link broke"), oom=False)[0] == "out_of_memory"


def test_a_worker_is_started_again_when_its_processes_have_left_its_device(house: House) -> None:
    process = house.placer.processes[1]
    process.ended(-9)
    assert house.devices.asked == [(("GPU-11",), frozenset({process.pid, process.pid + 5000}), 30.0)]
    house.loop.advance(5)
    assert starts(house) == [0, 1]
    house.devices.answer("free")
    assert starts(house) == [0, 1, 1]
    assert failed(house) == []


def test_on_the_cpu_nobody_waits() -> None:
    house = House()
    house.generation()
    house.ready()
    house.placer.processes[0].ended(-9)
    assert house.devices.asked == []
    assert starts(house) == [0, 0]


def test_a_process_that_does_not_leave_fails_the_worker_with_its_number(house: House) -> None:
    for number in (0, 1):
        house.placer.processes[number].ended(-9)
    house.take()
    house.devices.answer("held", "process 1000 has ended and still holds GPU-00")
    house.devices.answer("held", "process 1001 has ended and still holds GPU-11")
    told = house.take()
    why = "process 1000 has ended and still holds GPU-00, 30 s after its end"
    note = next(message for message in told if isinstance(message, Note))
    assert note.text == f"worker 0 of Digits FAILED: {why}"
    assert [message.reason for message in told if isinstance(message, ServiceFailed)] == [
        f"Digits has no worker: {why}"
    ]
    assert starts(house) == [0, 1]
    house.loop.advance(5)  # it is looked at again, and said once
    house.devices.answer("held", "process 1000 has ended and still holds GPU-00")
    assert house.take() == []
    house.loop.advance(5)
    house.devices.answer("free")  # the second worker's
    house.devices.answer("free")
    assert starts(house) == [0, 1, 1, 0]
    assert "its devices can be used again" in house.log.getvalue()
    assert house.log.getvalue().count("worker 0 of Digits cannot be started") == 1


def test_a_lost_device_fails_its_worker_and_the_others_go_on(house: House) -> None:
    house.placer.processes[0].ended(EXIT_DEVICE)
    assert WorkerDied(0, 1, "device", "its device is lost to it") in house.take()
    house.devices.answer("lost", "GPU-00 is lost: it has fallen off the bus")
    told = house.take()
    assert [type(message) for message in told] == [Note]
    assert "sudo nvidia-smi --gpu-reset" in told[0].text
    house.loop.advance(5)
    house.devices.answer("lost", "GPU-00 is lost: it has fallen off the bus")
    house.loop.advance(5)
    assert starts(house) == [0, 1]
    house.devices.answer("free")
    assert starts(house) == [0, 1, 0]


def test_a_driver_that_does_not_answer_does_not_keep_a_worker_down(house: House) -> None:
    house.placer.processes[0].ended(-9)
    house.devices.answer("unknown", "the driver does not answer")
    assert starts(house) == [0, 1, 0]
    assert "worker 0 of Digits is started though the driver does not answer" in house.log.getvalue()


def test_a_death_in_load_waits_for_its_pause_and_then_for_the_device() -> None:
    house = House()
    house.generation(gpus=1)
    house.placer.processes[0].ended(1)
    assert house.devices.asked == []
    house.loop.advance(0.2)
    assert len(house.devices.asked) == 1
    house.devices.answer("free")
    assert starts(house) == [0, 0]


def test_a_stop_forgets_who_waits_for_a_device(house: House) -> None:
    house.placer.processes[0].ended(-9)
    house.fleet.stop()
    assert house.devices.open[0].done is None
    house.devices.answer("free")
    assert starts(house) == [0, 1]


# -- Xids ------------------------------------------------------------------------------------------------------------------------


def test_what_is_done_about_each_number() -> None:
    assert xid(79).action == "lost"
    assert {number for number, what in XIDS.items() if what.action == "replace"} == {
        38,
        48,
        61,
        62,
        64,
        74,
        94,
        95,
        119,
        120,
        154,
    }
    assert xid(13).action == xid(31).action == xid(43).action == "log"
    assert xid(9999).action == "log"
    assert all(what.meaning for what in XIDS.values())


def test_a_boards_fault_replaces_its_workers_and_a_programs_does_not(house: House) -> None:
    from tests.unit.gpu.test_visible import board
    from tiffin.server.report import Report

    watched: list[Any] = []

    class Watch:
        def watch_xids(self, uuids: Any, report: Any) -> None:
            watched.append((set(uuids), report))

    boards = BoardWatch(Watch(), house.fleet, Report("info", house.log))  # type: ignore[arg-type]
    generation = house.fleet._workers[0].generation
    boards.watch(generation, Inventory(devices=(board(0), board(1), board(2))))
    ((uuids, report),) = watched
    assert uuids == {"GPU-00", "GPU-11"}
    report("GPU-11", 13)
    assert house.placer.processes[1].signals == []
    report("GPU-11", 95)
    assert [process.signals for process in house.placer.processes] == [[], ["KILL"]]
    house.placer.processes[1].ended(-9)
    died = next(message for message in house.take() if isinstance(message, WorkerDied))
    assert (died.cause, died.detail) == ("device", f"GPU-11 reports Xid 95: {xid(95).meaning}")
    house.fleet.kill(KillWorker(1, 1, "killed", "late"))  # it is gone: nobody else is hit
    assert house.placer.processes[0].signals == []


# -- the asking ------------------------------------------------------------------------------------------------------------------


class Driver:
    """NVML, as the test has it; `gate` closed: it hangs."""

    def __init__(self) -> None:
        self.held: dict[str, frozenset[int]] = {}
        self.gone: dict[str, str] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.looks = 0

    def holders(self, uuids: Any) -> dict[str, frozenset[int]]:
        self.gate.wait(10)
        self.looks += 1
        return {uuid: self.held.get(uuid, frozenset()) for uuid in uuids}

    def lost(self, uuids: Any) -> dict[str, str]:
        return {uuid: why for uuid, why in self.gone.items() if uuid in uuids}


class PipeLoop(FakeLoop):
    """A clock set by hand, and descriptors that are looked at when told."""

    def __init__(self) -> None:
        super().__init__()
        self.watched: dict[int, Any] = {}

    def watch(self, fd: int, readable: Any, writable: Any = None) -> None:
        self.watched.pop(fd, None)
        if readable is not None:
            self.watched[fd] = readable

    def news(self, until: Any) -> None:
        end = time.monotonic() + 10
        while not until() and time.monotonic() < end:
            for fd, readable in list(self.watched.items()):
                try:
                    readable()
                except BlockingIOError:
                    os.sched_yield()
                assert fd
        assert until()


class Asked:
    """A watch with its driver and its loop."""

    def __init__(self) -> None:
        self.loop = PipeLoop()
        self.driver = Driver()
        self.watch = DeviceWatch(self.loop, self.driver)
        self.verdicts: list[Verdict] = []

    def ask(self, *pids: int, limit_s: float = 30.0) -> Any:
        return self.watch.release(["GPU-00"], pids, limit_s, self.verdicts.append)


@pytest.fixture
def asked() -> Iterator[Asked]:
    made = Asked()
    yield made
    made.driver.gate.set()
    made.watch.close()


def test_a_device_that_nobody_of_ours_holds_is_free(asked: Asked) -> None:
    asked.driver.held = {"GPU-00": frozenset({77})}
    asked.ask(5, 6)
    asked.loop.news(lambda: asked.verdicts)
    assert asked.verdicts == [Verdict("free")]


def test_it_is_asked_again_until_it_is_free(asked: Asked) -> None:
    asked.driver.held = {"GPU-00": frozenset({6, 77})}
    one = asked.ask(5, 6)
    for looks in (1, 2, 3):
        asked.loop.news(lambda looks=looks: asked.driver.looks == looks and not one.asked)
        asked.loop.advance(0.5)
    assert asked.verdicts == []
    asked.driver.held = {}
    asked.loop.news(lambda: not one.asked)
    asked.loop.advance(0.5)
    asked.loop.news(lambda: asked.verdicts)
    assert asked.verdicts == [Verdict("free")]


def test_after_the_bound_it_says_who_holds_it(asked: Asked) -> None:
    asked.driver.held = {"GPU-00": frozenset({6, 77})}
    one = asked.ask(5, 6, limit_s=2.0)
    asked.loop.news(lambda: not one.asked)
    for _ in range(5):
        asked.loop.advance(0.5)
    assert asked.verdicts == [Verdict("held", "process 6 has ended and still holds GPU-00")]


def test_a_lost_device_is_said_at_once(asked: Asked) -> None:
    asked.driver.gone = {"GPU-00": "it has fallen off the bus", "GPU-11": "too"}
    asked.ask(5)
    asked.loop.news(lambda: asked.verdicts)
    assert asked.verdicts == [Verdict("lost", "GPU-00 is lost: it has fallen off the bus")]


def test_a_driver_that_hangs_is_given_up_after_the_bound(asked: Asked) -> None:
    asked.driver.gate.clear()
    asked.ask(5, limit_s=2.0)
    for _ in range(5):
        asked.loop.advance(0.5)
    assert asked.verdicts == [Verdict("unknown", "the driver does not answer")]
    asked.driver.gate.set()
    asked.loop.news(lambda: asked.driver.looks == 1)
    assert len(asked.verdicts) == 1, "an answer that comes too late is dropped"


def test_who_no_longer_wants_to_know_is_not_called(asked: Asked) -> None:
    one = asked.ask(5)
    one.cancel()
    asked.loop.news(lambda: asked.driver.looks == 1)
    asked.loop.advance(60)
    assert asked.verdicts == []
