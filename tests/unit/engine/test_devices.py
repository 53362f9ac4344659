"""Which devices the metrics show, with a made-up monitor."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from tests.unit.observe.test_metrics import labels, samples
from tiffin.engine.devices import DeviceViews
from tiffin.gpu.live import Reading
from tiffin.observe.metrics import Registry

GIB = 1 << 30
A = Reading(
    uuid="GPU-a", index=0, name="L4", utilization=93, memory_used=GIB, memory_total=2 * GIB, temperature=60, power=71.5
)
B = Reading(
    uuid="GPU-b", index=1, name="L4", utilization=0, memory_used=0, memory_total=GIB, temperature=40, power=10.0
)
FAMILIES = ("up", "utilization_ratio", "memory_used_bytes", "memory_total_bytes", "power_watts", "temperature_celsius")


class Made:
    """Workers and readings."""

    def __init__(self, uuids: set[str], *readings: Reading, devices: tuple[str, ...] = ("cuda:0",)) -> None:
        self.looks = 0
        self.taken = readings
        self.handles = {
            number: SimpleNamespace(hello=SimpleNamespace(device=device)) for number, device in enumerate(devices)
        }
        self.uuids = lambda: uuids
        self.registry = Registry()
        DeviceViews(cast("Any", self), cast("Any", self)).register(self.registry)

    def readings(self) -> tuple[Reading, ...]:
        self.looks += 1
        return self.taken

    def family(self, name: str) -> dict[str, float]:
        return {dict(key)["uuid"]: value for key, value in samples(self.registry, f"tiffin_gpu_{name}").items()}


def test_every_figure_of_a_board_in_base_units():
    made = Made({"GPU-a"}, A, B)
    found = {name: samples(made.registry, f"tiffin_gpu_{name}") for name in FAMILIES}
    where = labels(uuid="GPU-a", device="0", name="L4")
    assert [found[name] for name in FAMILIES] == [
        {where: value} for value in (1.0, 0.93, float(GIB), float(2 * GIB), 71.5, 60.0)
    ]


def test_boards_that_no_worker_sits_on_are_not_shown():
    assert Made({"GPU-b"}, A, B).family("up") == {"GPU-b": 1.0}
    assert Made({"GPU-a", "GPU-b"}, A, B).family("utilization_ratio") == {"GPU-a": 0.93, "GPU-b": 0.0}


def test_nobody_looks_when_all_workers_are_on_the_cpu():
    made = Made(set(), A, devices=("cpu", "cpu"))
    assert made.family("up") == {}
    assert made.looks == 0
    assert Made(set(), A, devices=()).family("up") == {}


def test_workers_within_this_process_may_use_all():
    assert Made(set(), A, B, devices=("cuda:0",)).family("up") == {"GPU-a": 1.0, "GPU-b": 1.0}


def test_what_a_device_does_not_tell_has_no_sample():
    made = Made({"GPU-a"}, Reading(uuid="GPU-a", index=0, name="L4", memory_used=1, memory_total=2))
    assert {name: bool(made.family(name)) for name in FAMILIES} == {
        name: name in ("up", "memory_used_bytes", "memory_total_bytes") for name in FAMILIES
    }


def test_a_slice_brings_its_board_and_memory_is_counted_once():
    whole = Reading(uuid="GPU-a", index=0, name="A100", sliced=True, memory_used=9, memory_total=10, power=100.0)
    parts = [
        Reading(uuid=f"MIG-{n}", index=0, name="A100 MIG", parent="GPU-a", memory_used=n, memory_total=5)
        for n in (1, 2)
    ]
    made = Made({"MIG-1"}, whole, *parts, B)
    assert made.family("power_watts") == {"GPU-a": 100.0}
    assert made.family("memory_used_bytes") == {"MIG-1": 1.0}
    assert made.family("up") == {"GPU-a": 1.0, "MIG-1": 1.0}


def test_a_lost_board_is_down_also_when_it_does_not_say_who_it_is():
    known = Reading(uuid="GPU-a", index=0, name="L4", problem="GPU 0 is lost")
    assert Made({"GPU-a", "GPU-b"}, known, B).family("up") == {"GPU-a": 0.0, "GPU-b": 1.0}
    nameless = Reading(uuid="", index=0, problem="GPU 0 is lost")
    assert Made({"GPU-a", "GPU-b"}, nameless, B).family("up") == {"GPU-a": 0.0, "GPU-b": 1.0}
    assert Made({"GPU-a"}).family("up") == {}  # nobody has looked yet
