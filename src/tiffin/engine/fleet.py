"""The fleet: every worker's handle and the generations that they serve.

Owns handles, epochs and generations; never a call (the engine does). Times are CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from tiffin.batching.instructions import Instruction
from tiffin.config.parts import Config
from tiffin.engine.generation import Generation, ServiceState
from tiffin.engine.worker import WorkerHandle, WorkerState
from tiffin.errors import Code
from tiffin.link.front_end import EngineLink
from tiffin.messages.control import (
    DeathCause,
    KillWorker,
    Retired,
    ServiceFailed,
    ToSupervisor,
    WorkerDied,
    WorkerReady,
    WorkerStarted,
)
from tiffin.messages.link import PROTOCOL, Beat, Hello, LinkMessage, Ready, Welcome
from tiffin.observe.metrics import Registry, ServiceMetrics
from tiffin.spec.service import Application

WATCH_S = 0.25
_LOST_GRACE_S = 2.0


class Books(Protocol):
    """What the fleet needs of the engine, who keeps the calls."""

    def apply(self, state: ServiceState, instruction: Instruction, now: float) -> None:
        """Carry out what a scheduler decided."""
        ...

    def touch(self, state: ServiceState) -> None:
        """Let a scheduler decide soon."""
        ...

    def lost(self, handle: WorkerHandle, cause: DeathCause) -> None:
        """A worker is gone: its calls run again or fail."""
        ...

    def from_worker(self, handle: WorkerHandle, messages: list[LinkMessage]) -> None:
        """Take a worker's messages."""
        ...


class Fleet:
    """See the module.

    Args:
        books: the engine. clock: monotonic. config: limits and pauses. arena_size: said to every worker.
        registry: metrics of all services. tell: sends a message to the supervisor.

    Attributes:
        generation: the one that new calls go to, None until the first spec. handles: links of workers, by worker id.
    """

    def __init__(
        self,
        books: Books,
        clock: Callable[[], float],
        config: Config,
        arena_size: int,
        registry: Registry,
        tell: Callable[[ToSupervisor], None],
    ) -> None:
        self._books = books
        self._clock = clock
        self._config = config
        self._arena_size = arena_size
        self._registry = registry
        self._tell = tell
        self._metrics: dict[str, ServiceMetrics] = {}
        self._retiring: list[Generation] = []
        self._epochs: dict[int, int] = {}
        self._devices: dict[int, tuple[int, tuple[str, ...]]] = {}
        self._lost: dict[WorkerHandle, float] = {}
        self.generation: Generation | None = None
        self.handles: dict[int, WorkerHandle] = {}

    def greet(self, link: EngineLink, hello: Hello) -> WorkerHandle | None:
        """Take a new link, or refuse it: another protocol, or a start of the worker that is over."""
        known = self.handles.get(hello.worker)
        floor = max(self._epochs.get(hello.worker, 0), 0 if known is None else known.hello.epoch)
        if hello.protocol != PROTOCOL or hello.epoch < floor:
            return None
        if known is not None:
            self._gone(known, "killed", "the worker connected again")
        handle = WorkerHandle(self, link, hello, self._clock())
        self.handles[hello.worker] = handle
        link.send([Welcome(PROTOCOL, self._arena_size, self._config.link.window_bytes, self._config.workers.beat_s)])
        return handle

    def received(self, handle: WorkerHandle, messages: list[LinkMessage]) -> None:
        """A worker said something."""
        self._books.from_worker(handle, messages)

    def beat(self, handle: WorkerHandle, message: Beat) -> None:
        """A sign of life."""
        handle.beat(self._clock(), message.cpu_s)
        handle.holds(message)
        if handle.state is WorkerState.FROZEN:
            self._freeze(handle, False)

    def ready(self, handle: WorkerHandle, message: Ready) -> None:
        """The worker has loaded its service."""
        handle.loaded(message)
        self._join(handle)
        self._tell(WorkerReady(handle.id, handle.hello.epoch, message.load_s))

    def _join(self, handle: WorkerHandle) -> None:
        """Give work to a worker that is ready, if its generation is here already."""
        generation = self.numbered(handle.hello.generation)
        state = None if generation is None else generation.services.get(handle.hello.service)
        if state is None or handle.state is not WorkerState.READY:
            return
        if handle.hello.digest != state.digest:
            self.kill(handle, "killed", "it loaded another version of the service than was described")
            return
        handle.service = state
        state.workers[handle.id] = handle
        state.failed = ""
        state.scheduler.worker_up(self._clock(), handle.id, state.slots)
        self._books.touch(state)

    def link_lost(self, handle: WorkerHandle, reason: str) -> None:
        """The link broke: no work goes there; its calls wait for the supervisor's word how the process died."""
        if self.handles.get(handle.id) is not handle:
            return
        self._lost[handle] = self._clock() + _LOST_GRACE_S
        if handle.state is not WorkerState.LOST:  # else its end was ordered, and the cause that was given then stands
            self.kill(handle, "crash", reason)

    def worker_started(self, message: WorkerStarted) -> None:
        """A process was started: an older one with this number must not answer any more."""
        self._epochs[message.worker] = message.epoch
        self._devices[message.worker] = (message.generation, message.uuids)

    def devices_of(self, worker: int) -> tuple[str, ...]:
        """Return the uuids of the devices that a worker sees; empty on the CPU, and within this process."""
        return self._devices.get(worker, (0, ()))[1]

    def uuids(self) -> set[str]:
        """Return the devices of all workers, also of those that are being replaced."""
        return {uuid for _generation, uuids in self._devices.values() for uuid in uuids}

    def worker_died(self, message: WorkerDied) -> None:
        """The supervisor reaped the process: what it had runs again or fails."""
        handle = self.handles.get(message.worker)
        self._epochs[message.worker] = max(self._epochs.get(message.worker, 0), message.epoch + 1)
        if handle is not None and handle.hello.epoch <= message.epoch:
            self._gone(handle, message.cause, message.detail)

    def service_failed(self, message: ServiceFailed) -> None:
        """No worker of the service can be had: what waits for one fails now."""
        for state in self.states():
            if state.spec.name == message.service and not state.workers:
                state.failed = message.reason
                for instruction in state.scheduler.drop_all(Code.UNAVAILABLE):
                    self._books.apply(state, instruction, self._clock())

    def _gone(self, handle: WorkerHandle, cause: DeathCause, detail: str) -> None:
        if self.handles.get(handle.id) is handle:
            del self.handles[handle.id]
        self._lost.pop(handle, None)
        handle.state = WorkerState.LOST
        if handle.service is not None:
            handle.service.workers.pop(handle.id, None)
            handle.service.metrics.worker_lost(cause)
        self._books.lost(handle, cause)
        handle.release_all()
        handle.link.close(f"worker {handle.id} is gone: {detail}")

    def kill(self, handle: WorkerHandle, cause: DeathCause, detail: str) -> None:
        """Have the supervisor kill and replace a worker; it gets no new work."""
        handle.state = WorkerState.LOST  # a late sign of life does not bring it back
        if handle.service is not None:
            handle.service.scheduler.worker_paused(handle.id, True)
        self._tell(KillWorker(handle.id, handle.hello.epoch, cause, detail))

    def _freeze(self, handle: WorkerHandle, frozen: bool) -> None:
        handle.state = WorkerState.FROZEN if frozen else WorkerState.READY
        if handle.service is not None:
            handle.service.scheduler.worker_paused(handle.id, frozen)
            self._books.touch(handle.service)

    def watch(self) -> None:
        """Look for frozen workers, and for lost ones of which the supervisor said nothing."""
        now = self._clock()
        for handle in list(self.handles.values()):
            if handle.state not in (WorkerState.READY, WorkerState.FROZEN):
                continue
            silent_s = handle.silent_s(now)
            if silent_s > self._config.workers.kill_s:
                self.kill(handle, "killed", f"frozen: no sign of life and no CPU time for {silent_s:.1f} s")
            elif (silent_s > self._config.workers.frozen_s) != (handle.state is WorkerState.FROZEN):
                self._freeze(handle, handle.state is WorkerState.READY)
        for handle, until in list(self._lost.items()):
            if now > until:
                self._gone(handle, "killed", "the link broke")

    # -- generations -------------------------------------------------------------------------------------------------------

    def activate(self, number: int, application: Application) -> None:
        """Send new calls to a generation; older ones finish what they have."""
        for spec in application.services:
            names = [method.name for method in spec.methods]
            metrics = self._metrics.get(spec.name)
            if metrics is None or metrics.methods != names:
                self._metrics[spec.name] = self._registry.service(spec.name, names)
        if self.generation is not None:
            if self.generation.number == number:
                return
            self._retiring.append(self.generation)
            oldest = self._retiring[0].number
            self._devices = {id: one for id, one in self._devices.items() if one[0] >= oldest}
        self.generation = Generation(number, application, self._config.traffic, self._metrics)
        for handle in list(self.handles.values()):
            if handle.service is None:
                self._join(handle)
        self.idle()

    def states(self) -> Iterator[ServiceState]:
        """Return every service of every generation that has open calls or may get some."""
        for generation in (*self._retiring, self.generation):
            if generation is not None:
                yield from generation.services.values()

    def numbered(self, number: int) -> Generation | None:
        """Return a generation that is current or still has open calls."""
        for generation in (self.generation, *self._retiring):
            if generation is not None and generation.number == number:
                return generation
        return None

    def idle(self) -> None:
        """Tell the supervisor of older generations that have no open call, the oldest first: the word ends all before it, too."""
        while self._retiring and not self._retiring[0].open:
            self._tell(Retired(self._retiring.pop(0).number))

    def why_not_ready(self) -> str:
        """Return why calls cannot be answered now; "" when every service has a worker that lives."""
        if self.generation is None:
            return "starting: the service is being described"
        for state in self.generation.services.values():
            if state.failed and not state.workers:
                return state.failed
            if not any(handle.state is WorkerState.READY for handle in state.workers.values()):
                return f"starting: no worker of {state.spec.name} is ready"
        return ""
