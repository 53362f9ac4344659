"""The supervisor: the process that `tiffin serve` is. Startup, main loop, shutdown.

Owns the listening sockets, the front, the workers and the generations' numbers; never imports user code, and never a library that
it can do without (it lives as long as the service). Times in seconds.
"""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack

from tiffin.config.parts import Config
from tiffin.errors import UsageError
from tiffin.frameworks.served_name import shown
from tiffin.gpu import inventory
from tiffin.gpu.plan import plan
from tiffin.messages.control import (
    Drain,
    Drained,
    KillWorker,
    Note,
    Retired,
    ServiceFailed,
    SpecReady,
    ToFront,
    ToSupervisor,
    WorkerReady,
)
from tiffin.server.boards import BoardWatch
from tiffin.server.describe_cache import DescribeCache, default_folder
from tiffin.server.describing import Described, Describer
from tiffin.server.devices import DeviceWatch
from tiffin.server.fleet import STOP_GRACE_S, Fleet, Generation, Launch
from tiffin.server.front_process import FrontProcess
from tiffin.server.loop import Loop, Timer
from tiffin.server.placer import LocalPlacer, usable_cores
from tiffin.server.processes import reap_strangers
from tiffin.server.report import Report
from tiffin.server.sockets import LINK_NAME, make_runtime_folder, open_http, open_link, remove_runtime_folder
from tiffin.server.watch import FileWatch
from tiffin.version import VERSION

_LOOK_S = 0.5  # between two looks at the user's files
_ADOPT_S = 1.0  # between two looks for orphans, as process 1
_SLACK_S = 2.0  # for the front to say that it is done, beyond the time that it was given
_HURRY_S = 1.0  # for workers, after a second signal


def run(target: str, app_dir: str, config: Config, *, reload: bool = False) -> int:
    """Serve until a signal says stop.

    Args:
        target: what to serve, as the describe child takes it. app_dir: folder that it is imported from.
        config: all settings. reload: load the service anew when one of its files changes.

    Returns:
        exit status: 0 after a stop; the describe child's where the service cannot be described (it has said why on stderr);
        128 + the signal's number after a stop in a hurry.

    Raises:
        UsageError: the start is impossible: a taken port, too few devices.
    """
    with ExitStack() as opened:
        supervisor = Supervisor(target, app_dir, config, reload=reload)
        supervisor.startup(opened)
        return supervisor.main_loop()


class Supervisor:
    """See `run`; the owner of its front and of its fleet."""

    _front: FrontProcess
    _fleet: Fleet
    _boards: BoardWatch

    def __init__(self, target: str, app_dir: str, config: Config, *, reload: bool) -> None:
        self._target = target
        self._app_dir = app_dir
        self._config = config
        self._report = Report(config.log.level)
        self._loop = Loop()
        self._began = self._loop.clock()
        self._describer = Describer(
            self._loop, DescribeCache(default_folder()), target, app_dir, config.workers.load_timeout_s
        )
        self._watch = FileWatch([], app_dir) if reload else None
        self._http: list[socket.socket] = []
        self._urls: list[str] = []
        self._inventory: inventory.Inventory | None = None
        self._numbers = 0
        self._current: Generation | None = None  # gets new calls
        self._next: Generation | None = None  # is being loaded
        self._old: list[Generation] = []  # finish their calls
        self._said: dict[str, None] = {}  # notes, in the log and to the front
        self._announced = 0  # number of the generation that was last said to be ready
        self._fresh = False  # the describe child that runs was started although the cache had an answer
        self._signals = 0
        self._timer: Timer | None = None
        self._stopping = False
        self._status = 0

    # -- startup -----------------------------------------------------------------------------------------------------------

    def startup(self, opened: ExitStack) -> None:
        """Open the sockets, start the front, get to know the application.

        Args:
            opened: is given everything that must not be left behind.

        Raises:
            StartError: the machine refuses.
        """
        config = self._config
        opened.callback(self._loop.close)
        if config.http.tls_certificate or config.http.tls_key:
            from tiffin.web.listener import tls_context  # brings the edge and ssl along: only where TLS is on

            tls_context(config.http)  # a front would find out too, but can tell nobody
        self._http = open_http(config.http.host, config.http.port, config.http.backlog)
        opened.callback(self._close_http)
        self._urls = urls(config, self._http)
        folder = make_runtime_folder()
        opened.callback(remove_runtime_folder, folder)
        link = open_link(folder)
        opened.callback(link.close)
        life_fd, our_end = os.pipe()  # workers hold the reading end: it ends with us, however we end
        opened.callback(os.close, life_fd)
        opened.callback(os.close, our_end)
        self._report.info(f"Tiffin {VERSION}: starting {shown(self._target) or self._app_dir}")
        self._front = FrontProcess(self._loop, self._report, config, lambda: self._http, link, self._urls, self)
        opened.callback(self._front.discard)
        self._front.start()
        placer = LocalPlacer(self._loop, os.environ, life_fd)
        launch = Launch(app_dir=self._app_dir, link=str(folder / LINK_NAME), life_fd=life_fd, files=self._config.files)
        devices = DeviceWatch(self._loop)
        opened.callback(devices.close)
        self._fleet = Fleet(self._loop, placer, self._report, config.workers, launch, self, devices)
        self._boards = BoardWatch(devices, self._fleet, self._report)
        opened.callback(self._fleet.discard)
        opened.callback(self._describer.cancel)
        # In the loop, not here: from there on a signal stops the workers in order.
        self._loop.later(0.0, lambda: self._describer.describe(self._described))
        if self._watch is not None:
            self._loop.later(_LOOK_S, self._look)
        if os.getpid() == 1:
            self._loop.later(_ADOPT_S, self._adopt)

    def main_loop(self) -> int:
        """Serve; return the exit status."""
        self._loop.run(self._signalled)
        return self._status

    def _close_http(self) -> None:
        for sock in self._http:
            sock.close()
        self._http = []

    # -- the application ---------------------------------------------------------------------------------------------------

    def _described(self, described: Described) -> None:
        """The application is known, or cannot be."""
        fresh, self._fresh = self._fresh, False
        if self._watch is not None and described.files:
            self._watch = FileWatch(described.files, self._app_dir)
        if described.application is None:
            self._rejected(described.problem, described.status)
            return
        before = self._next or self._current
        if fresh and before is not None and described.application == before.application:
            self._report.error(
                "the service describes itself in another way when it is loaded by a worker; see its decorators"
            )
            before.fresh = True
            self._fleet.resume(before)
            return
        if self._inventory is None:  # taken once: later our own workers would make the devices look busy
            self._inventory = inventory.take()
        services = described.application.services
        try:
            planned = plan(
                services,
                self._inventory,
                self._config.workers,
                cores=usable_cores(),
                affinity=os.sched_getaffinity(0),
                environ=os.environ,
            )
        except UsageError as error:
            if self._current is None:
                raise
            self._rejected(f"{error.message}\nhint: {error.hint}", error.exit_code)
            return
        self._numbers += 1
        generation = Generation(self._numbers, described.application, planned, fresh=not described.cached)
        if self._next is not None:
            self._fleet.stop(self._next)
        self._next = generation
        for note in planned.notes:
            if note not in self._said:  # a reload need not repeat it
                self._said[note] = None
                self._report.warning(note)
                self._front.send(Note(note))
        if self._current is None or not self._current.serves:
            self._activate()
        self._boards.watch(generation, self._inventory)
        self._fleet.start(generation)

    def _rejected(self, problem: str, status: int) -> None:
        """The application cannot be served as it is now: end with the child's status, or go on with what serves."""
        if self._current is not None:
            self._report.error(f"{problem}; the version that was loaded before goes on")
            for generation in (self._current, self._next):
                if generation is not None:
                    self._fleet.resume(generation)
        elif self._watch is not None:
            self._report.error(f"{problem}; waiting for a file to change")
        else:
            self._status = status
            self._loop.stop()

    def _activate(self) -> None:
        """Send new calls to the generation that was being loaded."""
        if self._next is None:
            return
        if self._current is not None:
            self._give_up(self._current)
            self._old.append(self._current)
        self._current, self._next = self._next, None
        self._front.send(SpecReady(self._current.application, self._current.number))

    def _give_up(self, generation: Generation) -> None:
        """Calls that wait for a worker of this generation which will never come must not wait for their deadline."""
        served = {worker.spec.name for worker in generation.workers if worker.ready}
        for spec in generation.application.services:
            if spec.name not in served:
                self._front.send(ServiceFailed(spec.name, f"{spec.name} was replaced by another version"))

    # -- the owner of the fleet --------------------------------------------------------------------------------------------

    def tell(self, message: ToFront) -> None:
        """See `Owner.tell`."""
        self._front.send(message)

    def workers_changed(self, generation: Generation) -> None:
        """See `Owner.workers_changed`."""
        if self._stopping:
            if self._fleet.empty:
                self._loop.stop()
            return
        if generation is self._next and not self._signals:
            if generation.ready:
                self._activate()
            elif generation.failed and self._current is not None:
                self._next = None
                self._fleet.stop(generation)
                self._report.error("the new version cannot be loaded; the version that was loaded before goes on")
        self._announce()

    def mismatch(self, generation: Generation) -> bool:
        """See `Owner.mismatch`."""
        if generation.fresh or self._stopping or generation not in (self._current, self._next):
            return False
        if not self._fresh:
            self._fresh = True
            self._describer.describe(self._described, use_cache=False)
        return True

    def _announce(self) -> None:
        """Say once per generation that it serves, with the addresses."""
        current = self._current
        if self._signals or current is None or not self._front.ready or not current.ready:
            return
        if self._announced == current.number:
            return
        again = self._announced > 0
        self._announced = current.number
        if again:
            self._report.info("the new version serves")
            return
        seconds = self._loop.clock() - self._began
        self._report.info(f"ready after {seconds:.1f} s: {self._urls[0]}")
        if self._config.http.docs:
            self._report.info(f"try it in a browser: {self._urls[0]}/docs")

    # -- the owner of the front --------------------------------------------------------------------------------------------

    def front_ready(self) -> None:
        """See `FrontOwner.front_ready`: tell a new front all that it must know."""
        current = self._current
        for note in self._said:
            self._front.send(Note(note))
        if current is not None:
            self._front.send(SpecReady(current.application, current.number))
        for started in self._fleet.started():
            self._front.send(started)
        if current is not None:
            for service, reason in current.failed.items():
                self._front.send(ServiceFailed(service, reason))
        self._announce()

    def front_said(self, message: ToSupervisor) -> None:
        """See `FrontOwner.front_said`."""
        if isinstance(message, WorkerReady):
            self._fleet.worker_ready(message)
        elif isinstance(message, KillWorker):
            self._fleet.kill(message)
        elif isinstance(message, Retired):
            self._retire(message.generation)
        elif isinstance(message, Drained):
            if message.left:
                self._report.warning(f"{message.left} connection(s) were still busy when the time was up")
            self._stop_workers(STOP_GRACE_S)

    def front_lost(self) -> None:
        """See `FrontOwner.front_lost`."""
        self._retire(self._numbers)  # the calls of old generations went with the front
        if self._signals and not self._stopping:
            self._stop_workers(STOP_GRACE_S)

    def _retire(self, number: int) -> None:
        """Stop old generations up to a number: none of their calls is open."""
        for generation in list(self._old):
            if generation.number <= number:
                self._old.remove(generation)
                self._fleet.stop(generation)

    # -- reload ------------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Look whether one of the user's files changed."""
        if self._watch is None or self._signals:
            return
        self._loop.later(_LOOK_S, self._look)
        changed = self._watch.changed()
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            self._report.info(f"{changed[0]}{more} changed: loading it")
            self._fresh = False
            self._describer.describe(self._described)

    # -- shutdown ----------------------------------------------------------------------------------------------------------

    def _signalled(self, number: int) -> None:
        """Stop without losing a call; a second signal asks for less patience, a third one for none."""
        self._signals += 1
        if self._signals == 1:
            self._describer.cancel()
            if not self._front.ready:
                self._stop_workers(STOP_GRACE_S)
                return
            traffic = self._config.traffic
            self._report.info(f"{signal.Signals(number).name}: finishing open calls; once more to stop at once")
            self._front.send(Drain(traffic.drain_delay_s, traffic.drain_timeout_s))
            self._timer = self._loop.later(
                traffic.drain_delay_s + traffic.drain_timeout_s + _SLACK_S, lambda: self._stop_workers(STOP_GRACE_S)
            )
            self._loop.later(traffic.drain_delay_s, self._close_http)
        elif self._signals == 2:
            self._status = 128 + number
            self._stop_workers(_HURRY_S)
        else:
            self._loop.stop()

    def _stop_workers(self, grace_s: float) -> None:
        """The calls are over: let the front go, then the workers."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        self._front.close()
        self._fleet.stop(grace_s=grace_s)
        if self._fleet.empty:
            self._loop.stop()

    def _adopt(self) -> None:
        """As process 1 of a container, reap what others left to us."""
        self._loop.later(_ADOPT_S, self._adopt)
        own = self._fleet.pids | {pid for pid in (self._front.pid, self._describer.pid) if pid is not None}
        reap_strangers(own)


def urls(config: Config, sockets: list[socket.socket]) -> list[str]:
    """Return where the service can be reached, with the ports that the kernel gave."""
    scheme = "https" if config.http.tls_certificate else "http"
    found: list[str] = []
    for sock in sockets:
        host, port = sock.getsockname()[:2]
        if host in ("0.0.0.0", "::"):  # noqa: S104 - that is the question here
            host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
        shown = f"[{host}]" if ":" in host else host
        found.append(f"{scheme}://{shown}:{port}{config.http.path_prefix.rstrip('/')}")
    # People read the first one; 127.0.0.1 is what they expect of "localhost".
    return sorted(dict.fromkeys(found), key=lambda url: "[" in url)
