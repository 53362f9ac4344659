"""The devices watched once a second, while somebody asks.

Owns the thread that looks, and the latest readings; never blocks who asks: a driver that hangs only makes the readings old, and
old ones are not shown. Times are CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from tiffin.gpu import live
from tiffin.gpu.live import Look, Reading
from tiffin.gpu.nvml import NoDriver, opened

EVERY_S = 1.0
FRESH_S = 10.0  # readings that are older are not shown
IDLE_S = 60.0  # nobody asked for so long: stop looking


class Monitor:
    """See the module.

    Args:
        look: reads the devices; may block. session: kept open between two looks, so that the driver is not started for each.
        clock: monotonic. pause: waits between two looks.
    """

    def __init__(
        self,
        look: Callable[[], Look] = live.look,
        session: Callable[[], AbstractContextManager[Any]] = opened,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._look = look
        self._session = session
        self._clock = clock
        self._pause = pause
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._asked = 0.0
        self._latest: tuple[float, tuple[Reading, ...]] = (0.0, ())
        self._known: dict[int, Reading] = {}

    def readings(self) -> tuple[Reading, ...]:
        """Return the latest readings, none where there are none that are fresh; have more taken for the next minute."""
        now = self._clock()
        with self._lock:
            self._asked = now
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tiffin-gpus", daemon=True)
                self._thread.start()
            taken, readings = self._latest
        return readings if now - taken <= FRESH_S else ()

    def _run(self) -> None:
        try:
            with self._session():
                while self._wanted():
                    readings = tuple(map(self._named, self._look().readings))
                    with self._lock:
                        self._latest = (self._clock(), readings)
                    self._pause(EVERY_S)
        except NoDriver:  # tried again when somebody asks
            pass
        finally:
            with self._lock:
                if self._thread is threading.current_thread():
                    self._thread = None

    def _wanted(self) -> bool:
        """Tell whether somebody still asks; else the thread is over, and whoever asks next starts another."""
        with self._lock:
            if self._clock() - self._asked < IDLE_S:
                return True
            self._thread = None
            return False

    def _named(self, reading: Reading) -> Reading:
        """Give a board that is lost, and so does not say its name any more, the one that it had."""
        if reading.uuid:
            if not reading.parent:
                self._known[reading.index] = reading
            return reading
        known = self._known.get(reading.index)
        return reading if known is None else msgspec.structs.replace(reading, uuid=known.uuid, name=known.name)
