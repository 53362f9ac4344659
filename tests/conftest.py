"""The three rings and what each may do; nothing here knows a room.

A test belongs to the ring of its folder: `unit` (no sleep, no socket), `wire` (one process), `process` (real workers).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

TESTS = Path(__file__).parent
RINGS = ("unit", "wire", "process")
TIMEOUTS_S = {"unit": 30, "wire": 60, "process": 120}
INTERNET = (socket.AF_INET, socket.AF_INET6)

# The machine is shared and slow at times, so no test fails for one slow example.
hypothesis.settings.register_profile("default", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
hypothesis.settings.register_profile("long", deadline=None, print_blob=True, max_examples=20_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))


class _UnitGuard:
    """Fails a unit test that sleeps or opens an internet socket, on the test's own thread."""

    def __init__(self) -> None:
        self.thread: int | None = None
        self.real_sleep = time.sleep
        sys.addaudithook(self.audit)

    def watches(self) -> bool:
        return self.thread is not None and self.thread == threading.get_ident()

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event in ("socket.bind", "socket.connect") and self.watches() and args[0].family in INTERNET:
            pytest.fail("a unit test uses a socket: move it to tests/wire or tests/process")

    def sleep(self, seconds: float) -> None:
        waits_for_a_child = sys._getframe(1).f_globals.get("__name__") == "subprocess"
        if seconds > 0 and self.watches() and not waits_for_a_child:
            pytest.fail("a unit test sleeps: use a fake clock, or move it to tests/wire")
        self.real_sleep(seconds)


_guard = _UnitGuard()


@pytest.fixture(autouse=True)
def _unit_ring(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.node.get_closest_marker("unit") is None:
        yield
        return
    monkeypatch.setattr(time, "sleep", _guard.sleep)
    _guard.thread = threading.get_ident()
    yield
    _guard.thread = None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the tests that take minutes")


def missing(marker: str) -> str | None:
    """Return why a test with this marker cannot run here, or None."""
    if marker == "torch" and importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed (make test installs it)"
    if marker == "tensorflow" and importlib.util.find_spec("tensorflow") is None:
        return "TensorFlow is not installed (make test installs it)"
    if marker == "gpu" and not Path("/dev/nvidiactl").exists():
        return "this machine has no NVIDIA device"
    if marker == "browser" and not (shutil.which("chromium") and shutil.which("chromedriver")):
        return "chromium and its driver are not installed (apt-get install chromium chromium-driver)"
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test with its ring, and skip what this machine cannot run, with the reason."""
    for item in items:
        ring = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
        if ring in RINGS:
            item.add_marker(getattr(pytest.mark, ring))
            # The slow cases bring a limit of their own.
            if item.get_closest_marker("timeout") is None and not config.getoption("--long"):
                item.add_marker(pytest.mark.timeout(TIMEOUTS_S[ring]))
        for marker in ("torch", "tensorflow", "gpu", "browser"):
            reason = missing(marker) if item.get_closest_marker(marker) else None
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))
        if item.get_closest_marker("long") and not config.getoption("--long"):
            item.add_marker(pytest.mark.skip(reason="takes minutes: make long"))
