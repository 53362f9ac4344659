"""Testing: what tests of services need: a real server on a free port, a clock set by hand, a made-up machine, made-up GPUs."""

from __future__ import annotations

from tiffin.testing.clock import FakeClock
from tiffin.testing.devices import FakeDevices
from tiffin.testing.host import FakeHost
from tiffin.testing.server import TestServer

__all__ = ["FakeClock", "FakeDevices", "FakeHost", "TestServer"]
