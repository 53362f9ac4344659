"""What may cross the wall between supervisor and front.

Owns the message structs; never sends one. Times in seconds.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from tiffin.config.parts import Config
from tiffin.spec.service import Application

# "device": its CUDA context is dead; like a crash, a call may be to blame. "out_of_memory": it asked to be replaced.
DeathCause = Literal["crash", "killed", "run_limit", "oom_killer", "device", "out_of_memory"]


class FrontSetup(msgspec.Struct, tag=True):
    """First message to a new front: its settings and the numbers of the descriptors that it inherited."""

    config: Config
    http_fds: list[int]
    link_fd: int
    urls: list[str]


class SpecReady(msgspec.Struct, tag=True):
    """The application is known: routes exist from now on. `generation` rises with every reload."""

    application: Application
    generation: int


class WorkerStarted(msgspec.Struct, tag=True):
    """A worker process was started; a link that says another epoch is refused. `uuids`: the devices that it sees."""

    worker: int
    epoch: int
    pid: int
    service: str
    device: str
    generation: int = 1
    uuids: tuple[str, ...] = ()


class WorkerDied(msgspec.Struct, tag=True):
    """A worker's process is gone (reaped). `detail` is for logs: exit status or signal name."""

    worker: int
    epoch: int
    cause: DeathCause
    detail: str


class ServiceFailed(msgspec.Struct, tag=True):
    """A service's workers keep dying in load: it is FAILED, with the reason, until a worker becomes ready."""

    service: str
    reason: str


class Note(msgspec.Struct, tag=True):
    """A line that readiness shows while the start goes on or when it went wrong, for example the CPU fall-back."""

    text: str


class Drain(msgspec.Struct, tag=True):
    """Stop: readiness false, finish open calls, close, then say Drained."""

    delay_s: float
    timeout_s: float


class FrontReady(msgspec.Struct, tag=True):
    """The front accepts connections."""

    pid: int


class WorkerReady(msgspec.Struct, tag=True):
    """The worker loaded its service and takes calls."""

    worker: int
    epoch: int
    load_s: float


class KillWorker(msgspec.Struct, tag=True):
    """Kill the worker's process group and replace it. `cause` comes back in WorkerDied."""

    worker: int
    epoch: int
    cause: DeathCause
    detail: str


class Retired(msgspec.Struct, tag=True):
    """No call of this or an older generation is open any more: its workers may be stopped."""

    generation: int


class Drained(msgspec.Struct, tag=True):
    """All calls ended, or the time was up with `left` of them open."""

    left: int


ToFront = FrontSetup | SpecReady | WorkerStarted | WorkerDied | ServiceFailed | Note | Drain
ToSupervisor = FrontReady | WorkerReady | KillWorker | Retired | Drained
