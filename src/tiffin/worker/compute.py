"""The compute lane: threads that take batches in order and run them, the first on the thread that built the service.

Owns the queue of compute batches; never decides their order (the engine sent them in it).
"""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue

from tiffin.messages.link import Batch
from tiffin.worker.runner import Runner
from tiffin.worker.session import Session

# A signal that comes just before the main thread waits does not wake it; whoever asks this worker to end waits so long at most.
_LOOK_S = 0.5


class ComputeLane:
    """See the module.

    Args:
        runner: runs a batch. threads: slots, the caller of `run` among them.

    Attributes:
        recent_s: time that a batch took of late, for the backlog that the engine hears of.
    """

    def __init__(self, runner: Runner, threads: int) -> None:
        self._runner = runner
        self._crash: BaseException | None = None
        self.recent_s = 0.0
        self._queue: SimpleQueue[tuple[Session, Batch, float] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._extra, name=f"tiffin-compute-{number}", daemon=True)
            for number in range(1, threads)
        ]

    def put(self, session: Session, batch: Batch, received: float) -> None:
        """Queue a batch; never blocks."""
        session.waiting[batch.batch] = batch
        self._queue.put((session, batch, received))

    def run(self) -> None:
        """Work on the calling thread until `stop`; what was queued before is done first."""
        for thread in self._threads:
            thread.start()
        self._work()
        for thread in self._threads:
            thread.join()
        if self._crash is not None:
            raise self._crash

    def stop(self) -> None:
        """End `run` after what is queued; any thread may, a signal handler too."""
        self._queue.put(None)

    def _extra(self) -> None:
        try:
            self._work()
        except BaseException as error:  # wall: `run` raises it, so that no slot is lost in silence
            self._crash = error
            self.stop()

    def _work(self) -> None:
        get = self._queue.get
        run = self._runner.run
        clock = time.perf_counter
        while True:
            try:
                item = get(timeout=_LOOK_S)
            except Empty:
                continue
            if item is None:
                self._queue.put(None)  # for the other threads
                return
            session, batch, received = item
            if session.claim(batch):
                started = clock()
                run(session, batch, received)
                self.recent_s += (clock() - started - self.recent_s) / 8
            # Not kept until the next batch comes: a body may lie in the arena, and a session outlives its link here.
            del item, session, batch
