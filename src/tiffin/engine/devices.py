"""What metrics show of the GPUs that the workers sit on.

Owns the choice of which boards and slices those are; the monitor looks at them, and not before somebody asks for metrics while a
worker has a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from tiffin.engine.fleet import Fleet
from tiffin.gpu.live import Reading
from tiffin.gpu.monitor import Monitor
from tiffin.observe.metrics import Registry

# Gauge → the figure in its base unit, None where the device does not tell it.
_FIGURES: dict[str, Callable[[Reading], float | None]] = {
    "tiffin_gpu_up": lambda reading: float(not reading.problem),
    "tiffin_gpu_utilization_ratio": lambda reading: _share(reading.utilization),
    "tiffin_gpu_memory_used_bytes": lambda reading: None if reading.sliced else reading.memory_used,
    "tiffin_gpu_memory_total_bytes": lambda reading: None if reading.sliced else reading.memory_total,
    "tiffin_gpu_power_watts": lambda reading: reading.power,
    "tiffin_gpu_temperature_celsius": lambda reading: reading.temperature,
}


class DeviceViews:
    """See the module.

    Args:
        fleet: knows the workers' devices. monitor: looks at the devices.
    """

    def __init__(self, fleet: Fleet, monitor: Monitor) -> None:
        self._fleet = fleet
        self._monitor = monitor

    def register(self, registry: Registry) -> None:
        """Have the gauges read from here."""
        for name, figure in _FIGURES.items():
            registry.gauge(name, partial(self._read, figure))

    def _read(self, figure: Callable[[Reading], float | None]) -> Mapping[tuple[str, ...], float]:
        return {
            (reading.uuid, "" if reading.index < 0 else str(reading.index), reading.name): float(value)
            for reading in self._shown()
            if (value := figure(reading)) is not None
        }

    def _shown(self) -> list[Reading]:
        uuids = self._fleet.uuids()
        if not uuids and not any(handle.hello.device != "cpu" for handle in self._fleet.handles.values()):
            return []
        readings = self._monitor.readings()
        if not uuids:  # workers within this process, which may use all that it sees
            return [reading for reading in readings if reading.uuid]
        wanted = uuids | {reading.parent for reading in readings if reading.uuid in uuids and reading.parent}
        shown = [reading for reading in readings if reading.uuid in wanted]
        if readings:  # else nobody has looked yet
            gone = uuids - {reading.uuid for reading in shown}
            shown += [Reading(uuid=uuid, index=-1, problem="the driver does not show it") for uuid in sorted(gone)]
        return shown


def _share(percent: int | None) -> float | None:
    return None if percent is None else percent / 100
