"""The worker's sign of life: a small message every so often, from a thread that runs whatever user code does.

Owns that thread; never judges (the engine does). Times in seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tiffin.frameworks.memory import Peaks, held
from tiffin.messages.link import Beat
from tiffin.worker.session import Session
from tiffin.worker.title import show_memory


class Heart:
    """See the module.

    Args:
        session: returns the link's session, None while there is none. backlog_s: work that waits, in seconds.
        peaks: what batches took of device memory.
    """

    def __init__(self, session: Callable[[], Session | None], backlog_s: Callable[[], float], peaks: Peaks) -> None:
        self._session = session
        self._backlog_s = backlog_s
        self._peaks = peaks
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tiffin-beat", daemon=True)
        self.beat_s = 0.5

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def beat(self) -> None:
        """Send one sign of life."""
        backlog_s = self._backlog_s()
        session = self._session()
        if session is not None and not session.closed:
            message = Beat(backlog_s, time.process_time(), held(), self._peaks.seen())
            show_memory(message.memory_bytes)
            session.send([message])

    def _run(self) -> None:
        while not self._stopped.wait(self.beat_s):
            self.beat()
