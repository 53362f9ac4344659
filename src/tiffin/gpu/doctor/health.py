"""Whether the boards are well: Xid messages, memory errors, heat, power.

Owns the meaning of throttle bits (of Xid numbers: `gpu.xid`); never resets anything.
"""

from __future__ import annotations

import re

from tiffin.gpu.doctor.facts import Facts
from tiffin.gpu.doctor.finding import Finding, Level
from tiffin.gpu.doctor.fixes import anywhere
from tiffin.gpu.doctor.verdict import fine, skip
from tiffin.gpu.xid import xid as known

_XID = re.compile(r"Xid \((?:PCI:)?([0-9a-fA-F:.]+)\): (\d+)")
_WORST: tuple[Level, ...] = ("error", "warning", "note")
_HOT = ((0x020, "software thermal slowdown"), (0x040, "hardware thermal slowdown"))
_POWER = ((0x004, "power cap"), (0x008, "hardware slowdown"), (0x080, "power brake"))
_HARD_POWER = 0x088


def xid(facts: Facts) -> Finding:
    """Looks for Xid messages in the kernel's log, and says what each number means."""
    if facts.kernel_log is None:
        return skip(
            "xid",
            "the kernel's log may not be read by this user: sudo dmesg | grep -i xid",
            "dmesg, journalctl -k: refused or absent",
        )
    met = [(found[1], int(found[2]), line) for line in facts.kernel_log if (found := _XID.search(line))]
    if not met:
        return fine("xid", "no Xid in the kernel's log", "dmesg or journalctl -k: no line with Xid")
    last = {(address, number): line for address, number, line in met}
    meanings = {number: known(number) for _address, number in last}
    level: Level = next(one for one in _WORST if any(what.level == one for what in meanings.values()))
    addresses = sorted({address for address, _number in last})
    return Finding(
        check="xid",
        level=level,
        title="the driver reported "
        + ", ".join(f"Xid {number}" for number in sorted(meanings))
        + " at "
        + ", ".join(addresses),
        evidence=tuple(f"kernel log: {line.strip()}" for line in last.values()),
        cause="; ".join(f"{number}: {what.meaning}" for number, what in sorted(meanings.items())),
        fixes=()
        if level == "note"
        else anywhere(
            "nvidia-smi -q -d ECC,ROW_REMAPPER,PAGE_RETIREMENT",
            *(f"sudo nvidia-smi --gpu-reset -i {_bus_id(address)}  # when nothing runs on it" for address in addresses),
            "sudo reboot  # if the reset fails; if it comes back after that, have the board replaced",
        ),
    )


def ecc(facts: Facts) -> Finding:
    """Looks for memory errors that could not be corrected, and for rows that wait for their replacement."""
    failed = [one for one in facts.nvml.boards if one.repair_failed]
    ill = [
        one for one in facts.nvml.boards if one.repair_failed or one.repair_pending or (one.ecc_uncorrected or 0) > 0
    ]
    if not ill:
        return fine("ecc", "no uncorrected memory errors")
    return Finding(
        check="ecc",
        level="error" if failed else "warning",
        title="GPU " + ", ".join(str(one.index) for one in ill) + " has memory errors",
        evidence=tuple(
            f"NVML, GPU {one.index}: {one.ecc_uncorrected or 0} uncorrected errors since the driver was loaded"
            + ("; a row waits for its replacement" if one.repair_pending else "")
            + ("; a row could not be replaced" if one.repair_failed else "")
            for one in ill
        ),
        cause="programs on it die or compute wrongly; a reset lets the board replace bad rows"
        + (", which has failed: the board is at its end" if failed else ""),
        fixes=anywhere(
            *(f"nvidia-smi -i {one.index} -q -d ECC,ROW_REMAPPER" for one in ill),
            *(f"sudo nvidia-smi --gpu-reset -i {one.index}  # when nothing runs on it" for one in ill),
            *(("# have the board replaced (RMA)",) if failed else ()),
        ),
    )


def thermal(facts: Facts) -> Finding:
    """Looks whether heat slows a board down."""
    hot = [one for one in facts.nvml.boards if one.throttled & 0x060 or _above(one.temperature, one.slowdown_at)]
    seen = tuple(
        f"NVML, GPU {one.index}: {one.temperature} °C"
        + ("" if one.slowdown_at is None else f", slows down at {one.slowdown_at} °C")
        + "".join(f", {words}" for bit, words in _HOT if one.throttled & bit)
        for one in facts.nvml.boards
        if one.temperature is not None
    )
    if not hot:
        return fine("thermal", "no GPU is too hot", *seen)
    return Finding(
        check="thermal",
        level="warning",
        title="heat slows down GPU " + ", ".join(str(one.index) for one in hot),
        evidence=seen,
        cause="its clocks are lowered, so calls take longer and latency varies; at the shutdown temperature it falls off the bus",
        fixes=anywhere(
            "nvidia-smi -q -d TEMPERATURE,PERFORMANCE",
            "# fans, dust, air flow, a free slot between boards; passive boards need the server's fans",
            *(f"sudo nvidia-smi -i {one.index} -pl <watts>  # until then: less power, less heat" for one in hot),
        ),
    )


def power(facts: Facts) -> Finding:
    """Looks whether the power supply or a power cap slows a board down."""
    low = [one for one in facts.nvml.boards if any(one.throttled & bit for bit, _words in _POWER)]
    if not low:
        return fine("power", "no GPU is slowed down by its power")
    hard = any(one.throttled & _HARD_POWER for one in low)
    return Finding(
        check="power",
        level="warning" if hard else "note",
        title="power slows down GPU " + ", ".join(str(one.index) for one in low),
        evidence=tuple(
            f"NVML, GPU {one.index}: " + ", ".join(words for bit, words in _POWER if one.throttled & bit) for one in low
        ),
        cause="the board gets less power than it wants: a weak supply or cable"
        if hard
        else "the board works at its power limit, as it should under load",
        fixes=anywhere("nvidia-smi -q -d POWER,PERFORMANCE", "# power cables, one per socket; the supply's rating")
        if hard
        else (),
    )


def persistence(facts: Facts) -> Finding:
    """Looks whether the driver stays loaded on idle boards (persistence mode)."""
    off = [one for one in facts.nvml.boards if one.persistence is False]
    if not off:
        return fine("persistence", "the driver stays loaded on idle boards, or knows no persistence mode")
    return Finding(
        check="persistence",
        level="note",
        title="persistence mode is off on GPU " + ", ".join(str(one.index) for one in off),
        evidence=tuple(f"NVML, GPU {one.index}: persistence mode off" for one in off),
        cause="the first process on an idle board waits a second or more for the driver",
        fixes=anywhere(
            "sudo systemctl enable --now nvidia-persistenced", "sudo nvidia-smi -pm 1  # where there is no such service"
        ),
    )


def _above(temperature: int | None, limit: int | None) -> bool:
    return temperature is not None and limit is not None and temperature >= limit > 0


def _bus_id(address: str) -> str:
    """Return the PCI address as nvidia-smi takes it; the log leaves out the function."""
    return address if "." in address else f"{address}.0"
