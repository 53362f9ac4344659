"""The fleet with processes that are made up and a clock that is set by hand."""

from __future__ import annotations

import io
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.gpu.test_visible import board
from tiffin.config.parts import WorkersConfig
from tiffin.gpu.inventory import Inventory
from tiffin.gpu.plan import plan
from tiffin.messages.control import KillWorker, ServiceFailed, WorkerDied, WorkerReady, WorkerStarted
from tiffin.server.deaths import death
from tiffin.server.devices import Release, Verdict
from tiffin.server.fleet import Fleet, Generation, Launch
from tiffin.server.loop import Loop, Timer
from tiffin.server.placer import WorkerOrder
from tiffin.server.processes import OomCount
from tiffin.server.report import Report
from tiffin.spec.service import Application, ServiceSpec
from tiffin.worker.setup import EXIT_OTHER_SPEC


class FakeLoop(Loop):
    """Timers only, and only when told."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Timer] = []
        self.clock = lambda: self.now

    def later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(self.now + delay_s, callback)
        self.timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for timer in list(self.timers):
            if timer.due <= self.now:
                self.timers.remove(timer)
                if timer.callback is not None:
                    timer.callback()


class FakeProcess:
    def __init__(self, pid: int, order: WorkerOrder, ended: Callable[[int], None]) -> None:
        self.pid = pid
        self.order = order
        self.ended = ended
        self.signals: list[str] = []
        self.ended_unseen = False

    def terminate(self) -> None:
        self.signals.append("TERM")

    def kill(self) -> None:
        self.signals.append("KILL")

    def dead(self) -> bool:
        return self.ended_unseen

    def discard(self) -> None:
        self.signals.append("DISCARD")

    @property
    def tree(self) -> frozenset[int]:
        return frozenset({self.pid, self.pid + 5000})


class FakeWatch:
    """Devices whose answers the test gives."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], frozenset[int], float]] = []
        self.open: list[Release] = []

    def release(self, uuids: Any, pids: Any, limit_s: float, done: Callable[[Verdict], None]) -> Release:
        self.asked.append((tuple(uuids), frozenset(pids), limit_s))
        self.open.append(Release(uuids, pids, 0.0, done))
        return self.open[-1]

    def answer(self, state: Any, reason: str = "") -> None:
        one = self.open.pop(0)
        if one.done is not None:
            one.done(Verdict(state, reason))


class FakePlacer:
    def __init__(self) -> None:
        self.processes: list[FakeProcess] = []
        self.refuse = False

    def start(self, order: WorkerOrder, ended: Callable[[int], None]) -> FakeProcess:
        if self.refuse:
            raise OSError("no process to be had")
        self.processes.append(FakeProcess(1000 + len(self.processes), order, ended))
        return self.processes[-1]


class House:
    """A fleet with everything around it; the owner that it tells."""

    def __init__(self, **settings: Any) -> None:
        self.loop = FakeLoop()
        self.placer = FakePlacer()
        self.told: list[Any] = []
        self.changes = 0
        self.mismatch_answer = False
        self.log = io.StringIO()
        launch = Launch(app_dir="/app", link="/run/link.sock", life_fd=7)
        report = Report("info", self.log)
        self.devices = FakeWatch()
        self.fleet = Fleet(self.loop, self.placer, report, WorkersConfig(**settings), launch, self, self.devices)

    def tell(self, message: Any) -> None:
        self.told.append(message)

    def workers_changed(self, generation: Generation) -> None:
        self.changes += 1

    def mismatch(self, generation: Generation) -> bool:
        return self.mismatch_answer

    def generation(self, number: int = 1, workers: int = 1, gpus: int = 0) -> Generation:
        resources = {"gpu": 1} if gpus else {}
        spec = ServiceSpec(name="Digits", target="service:Digits", methods=(), workers=workers, resources=resources)
        found = Inventory(devices=tuple(board(index) for index in range(gpus)), reason="" if gpus else "none")
        planned = plan([spec], found, WorkersConfig(), cores=2)
        generation = Generation(number, Application(services=(spec,)), planned, fresh=True)
        self.fleet.start(generation)
        return generation

    def ready(self, worker: int = 0, epoch: int = 1) -> None:
        self.fleet.worker_ready(WorkerReady(worker, epoch, 0.5))

    def take(self) -> list[Any]:
        told, self.told = self.told, []
        return told


@pytest.fixture
def house() -> House:
    return House()


def test_a_worker_is_started_with_all_that_it_must_know(house):
    generation = house.generation()
    (process,) = house.placer.processes
    setup = process.order.setup
    assert (setup.target, setup.app_dir, setup.link, setup.life_fd) == ("service:Digits", "/app", "/run/link.sock", 7)
    assert (setup.worker, setup.epoch, setup.generation, setup.device) == (0, 1, 1, "cpu")
    assert setup.digest == generation.application.entry.digest()
    assert process.order.env["CUDA_VISIBLE_DEVICES"] == ""
    assert house.take() == [WorkerStarted(0, 1, 1000, "Digits", "cpu", 1)]
    assert "worker 0 of Digits: CPU (pid 1000)\n" in house.log.getvalue()


def test_ready_counts_once_and_only_for_this_start(house):
    generation = house.generation(workers=2)
    house.ready(0, epoch=2)
    assert not generation.serves
    house.ready(0)
    house.ready(0)
    assert house.changes == 1
    assert generation.serves
    assert not generation.ready
    house.ready(1)
    assert generation.ready


def test_a_worker_that_was_ready_is_replaced_at_once_with_a_higher_epoch(house):
    house.generation()
    house.ready()
    house.take()
    house.placer.processes[0].ended(-signal.SIGSEGV)
    assert house.take() == [
        WorkerDied(0, 1, "crash", "killed by SIGSEGV"),
        WorkerStarted(0, 2, 1001, "Digits", "cpu", 1),
    ]


def test_deaths_in_load_wait_and_in_the_end_fail_the_service(house):
    generation = house.generation()
    house.take()
    for n, pause in enumerate([0.1, 0.2, 0.4, 0.8]):
        house.placer.processes[n].ended(1)
        assert house.take() == [WorkerDied(0, n + 1, "crash", "exit status 1")]
        house.loop.advance(pause - 0.01)
        assert house.take() == []
        house.loop.advance(0.02)
        assert house.take() == [WorkerStarted(0, n + 2, 1001 + n, "Digits", "cpu", 1)]
    house.placer.processes[4].ended(1)
    _died, failed = house.take()
    assert isinstance(failed, ServiceFailed)
    assert "last: exit status 1" in failed.reason
    assert generation.failed == {"Digits": failed.reason}
    house.loop.advance(1.7)
    house.ready(0, epoch=6)
    assert generation.failed == {}


def test_a_worker_is_told_that_its_traceback_was_shown_until_it_is_ready_again(house):
    house.generation()
    house.placer.processes[0].ended(70)
    house.loop.advance(0.2)
    house.ready(0, epoch=2)
    house.placer.processes[1].ended(1)
    assert [process.order.setup.again for process in house.placer.processes] == [False, True, False]


def test_a_service_that_another_worker_serves_is_not_failed(house):
    generation = house.generation(workers=2)
    house.ready(0)
    for n in range(8):
        [process for process in house.placer.processes if process.order.setup.worker == 1][-1].ended(1)
        house.loop.advance(11.0 if n > 6 else 6.5)
    assert generation.failed == {}


def test_a_worker_that_does_not_load_in_time_is_killed():
    house = House(load_timeout_s=5.0)
    house.generation()
    house.loop.advance(5.1)
    (process,) = house.placer.processes
    assert process.signals == ["KILL"]
    process.ended(-signal.SIGKILL)
    assert house.take()[-1] == WorkerDied(0, 1, "killed", "it did not load within 5 s")


def test_a_kill_for_the_front_comes_back_with_its_cause(house):
    house.generation()
    house.ready()
    house.take()
    house.fleet.kill(KillWorker(0, 1, "run_limit", "predict ran for 31 s"))
    house.placer.processes[0].ended(-signal.SIGKILL)
    assert house.take()[0] == WorkerDied(0, 1, "run_limit", "predict ran for 31 s")


@pytest.mark.parametrize("message", [KillWorker(0, 2, "killed", ""), KillWorker(9, 1, "killed", "")])
def test_a_kill_of_another_process_is_ignored(house, message):
    house.generation()
    house.fleet.kill(message)
    assert house.placer.processes[0].signals == []


def test_a_kill_that_comes_after_the_death_does_not_hide_its_cause(house):
    house.generation()
    house.ready()
    house.take()
    house.placer.processes[0].ended_unseen = True
    house.fleet.kill(KillWorker(0, 1, "killed", "the link broke"))
    house.placer.processes[0].ended(-signal.SIGABRT)
    assert house.take()[0] == WorkerDied(0, 1, "crash", "killed by SIGABRT")


def test_stop_asks_then_kills_and_replaces_nobody(house):
    house.generation(workers=2)
    house.ready(0)
    house.ready(1)
    house.take()
    house.fleet.stop(grace_s=3.0)
    first, second = house.placer.processes
    assert (first.signals, second.signals) == (["TERM"], ["TERM"])
    first.ended(0)
    assert house.take() == [WorkerDied(0, 1, "killed", "stopped")]
    assert not house.fleet.empty
    house.loop.advance(3.1)
    assert second.signals == ["TERM", "KILL"]
    second.ended(-signal.SIGKILL)
    assert house.fleet.empty
    assert len(house.placer.processes) == 2


def test_stop_of_one_generation_leaves_the_other_and_cancels_its_pauses(house):
    old = house.generation(1)
    house.placer.processes[0].ended(1)
    new = house.generation(2)
    house.fleet.stop(old)
    house.loop.advance(1.0)
    assert len(house.placer.processes) == 2
    assert [worker.running is not None for worker in new.workers] == [True]
    assert new.workers[0].id == 1


def test_a_new_front_is_told_of_the_workers_that_run(house):
    house.generation(workers=2)
    house.placer.processes[0].ended(1)
    assert list(house.fleet.started()) == [WorkerStarted(1, 1, 1001, "Digits", "cpu", 1)]


def test_a_mismatch_waits_for_the_description(house):
    generation = house.generation()
    house.mismatch_answer = True
    house.placer.processes[0].ended(EXIT_OTHER_SPEC)
    house.loop.advance(100.0)
    assert len(house.placer.processes) == 1
    house.fleet.resume(generation)
    house.loop.advance(0.2)
    assert len(house.placer.processes) == 2


def test_a_mismatch_that_no_description_can_mend_is_a_death_in_load(house):
    house.generation()
    house.placer.processes[0].ended(EXIT_OTHER_SPEC)
    house.loop.advance(0.2)
    assert len(house.placer.processes) == 2


def test_a_process_that_cannot_be_started_is_tried_again(house):
    house.placer.refuse = True
    house.generation()
    assert "no process to be had" in house.log.getvalue()
    house.placer.refuse = False
    house.loop.advance(0.2)
    assert len(house.placer.processes) == 1


@pytest.mark.parametrize(
    ("status", "asked", "oom", "expected"),
    [
        (3, None, False, ("crash", "exit status 3")),
        (-9, None, False, ("crash", "killed by SIGKILL")),
        (-9, None, True, ("oom_killer", "killed by the kernel: out of memory")),
        # The broken link is seen before the death is: our kill of a dying process must not hide who killed it.
        (-9, ("crash", "the link broke"), True, ("oom_killer", "killed by the kernel: out of memory")),
        (-9, ("run_limit", "too long"), True, ("run_limit", "too long")),
        (-9, ("killed", "frozen"), False, ("killed", "frozen")),
        (-11, ("killed", "frozen"), False, ("crash", "killed by SIGSEGV")),
        (0, ("killed", "stopped"), False, ("killed", "stopped")),
        (-40, None, False, ("crash", "killed by signal 40")),
    ],
)
def test_the_cause_of_a_death(status, asked, oom, expected):
    assert death(status, asked, oom=oom) == expected


@pytest.mark.parametrize(
    "text",
    ["low 0\noom 2\noom_kill {}\n", "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n", "nr_dirty 9\noom_kill {}\n"],
)
def test_the_kernels_count_is_asked_again(tmp_path, text):
    path = tmp_path / "memory.events"
    path.write_text(text.format(3))
    count = OomCount(path)
    assert not count.rose()
    path.write_text(text.format(4))
    assert count.rose()
    assert not count.rose()
    path.unlink()
    assert not count.rose()
