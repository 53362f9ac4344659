"""The boards that workers sit on: what the driver reports of them, and what that means for the workers.

Owns the answer to an Xid; never starts a worker. Numbers and meanings are `gpu.xid`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tiffin.gpu.inventory import Inventory
from tiffin.gpu.xid import xid
from tiffin.server.devices import DeviceWatch
from tiffin.server.fleet import Fleet, Generation
from tiffin.server.report import Report


class BoardWatch:
    """See the module.

    Args:
        devices: hears the driver. fleet: has the workers. report: is told.
    """

    def __init__(self, devices: DeviceWatch, fleet: Fleet, report: Report) -> None:
        self._devices = devices
        self._fleet = fleet
        self._report = report
        self._parts: Mapping[str, Collection[str]] = {}  # of each board: itself and its slices

    def watch(self, generation: Generation, inventory: Inventory) -> None:
        """Hear of the boards that a generation's workers are placed on."""
        placed = {uuid for one in generation.plan.placements for uuid in one.uuids}
        boards = {one.parent or one.uuid for one in inventory.devices if one.uuid in placed}
        self._parts = {
            board: {one.uuid for one in inventory.devices if board in (one.uuid, one.parent)} for board in boards
        }
        if boards:
            self._devices.watch_xids(boards, self.reported)

    def reported(self, board: str, number: int) -> None:
        """Answer an Xid: a fault of a program is that program's; after one of the board's own its workers are replaced."""
        what = xid(number)
        line = f"{board} reports Xid {number}: {what.meaning}"
        self._report.warning(line)
        if what.action != "log":
            self._fleet.kill_on(self._parts.get(board, ()), line)
