"""All worker processes of all generations: started, watched, replaced, stopped.

Owns every worker's number, epoch and process; never a socket, and never decides which generation serves. Times are
CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

import signal
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from tiffin.config.parts import FilesConfig, WorkersConfig
from tiffin.gpu.plan import Placement, Plan
from tiffin.messages.control import (
    DeathCause,
    KillWorker,
    Note,
    ServiceFailed,
    ToFront,
    WorkerDied,
    WorkerReady,
    WorkerStarted,
)
from tiffin.server.deaths import death
from tiffin.server.devices import Devices, Release, Verdict
from tiffin.server.loop import Loop, Timer
from tiffin.server.placer import Placer, Running, WorkerOrder
from tiffin.server.processes import OomCount
from tiffin.server.report import Report
from tiffin.server.restarts import Restarts
from tiffin.spec.service import Application, ServiceSpec
from tiffin.worker.setup import EXIT_OTHER_SPEC, WorkerSetup

STOP_GRACE_S = 10.0
_LOOK_S = 5.0  # between two looks at devices that are lost, or held by a process that should be gone


@dataclass(eq=False)
class Worker:
    """One worker number; the process behind it changes.

    Attributes:
        epoch: rises at every start. running: None between two processes. ready: loaded and taking calls.
        asked: why it is being killed by us. stopping: it is not replaced any more.
        waiting: it is not replaced before `Fleet.resume`. died_in_load: its last process did.
        release: the look for its devices, before it is started again. stuck: why they cannot be had, "" where they can.
    """

    id: int
    spec: ServiceSpec
    placement: Placement
    generation: Generation
    epoch: int = 0
    running: Running | None = None
    ready: bool = False
    stopping: bool = False
    waiting: bool = False
    died_in_load: bool = False
    asked: tuple[DeathCause, str] | None = None
    timer: Timer | None = None
    release: Release | None = None
    stuck: str = ""


@dataclass(eq=False)
class Generation:
    """One version of the application and its workers.

    Attributes:
        number: rises with every reload. fresh: a describe child said it, not the cache. failed: reason by service name.
    """

    number: int
    application: Application
    plan: Plan
    fresh: bool
    workers: list[Worker] = field(default_factory=list)
    restarts: dict[str, Restarts] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Whether every worker takes calls."""
        return all(worker.ready for worker in self.workers)

    @property
    def serves(self) -> bool:
        """Whether every service has a worker that takes calls."""
        served = {worker.spec.name for worker in self.workers if worker.ready}
        return all(spec.name in served for spec in self.application.services)


class Owner(Protocol):
    """Who is told what happens to the workers, and decides about generations."""

    def tell(self, message: ToFront) -> None:
        """Pass a message to the front."""
        ...

    def workers_changed(self, generation: Generation) -> None:
        """A worker became ready or is gone."""
        ...

    def mismatch(self, generation: Generation) -> bool:
        """A worker found another class than was described. Return whether the application is described anew because of it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What every worker of a run is told. link: path of the workers' socket. life_fd: read end of the life pipe.

    files: limits of files that clients send.
    """

    app_dir: str
    link: str
    life_fd: int
    files: FilesConfig = field(default_factory=FilesConfig)


class Fleet:
    """See the module.

    Args:
        loop, placer, report: what it works with. workers: settings. launch: what every worker is told. owner: who decides.
        devices: knows when a dead worker's GPUs are free again.
    """

    def __init__(
        self,
        loop: Loop,
        placer: Placer,
        report: Report,
        workers: WorkersConfig,
        launch: Launch,
        owner: Owner,
        devices: Devices,
    ) -> None:
        self._devices = devices
        self._loop = loop
        self._placer = placer
        self._report = report
        self._config = workers
        self._launch = launch
        self._owner = owner
        self._oom = OomCount()
        self._workers: dict[int, Worker] = {}
        self._next_id = 0

    @property
    def empty(self) -> bool:
        """Whether no worker process is left."""
        return all(worker.running is None for worker in self._workers.values())

    @property
    def pids(self) -> set[int]:
        """Return the numbers of all worker processes."""
        return {worker.running.pid for worker in self._workers.values() if worker.running is not None}

    def start(self, generation: Generation) -> None:
        """Start the workers of a generation as its plan says."""
        specs = {spec.name: spec for spec in generation.application.services}
        generation.restarts = {name: Restarts(self._config) for name in specs}
        for placement in generation.plan.placements:
            worker = Worker(self._next_id, specs[placement.service], placement, generation)
            self._next_id += 1
            self._workers[worker.id] = worker
            generation.workers.append(worker)
        for worker in generation.workers:
            self._start(worker, first=True)

    def started(self) -> Iterator[WorkerStarted]:
        """Yield every worker that runs, as a new front must know it."""
        for worker in self._workers.values():
            if worker.running is not None:
                yield self._announcement(worker, worker.running)

    def worker_ready(self, message: WorkerReady) -> None:
        """A worker said that it loaded its service (it says so again to every new front)."""
        worker = self._workers.get(message.worker)
        if worker is None or worker.epoch != message.epoch or worker.ready or worker.running is None:
            return
        worker.ready = True
        worker.died_in_load = False
        self._cancel_timer(worker)
        generation = worker.generation
        generation.restarts[worker.spec.name].ready()
        generation.failed.pop(worker.spec.name, None)
        worker.stuck = ""
        self._report.info(f"{_name(worker)} is ready after {message.load_s:.1f} s")
        self._owner.workers_changed(generation)

    def kill(self, message: KillWorker) -> None:
        """Kill a worker for the front, unless it is another process by now or dead by itself."""
        worker = self._workers.get(message.worker)
        if worker is None or worker.epoch != message.epoch or worker.running is None or worker.running.dead():
            return
        worker.asked = (message.cause, message.detail)
        worker.running.kill()

    def kill_on(self, uuids: Collection[str], detail: str) -> None:
        """Kill and replace the workers that sit on any of these devices: their contexts cannot be trusted any more."""
        for worker in self._workers.values():
            if worker.running is not None and not worker.stopping and not set(uuids).isdisjoint(worker.placement.uuids):
                worker.asked = ("device", detail)
                worker.running.kill()

    def stop(self, generation: Generation | None = None, grace_s: float = STOP_GRACE_S) -> None:
        """Stop the workers of a generation, or all: asked first, killed `grace_s` later. They are not replaced."""
        for worker in list(self._workers.values()):
            if generation is not None and worker.generation is not generation:
                continue
            worker.stopping = True
            self._cancel_timer(worker)
            if worker.running is None:
                del self._workers[worker.id]
                continue
            worker.asked = ("killed", "stopped")
            worker.running.terminate()
            worker.timer = self._loop.later(
                grace_s, partial(self._overdue, worker, "killed", "it did not stop when asked")
            )

    def resume(self, generation: Generation) -> None:
        """Go on with workers that were held back because the application was being described again."""
        for worker in generation.workers:
            if worker.waiting and not worker.stopping:
                worker.waiting = False
                self._died_in_load(worker, "its class is not what was described")

    def discard(self) -> None:
        """Kill and reap every worker now, telling nobody."""
        for worker in self._workers.values():
            self._cancel_timer(worker)
            if worker.running is not None:
                worker.running.discard()
        self._workers.clear()

    def _start(self, worker: Worker, *, first: bool = False) -> None:
        worker.timer = None
        worker.epoch += 1
        worker.ready = False
        worker.asked = None
        spec = worker.spec
        order = WorkerOrder(
            setup=WorkerSetup(
                target=spec.target,
                app_dir=self._launch.app_dir,
                service=spec.name,
                worker=worker.id,
                epoch=worker.epoch,
                generation=worker.generation.number,
                digest=spec.digest(),
                device=worker.placement.device,
                link=self._launch.link,
                threads=spec.threads,
                concurrency=spec.concurrency,
                streams=spec.streams,
                beat_s=self._config.beat_s,
                life_fd=self._launch.life_fd,
                again=worker.died_in_load,
                files=self._launch.files,
                memory=worker.placement.memory,
                cores=worker.placement.cores,
            ),
            env=worker.placement.env,
        )
        try:
            running = self._placer.start(order, partial(self._ended, worker))
        except OSError as error:  # no process or no memory to be had just now
            self._died_in_load(worker, f"it cannot be started: {error}")
            return
        worker.running = running
        worker.timer = self._loop.later(
            self._config.load_timeout_s,
            partial(self._overdue, worker, "killed", f"it did not load within {self._config.load_timeout_s:g} s"),
        )
        line = f"{_name(worker)}: {worker.placement.where} (pid {running.pid})"
        self._report.info(line if first else f"{line}, start {worker.epoch}")
        self._owner.tell(self._announcement(worker, running))

    def _announcement(self, worker: Worker, running: Running) -> WorkerStarted:
        return WorkerStarted(
            worker=worker.id,
            epoch=worker.epoch,
            pid=running.pid,
            service=worker.spec.name,
            device=worker.placement.device,
            generation=worker.generation.number,
            uuids=worker.placement.uuids,
        )

    def _overdue(self, worker: Worker, cause: DeathCause, detail: str) -> None:
        worker.timer = None
        if worker.running is not None:
            worker.asked = (cause, detail)
            worker.running.kill()

    def _ended(self, worker: Worker, status: int) -> None:
        was_ready, asked = worker.ready, worker.asked
        pids = worker.running.tree if worker.running is not None else frozenset[int]()
        worker.running = None
        worker.ready = False
        self._cancel_timer(worker)
        oom = status == -signal.SIGKILL and self._oom.rose()
        cause, detail = death(status, asked, oom=oom)
        self._owner.tell(WorkerDied(worker.id, worker.epoch, cause, detail))
        if worker.stopping:
            self._workers.pop(worker.id, None)
        elif was_ready:
            self._report.warning(f"{_name(worker)} died ({detail}); starting it again")
            self._start_when_free(worker, pids)
        elif status == EXIT_OTHER_SPEC and self._owner.mismatch(worker.generation):
            worker.waiting = True
            self._report.warning(f"{_name(worker)} is not what was described; describing it again")
        else:
            self._died_in_load(worker, detail, pids)
        self._owner.workers_changed(worker.generation)

    def _start_when_free(self, worker: Worker, pids: Collection[int], limit_s: float | None = None) -> None:
        """Start a worker again, on the CPU at once, on GPUs when the processes of the one before have left them."""
        worker.timer = None
        uuids = worker.placement.uuids
        if not uuids:
            self._start(worker)
            return
        limit_s = self._config.device_release_s if limit_s is None else limit_s
        worker.release = self._devices.release(uuids, pids, limit_s, partial(self._released, worker, pids))

    def _released(self, worker: Worker, pids: Collection[int], verdict: Verdict) -> None:
        """The devices of a worker that is to be started are free, or will not be."""
        worker.release = None
        if worker.stopping:
            return
        if verdict.state in ("free", "unknown"):
            if verdict.state == "unknown":
                self._report.warning(f"{_name(worker)} is started though {verdict.reason}")
            elif worker.stuck:
                self._report.info(f"{_name(worker)}: its devices can be used again")
            self._start(worker)
            return
        pause_s = _LOOK_S
        if verdict.state == "lost":
            reason = f"{verdict.reason}. Reset it (sudo nvidia-smi --gpu-reset), or reboot; tiffin doctor says more"
        else:
            reason = f"{verdict.reason}, {self._config.device_release_s:g} s after its end"
        self._stuck(worker, reason)
        worker.timer = self._loop.later(pause_s, partial(self._start_when_free, worker, pids, pause_s))

    def _stuck(self, worker: Worker, reason: str) -> None:
        """A worker cannot be started: say so once, and fail what waits for it where nobody else serves."""
        generation, name = worker.generation, worker.spec.name
        if worker.stuck != reason:
            worker.stuck = reason
            self._report.error(f"{_name(worker)} cannot be started: {reason}")
            self._owner.tell(Note(f"{_name(worker)} FAILED: {reason}"))
        served = any(other.ready for other in generation.workers if other.spec is worker.spec)
        if not served and name not in generation.failed:
            generation.failed[name] = f"{name} has no worker: {reason}"
            self._owner.tell(ServiceFailed(service=name, reason=generation.failed[name]))

    def _died_in_load(self, worker: Worker, detail: str, pids: Collection[int] = ()) -> None:
        worker.died_in_load = True
        generation, name = worker.generation, worker.spec.name
        restarts = generation.restarts[name]
        pause_s = restarts.died_in_load(self._loop.clock())
        self._report.error(f"{_name(worker)} died while loading ({detail}); starting it again in {pause_s:g} s")
        worker.timer = self._loop.later(pause_s, partial(self._start_when_free, worker, pids))
        served = any(other.ready for other in generation.workers if other.spec is worker.spec)
        if restarts.failed and not served and name not in generation.failed:
            reason = f"{name} cannot be loaded: its workers keep dying while they load it, last: {detail}"
            generation.failed[name] = reason
            self._report.error(reason)
            self._owner.tell(ServiceFailed(service=name, reason=reason))

    def _cancel_timer(self, worker: Worker) -> None:
        if worker.release is not None:
            worker.release.cancel()
            worker.release = None
        if worker.timer is not None:
            worker.timer.cancel()
            worker.timer = None


def _name(worker: Worker) -> str:
    return f"worker {worker.id} of {worker.spec.name}"
