"""/metrics and /readyz of a real server on made-up devices."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from tiffin.testing import TestServer
from tiffin.testing.devices import FakeDevices

ONE = "GPU-00000001-0000-0000-0000-000000000000"
WAIT_S = 30.0

SERVICE = """
import time
import tiffin

@tiffin.service(resources={"gpu": 1}, workers=2)
class Digits:
    @tiffin.api
    def work(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds
"""

Samples = dict[tuple[str, ...], float]


@pytest.fixture
def app_dir(tmp_path: Path) -> Path:
    (tmp_path / "service.py").write_text(SERVICE)
    return tmp_path


def scrape(server: TestServer, name: str, *by: str) -> Samples:
    status, _headers, body = server.request("GET", "/metrics", timeout_s=20)
    assert status == 200
    return {
        tuple(sample.labels[label] for label in by): sample.value
        for family in parse(body.decode())
        for sample in family.samples
        if sample.name == name
    }


def until(look: Callable[[], Samples], wanted: Callable[[Samples], bool]) -> Samples:
    """Scrape until the samples are as wanted: the first scrape only wakes the monitor up."""
    end = time.monotonic() + WAIT_S
    while not wanted(found := look()):
        assert time.monotonic() < end, found
        time.sleep(0.1)
    return found


def test_devices_are_measured_while_somebody_scrapes(app_dir):
    with (
        FakeDevices(
            3, names="NVIDIA H200", utilization="93,0", power="650,80", used="1024,0", temperature=70
        ) as devices,
        TestServer("service:Digits", app_dir=app_dir, env=devices.env) as server,
    ):
        front = Path(f"/proc/{server.front_pid()}/maps")
        assert "libnvidia-ml" not in front.read_text()
        by = ("device", "name")
        found = until(lambda: scrape(server, "tiffin_gpu_utilization_ratio", *by), bool)
        assert found == {("0", "NVIDIA H200"): 0.93, ("1", "NVIDIA H200"): 0.0}  # no worker sits on the third
        assert "libnvidia-ml" in front.read_text()
        assert scrape(server, "tiffin_gpu_up", "uuid")[(ONE,)] == 1
        assert scrape(server, "tiffin_gpu_memory_used_bytes", "device") == {("0",): 1 << 30, ("1",): 0}
        assert scrape(server, "tiffin_gpu_memory_total_bytes", "device") == {("0",): 80 << 30, ("1",): 80 << 30}
        assert scrape(server, "tiffin_gpu_power_watts", "device") == {("0",): 650, ("1",): 80}
        assert scrape(server, "tiffin_gpu_temperature_celsius", "device") == {("0",): 70, ("1",): 70}
        devices.set(utilization="10,20")
        until(
            lambda: scrape(server, "tiffin_gpu_utilization_ratio", "device"),
            lambda found: found == {("0",): 0.1, ("1",): 0.2},
        )
        devices.lose(1)
        until(lambda: scrape(server, "tiffin_gpu_up", "device", "uuid"), lambda found: found[("1", ONE)] == 0)


def test_a_driver_that_hangs_delays_no_scrape_and_no_call(app_dir):
    with (
        FakeDevices(2) as devices,
        TestServer("service:Digits", app_dir=app_dir, env=devices.env) as server,
    ):
        until(lambda: scrape(server, "tiffin_gpu_up", "device"), bool)
        devices.set(hang=1)
        # Its readings grow old while scrapes and calls go on.
        until(lambda: scrape(server, "tiffin_gpu_up", "device"), lambda found: not found)
        assert server.post("/work", {"seconds": 0}) == (200, 0)
        devices.set(hang="")
        until(lambda: scrape(server, "tiffin_gpu_up", "device"), lambda found: found == {("0",): 1, ("1",): 1})
        devices.set(hang=1)
        time.sleep(1.2)  # the thread is in the driver again
        assert server.stop() == 0


def test_workers_show_their_devices_and_their_work(app_dir):
    with (
        FakeDevices(2) as devices,
        TestServer("service:Digits", app_dir=app_dir, env=devices.env) as server,
    ):
        workers = server.status()["workers"]
        assert {one["worker"]: [uuid[:12] for uuid in one["uuids"]] for one in workers} == {
            0: ["GPU-00000000"],
            1: ["GPU-00000001"],
        }
        assert all(set(one["memory"]) == {"used_bytes", "loaded_bytes", "peak_bytes"} for one in workers)
        before = scrape(server, "tiffin_worker_busy_seconds_total", "service", "worker")
        assert before == {("Digits", "0"): 0, ("Digits", "1"): 0}
        assert server.post("/work", {"seconds": 0.3}) == (200, 0.3)
        after = scrape(server, "tiffin_worker_busy_seconds_total", "service", "worker")
        assert 0.3 <= sum(after.values()) < 10
        assert min(after.values()) == 0


def test_without_gpus_no_driver_is_loaded(app_dir):
    (app_dir / "service.py").write_text(SERVICE.replace('(resources={"gpu": 1}, workers=2)', ""))
    with (
        FakeDevices(2) as devices,
        TestServer("service:Digits", app_dir=app_dir, env=devices.env, options=["--device", "cpu"]) as server,
    ):
        for _ in range(3):
            assert scrape(server, "tiffin_gpu_up", "device") == {}
            time.sleep(0.2)
        assert "libnvidia-ml" not in Path(f"/proc/{server.front_pid()}/maps").read_text()
        assert json.dumps(server.status()["workers"][0]["uuids"]) == "[]"
