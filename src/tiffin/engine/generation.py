"""A generation: one loaded version of the application, with a scheduler for each of its services.

Owns the schedulers of its services; never a link or a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tiffin.batching.policy import Limits, MethodPolicy, Slots
from tiffin.batching.scheduler import Scheduler
from tiffin.config.parts import TrafficConfig
from tiffin.observe.metrics import ServiceMetrics
from tiffin.spec.service import Application, MethodSpec, ServiceSpec

if TYPE_CHECKING:
    from tiffin.engine.worker import WorkerHandle


class ServiceState:
    """One service of one generation as the engine runs it.

    Attributes:
        spec, digest, traffic: what it is, and its limits. scheduler: decides. workers: by id, those that are ready.
        failed: why no worker can be had, "" while all is well. open: number of its calls that have not ended.
    """

    __slots__ = ("digest", "failed", "metrics", "open", "scheduler", "slots", "spec", "traffic", "workers")

    def __init__(self, spec: ServiceSpec, traffic: TrafficConfig, metrics: ServiceMetrics) -> None:
        self.spec = spec
        self.digest = spec.digest()
        self.traffic = msgspec.convert(msgspec.to_builtins(traffic) | spec.traffic, TrafficConfig)
        self.scheduler = Scheduler(
            [method_policy(method, self.traffic) for method in spec.methods],
            Limits(
                queue_calls=self.traffic.queue_calls,
                queue_bytes=self.traffic.queue_bytes,
                max_attempts=self.traffic.max_attempts,
            ),
        )
        self.slots = Slots(threads=spec.threads, concurrency=spec.concurrency, streams=spec.streams)
        self.metrics = metrics
        self.workers: dict[int, WorkerHandle] = {}
        self.failed = ""
        self.open = 0


class Generation:
    """All services of one loaded version.

    Attributes:
        number: rises with every reload. services: by name, dependencies first. entry: the one with routes.
    """

    __slots__ = ("application", "entry", "number", "services")

    def __init__(
        self, number: int, application: Application, traffic: TrafficConfig, metrics: dict[str, ServiceMetrics]
    ) -> None:
        self.number = number
        self.application = application
        self.services = {spec.name: ServiceState(spec, traffic, metrics[spec.name]) for spec in application.services}
        self.entry = self.services[application.entry.name]

    @property
    def open(self) -> int:
        """Return the number of calls that have not ended."""
        return sum(state.open for state in self.services.values())


def method_policy(method: MethodSpec, traffic: TrafficConfig) -> MethodPolicy:
    """Return what the scheduler needs to know of a method."""
    return MethodPolicy(
        name=method.name,
        batchable=method.batchable,
        max_rows=method.max_batch_size if method.batchable else 1,
        max_latency_s=method.max_latency_s,
        lane=method.lane,
        idempotent=method.idempotent,
        run_limit_s=method.run_limit_s or (method.timeout_s or traffic.timeout_s) / 2,
    )
