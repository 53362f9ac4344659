"""What readiness and metrics show of the engine.

Owns no state but the word "stopping"; reads the engine when somebody looks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sized
from typing import Any, Protocol

from tiffin.engine.engine import Engine
from tiffin.engine.worker import Memory
from tiffin.link.arena import Arena
from tiffin.observe.metrics import Registry

_MOST_ROWS = 1 << 24


class Connections(Protocol):
    """Whoever knows the open connections."""

    @property
    def connections(self) -> Sized:
        """Those that are open."""
        ...


class Views:
    """See the module.

    Args:
        engine: that is looked at. notes: lines of the supervisor, shown as they are.

    Attributes:
        stopping: a drain has begun: not ready, whatever the workers do.
    """

    def __init__(self, engine: Engine, notes: list[str]) -> None:
        self._engine = engine
        self._notes = notes
        self.stopping = False

    def status(self) -> dict[str, Any]:
        """Return what /readyz shows."""
        reason = "stopping" if self.stopping else self._engine.fleet.why_not_ready()
        generation = self._engine.fleet.generation
        return {
            "ready": not reason,
            "reason": reason,
            "generation": 0 if generation is None else generation.number,
            "workers": [
                {
                    "worker": handle.id,
                    "service": handle.hello.service,
                    "pid": handle.hello.pid,
                    "device": handle.hello.device,
                    "state": handle.state.value,
                    "generation": handle.hello.generation,
                    "uuids": self._engine.fleet.devices_of(handle.id),
                    "memory": _memory(handle.memory),
                }
                for _id, handle in sorted(self._engine.fleet.handles.items())
            ],
            "notes": list(self._notes),
        }

    def register(self, registry: Registry, connections: Connections, arena: Arena | None) -> None:
        """Have the gauges read from here."""
        registry.gauge("tiffin_in_flight", self._in_flight)
        registry.gauge("tiffin_batch_limit_rows", self._row_limits)
        registry.gauge("tiffin_queued_calls", lambda: self._by_service("queued_calls"))
        registry.gauge("tiffin_queued_bytes", lambda: self._by_service("queued_bytes"))
        registry.gauge("tiffin_workers", self._workers)
        registry.gauge("tiffin_worker_gpu_memory_bytes", self._memory)
        registry.gauge("tiffin_batch_gpu_memory_bytes", self._peaks)
        registry.counter("tiffin_worker_busy_seconds", self._busy)
        registry.gauge("tiffin_http_connections", lambda: {(): float(len(connections.connections))})
        registry.gauge("tiffin_ready", lambda: {(): float(self.status()["ready"])})
        registry.gauge("tiffin_arena_used_bytes", lambda: {(): float(arena.used_bytes if arena else 0)})

    def _in_flight(self) -> Mapping[tuple[str, ...], float]:
        found = Counter((c.state.spec.name, c.state.spec.methods[c.method].name) for c in self._engine.calls.values())
        return {labels: float(number) for labels, number in found.items()}

    def _by_service(self, what: str) -> Mapping[tuple[str, ...], float]:
        generation = self._engine.fleet.generation
        if generation is None:
            return {}
        return {(name,): float(getattr(state.scheduler, what)) for name, state in generation.services.items()}

    def _row_limits(self) -> Mapping[tuple[str, ...], float]:
        generation = self._engine.fleet.generation
        states = {} if generation is None else generation.services
        return {
            (name, method): float(rows)
            for name, state in states.items()
            for method, rows in state.scheduler.row_limits().items()
        }

    def _workers(self) -> Mapping[tuple[str, ...], float]:
        found = Counter((handle.hello.service, handle.state.value) for handle in self._engine.fleet.handles.values())
        return {labels: float(number) for labels, number in found.items()}

    def _busy(self) -> Mapping[tuple[str, ...], float]:
        return {(one.hello.service, str(one.id)): one.busy_s for one in self._engine.fleet.handles.values()}

    def _memory(self) -> Mapping[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {}
        for handle in self._engine.fleet.handles.values():
            memory = handle.memory
            for kind, size in (("used", memory.used), ("loaded", memory.loaded), ("peak", memory.peak)):
                if size >= 0:
                    found[handle.hello.service, str(handle.id), kind] = float(size)
        return found

    def _peaks(self) -> Mapping[tuple[str, ...], float]:
        """Return the most that any worker measured: what a batch takes is the method's matter, not the worker's."""
        found: dict[tuple[str, ...], float] = {}
        for handle in self._engine.fleet.handles.values():
            methods = () if handle.service is None else handle.service.spec.methods
            declared: set[str] = {method.name for method in methods}
            for method in declared & handle.memory.peaks.keys():  # a worker runs user code: it cannot make up series
                for rows, size in handle.memory.peaks[method].items():
                    if 0 < rows < _MOST_ROWS and not rows & (rows - 1):
                        labels = (handle.hello.service, method, str(rows))
                        found[labels] = max(found.get(labels, 0.0), float(size))
        return found


def _memory(memory: Memory) -> dict[str, Any]:
    """Return what /readyz shows of a worker's device memory: bytes, null where no framework can tell."""
    used, loaded = (None if size < 0 else size for size in (memory.used, memory.loaded))
    return {"used_bytes": used, "loaded_bytes": loaded, "peak_bytes": memory.peaks}
