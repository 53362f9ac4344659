"""The monitor with a made-up look: what it shows, when it looks, and that it never waits."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tiffin.gpu.live import Look, Reading
from tiffin.gpu.monitor import FRESH_S, IDLE_S, Monitor
from tiffin.gpu.nvml import NoDriver

WAIT_S = 10.0


class Bench:
    """A monitor whose looks and pauses are steps of the test."""

    def __init__(self) -> None:
        self.now = 100.0
        self.readings: tuple[Reading, ...] = (Reading(uuid="GPU-a", index=0, name="L4"),)
        self.sessions = 0
        self.open = threading.Event()
        self.closed = threading.Event()
        self.driver = True
        self.looked: queue.Queue[None] = queue.Queue()
        self.pauses: queue.Queue[threading.Event] = queue.Queue()
        self.monitor = Monitor(self.look, self.session, lambda: self.now, self.pause)

    def look(self) -> Look:
        assert threading.current_thread().name == "tiffin-gpus"
        self.looked.put(None)
        return Look(readings=self.readings)

    @contextmanager
    def session(self) -> Iterator[None]:
        self.sessions += 1
        if not self.driver:
            raise NoDriver("gone")
        try:
            yield
        finally:
            self.closed.set()

    def pause(self, _seconds: float) -> None:
        go_on = threading.Event()
        self.pauses.put(go_on)
        assert go_on.wait(WAIT_S)

    def rest(self) -> threading.Event:
        """Wait until the thread pauses; return what lets it go on."""
        return self.pauses.get(timeout=WAIT_S)


def test_nobody_looks_before_somebody_asks():
    bench = Bench()
    assert bench.sessions == 0
    assert bench.monitor.readings() == ()
    pause = bench.rest()
    assert bench.monitor.readings() == bench.readings
    assert bench.sessions == 1
    bench.now += IDLE_S
    pause.set()


def test_the_session_stays_open_while_somebody_asks_and_ends_a_minute_later():
    bench = Bench()
    bench.monitor.readings()
    for _ in range(3):
        pause = bench.rest()
        bench.now += IDLE_S / 2
        bench.monitor.readings()
        pause.set()
    pause = bench.rest()
    assert (bench.sessions, bench.closed.is_set()) == (1, False)
    bench.now += IDLE_S
    pause.set()
    assert bench.closed.wait(WAIT_S)
    bench.monitor.readings()
    pause = bench.rest()
    assert bench.sessions == 2
    bench.now += IDLE_S
    pause.set()


def test_a_look_that_hangs_blocks_nobody_and_its_old_readings_are_not_shown():
    bench = Bench()
    bench.monitor.readings()
    pause = bench.rest()  # the thread hangs from here on
    bench.now += FRESH_S
    assert bench.monitor.readings() == bench.readings
    bench.now += 0.1
    assert bench.monitor.readings() == ()
    assert bench.sessions == 1  # and no second thread is started beside it
    bench.now += IDLE_S
    pause.set()


def test_without_a_driver_it_is_tried_again_when_somebody_asks():
    bench = Bench()
    bench.driver = False
    for attempt in (1, 2):
        assert bench.monitor.readings() == ()
        join()
        assert bench.sessions == attempt


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_look_that_fails_is_tried_again_when_somebody_asks():
    bench = Bench()
    bench.readings = (None,)  # type: ignore[assignment]
    bench.monitor.readings()
    join()
    bench.readings = (Reading(uuid="GPU-a", index=0),)
    bench.monitor.readings()
    pause = bench.rest()
    assert bench.monitor.readings() == bench.readings
    bench.now += IDLE_S
    pause.set()


def join() -> None:
    """Wait until no thread of a monitor is left."""
    for thread in threading.enumerate():
        if thread.name == "tiffin-gpus":
            thread.join(WAIT_S)
            assert not thread.is_alive()


def test_a_lost_board_keeps_the_name_that_it_had():
    bench = Bench()
    bench.monitor.readings()
    pause = bench.rest()
    bench.readings = (
        Reading(uuid="", index=0, problem="GPU 0 is lost"),
        Reading(uuid="", index=1, problem="GPU 1 is lost"),
    )
    pause.set()
    pause = bench.rest()
    known, unknown = bench.monitor.readings()
    assert (known.uuid, known.name, known.problem) == ("GPU-a", "L4", "GPU 0 is lost")
    assert (unknown.uuid, unknown.index) == ("", 1)
    bench.now += IDLE_S
    pause.set()


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    join()
