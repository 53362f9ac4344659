"""What tests of other parts rely on in the made-up driver: settings that change while a process runs, and Xid events."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from unittest import SkipTest

import pytest

from tiffin.testing.devices import FakeDevices

# Registers board 1 and 2, then answers each line with the events of the next half second.
EVENTS = """
import sys, time, pynvml
pynvml.nvmlInit()
events = pynvml.nvmlEventSetCreate()
for index in (1, 2):
    pynvml.nvmlDeviceRegisterEvents(pynvml.nvmlDeviceGetHandleByIndex(index), pynvml.nvmlEventTypeXidCriticalError, events)
print("ready", flush=True)
for line in sys.stdin:
    found = []
    while True:
        began = time.monotonic()
        try:
            event = pynvml.nvmlEventSetWait_v2(events, 300)
        except pynvml.NVMLError_Timeout:
            waited = time.monotonic() - began
            break
        found.append((pynvml.nvmlDeviceGetUUID(event.device)[:12], event.eventData))
    print(found, 0.25 < waited < 5, flush=True)
pynvml.nvmlEventSetFree(events)
"""


def test_xids_arrive_once_and_only_from_boards_that_were_registered():
    with FakeDevices(3) as devices:
        devices.xid(1, 13)  # before anybody listens
        argv = [sys.executable, "-c", EVENTS]
        with subprocess.Popen(
            argv, env=devices.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            devices.xid(0, 31)
            devices.xid(2, 79)
            devices.xid(1, 94)
            process.stdin.write("\n")
            assert process.stdout.readline() == "[('GPU-00000002', 79), ('GPU-00000001', 94)] True\n"
            process.stdin.write("\n")
            assert process.stdout.readline() == "[] True\n"
            process.stdin.close()
            assert process.wait(30) == 0


def test_a_setting_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="no setting 'colour'; there are gpus, "):
        FakeDevices(colour="green")


def test_without_a_compiler_tests_are_skipped_with_the_reason(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SkipTest, match="no C compiler"):
        FakeDevices()


def test_the_library_is_built_once(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for _ in range(2):
        with FakeDevices() as devices:
            (folder,) = devices.env["LD_LIBRARY_PATH"].split(os.pathsep)[:1]
            assert folder.startswith(str(tmp_path))
    monkeypatch.setattr(subprocess, "run", None)
    FakeDevices().close()


def test_a_hidden_board_of_our_own_environment_hides_no_made_up_one(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with FakeDevices() as devices:
        assert "CUDA_VISIBLE_DEVICES" not in devices.environ
