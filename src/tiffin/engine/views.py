"""What readiness and metrics show of the engine.

Owns no state but the word "stopping"; reads the engine when somebody looks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sized
from typing import Any, Protocol

from tiffin.engine.engine import Engine
from tiffin.link.arena import Arena
from tiffin.observe.metrics import Registry


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
                }
                for _id, handle in sorted(self._engine.fleet.handles.items())
            ],
            "notes": list(self._notes),
        }

    def register(self, registry: Registry, connections: Connections, arena: Arena | None) -> None:
        """Have the gauges read from here."""
        registry.gauge("tiffin_in_flight", self._in_flight)
        registry.gauge("tiffin_queued_calls", lambda: self._by_service("queued_calls"))
        registry.gauge("tiffin_queued_bytes", lambda: self._by_service("queued_bytes"))
        registry.gauge("tiffin_workers", self._workers)
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

    def _workers(self) -> Mapping[tuple[str, ...], float]:
        found = Counter((handle.hello.service, handle.state.value) for handle in self._engine.fleet.handles.values())
        return {labels: float(number) for labels, number in found.items()}
