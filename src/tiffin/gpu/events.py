"""The driver's events: Xids of some boards as they happen.

Owns the waiting, on a thread of its own, because NVML blocks; never judges a number (see `xid`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Any

from tiffin.gpu.nvml import NoDriver, opened

_WAIT_MS = 1_000


class XidWatch:
    """Calls back for every Xid of the boards, until `stop`. Where NVML knows no events it ends by itself, without a word.

    Args:
        uuids: of boards. report: gets uuid and number, on the watching thread.
    """

    def __init__(self, uuids: Collection[str], report: Callable[[str, int], None]) -> None:
        self._uuids = frozenset(uuids)
        self._report = report
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tiffin-xid", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def stop(self) -> None:
        """End within a second or so; nobody waits for it: the driver may hang."""
        self._stopped.set()

    def _run(self) -> None:
        try:
            with opened() as nvml:
                self._watch(nvml)
        except NoDriver:
            return

    def _watch(self, nvml: Any) -> None:
        try:
            events = nvml.nvmlEventSetCreate()
        except nvml.NVMLError:
            return
        watched = 0
        for index in range(int(nvml.nvmlDeviceGetCount())):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                if str(nvml.nvmlDeviceGetUUID(handle)) in self._uuids:
                    nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, events)
                    watched += 1
            except nvml.NVMLError:  # this board is lost already, or tells no events
                continue
        while watched and not self._stopped.is_set():
            try:
                event = nvml.nvmlEventSetWait_v2(events, _WAIT_MS)
                uuid = str(nvml.nvmlDeviceGetUUID(event.device))
            except nvml.NVMLError_Timeout:
                continue
            except nvml.NVMLError:
                if self._stopped.wait(_WAIT_MS / 1000):  # a lost board: the others may still have something to say
                    break
                continue
            if event.eventType == nvml.nvmlEventTypeXidCriticalError:
                self._report(uuid, int(event.eventData))
        nvml.nvmlEventSetFree(events)
