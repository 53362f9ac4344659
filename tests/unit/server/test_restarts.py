from __future__ import annotations

from tiffin.config.parts import WorkersConfig
from tiffin.server.restarts import Restarts

SETTINGS = WorkersConfig(backoff_s=0.1, backoff_max_s=10.0, crash_limit=5)


def test_the_pause_doubles_up_to_its_limit():
    restarts = Restarts(SETTINGS)
    pauses = [restarts.died_in_load(1000.0 * n) for n in range(9)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert [restarts.died_in_load(1e6) for _ in range(2000)][-1] == 10.0


def test_failed_after_the_limit_within_a_minute():
    restarts = Restarts(SETTINGS)
    for n in range(4):
        restarts.died_in_load(10.0 * n)
    assert not restarts.failed
    restarts.died_in_load(59.0)
    assert restarts.failed


def test_slow_deaths_do_not_add_up():
    restarts = Restarts(SETTINGS)
    for n in range(20):
        restarts.died_in_load(15.0 * n)
        assert not restarts.failed


def test_a_ready_worker_forgives():
    restarts = Restarts(SETTINGS)
    for _ in range(5):
        restarts.died_in_load(0.0)
    restarts.ready()
    assert not restarts.failed
    assert restarts.died_in_load(1.0) == 0.1
