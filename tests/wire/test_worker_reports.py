"""What workers say of their memory and their work, as /metrics and /readyz show it."""

from __future__ import annotations

from typing import Any

from tests.unit.observe.test_metrics import labels, samples
from tests.wire.test_engine import ENTRY, JOINED, PLAIN, STREAM, Bench, Link
from tiffin.engine.views import Views
from tiffin.messages.control import WorkerStarted
from tiffin.messages.link import PROTOCOL, Beat, Hello, Ran, Ready

MEMORY, PEAKS, BUSY = (
    "tiffin_worker_gpu_memory_bytes",
    "tiffin_batch_gpu_memory_bytes",
    "tiffin_worker_busy_seconds_total",
)


class Seen(Bench):
    """A bench with its views."""

    connections: tuple[()] = ()

    def __init__(self) -> None:
        super().__init__()
        self.views = Views(self.engine, [])
        self.views.register(self.registry, self, None)

    def workers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.views.status()["workers"]
        return found

    def loaded(self, number: int, memory_bytes: int) -> Link:
        link = Link()
        hello = Hello(PROTOCOL, number, 1, 1, "Entry", 1, ENTRY.digest(), "cuda:0")
        link.handle = self.engine.fleet.greet(link, hello)  # type: ignore[attr-defined]
        self.say(link, Ready(0.1, memory_bytes))
        return link

    def runs(self, link: Link, method: int, compute_s: float) -> None:
        self.call(method)
        self.say(link, Ran(self.batch(link).batch, compute_s, 1))


def test_a_worker_that_says_nothing_of_memory_has_no_sample():
    bench = Seen()
    link = bench.worker(0)
    bench.say(link, Beat(0.0, 1.0))
    assert samples(bench.registry, MEMORY) == {}
    assert bench.workers()[0]["memory"] == {"used_bytes": None, "loaded_bytes": None, "peak_bytes": {}}


def test_memory_is_shown_as_the_worker_says_it():
    bench = Seen()
    link = bench.loaded(3, 700)
    where = {"service": "Entry", "worker": "3"}
    assert samples(bench.registry, MEMORY) == {labels(**where, kind="used"): 700, labels(**where, kind="loaded"): 700}
    bench.say(link, Beat(0.0, 1.0, 900, {"joined": {8: 250, 1: 100}, "plain": {1: 40}}))
    assert samples(bench.registry, MEMORY) == {
        labels(**where, kind="used"): 900,
        labels(**where, kind="loaded"): 700,
        labels(**where, kind="peak"): 250,
    }
    peaks = {"joined": {8: 250, 1: 100}, "plain": {1: 40}}
    assert bench.workers()[0]["memory"] == {"used_bytes": 900, "loaded_bytes": 700, "peak_bytes": peaks}
    bench.say(link, Beat(0.0, 1.0, 800))
    assert samples(bench.registry, MEMORY)[labels(**where, kind="used")] == 800


def test_what_a_batch_takes_is_the_most_that_any_worker_saw():
    bench = Seen()
    for number, peaks in enumerate(({"joined": {8: 250, 1: 100}}, {"joined": {8: 200, 2: 110}})):
        bench.say(bench.worker(number), Beat(0.0, 1.0, 900, peaks))
    assert {dict(key)["rows"]: value for key, value in samples(bench.registry, PEAKS).items()} == {
        "8": 250,
        "1": 100,
        "2": 110,
    }


def test_a_worker_cannot_make_up_series():
    bench = Seen()
    link = bench.worker(0)
    peaks = {f"made up {number}": {1: 1} for number in range(1000)} | {"joined": dict.fromkeys(range(-5, 100_000), 7)}
    bench.say(link, Beat(0.0, 1.0, 900, peaks))
    found = samples(bench.registry, PEAKS)
    assert {dict(key)["method"] for key in found} == {"joined"}
    assert sorted(int(dict(key)["rows"]) for key in found) == [1 << exponent for exponent in range(17)]


def test_busy_seconds_are_those_of_the_compute_lane():
    bench = Seen()
    link = bench.worker(0)
    assert samples(bench.registry, BUSY) == {labels(service="Entry", worker="0"): 0}
    bench.runs(link, PLAIN, 0.25)
    bench.runs(link, JOINED, 0.5)
    assert samples(bench.registry, BUSY) == {labels(service="Entry", worker="0"): 0.75}
    bench.runs(link, STREAM, 60.0)
    assert samples(bench.registry, BUSY) == {labels(service="Entry", worker="0"): 0.75}


def test_the_devices_of_a_worker_are_those_that_the_supervisor_gave_it():
    bench = Seen()
    bench.worker(0)
    fleet = bench.engine.fleet
    assert bench.workers()[0]["uuids"] == ()
    fleet.worker_started(WorkerStarted(0, 1, 10, "Entry", "cuda:0", uuids=("GPU-a", "GPU-b")))
    fleet.worker_started(WorkerStarted(1, 1, 11, "Entry", "cuda:0", uuids=("GPU-b",)))
    assert bench.workers()[0]["uuids"] == ("GPU-a", "GPU-b")
    assert fleet.uuids() == {"GPU-a", "GPU-b"}


def test_the_devices_of_old_generations_are_forgotten():
    bench = Seen()
    fleet = bench.engine.fleet
    application = fleet.generation.application if fleet.generation is not None else None
    assert application is not None
    for number in range(1, 50):
        fleet.worker_started(WorkerStarted(number, 1, 10, "Entry", "cuda:0", number, (f"GPU-{number}",)))
        fleet.activate(number, application)
    assert fleet.uuids() == {"GPU-48", "GPU-49"}
    assert ENTRY in application.services
