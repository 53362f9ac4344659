from __future__ import annotations

import msgspec
import pytest

from tests.unit.gpu.doctor.conditions import MISMATCH, NO_DRIVER
from tests.unit.gpu.doctor.machines import LIBRARY, VERSION, machine, right
from tiffin.gpu.doctor.examine import examine
from tiffin.gpu.doctor.facts import Facts
from tiffin.gpu.doctor.finding import Finding, exit_status
from tiffin.gpu.doctor.packages import Packages
from tiffin.gpu.doctor.proof import MARK, DeviceProof, Proof, judge
from tiffin.gpu.doctor.register import ROOMS


def broken_check(facts: Facts) -> Finding:
    """Fails."""
    raise ValueError("no such fact")


def test_a_check_that_fails_is_a_finding_and_the_rest_runs():
    found = {one.check: one for one in examine(machine(), prove=right, rooms=(("first", (broken_check,)), *ROOMS))}
    failed = found["broken-check"]
    assert (failed.level, failed.title) == ("warning", "check failed: broken-check")
    assert failed.evidence[0] == "ValueError: no such fact"
    assert failed.fixes[0].commands
    assert found["proof"].level == "ok"
    assert exit_status(found.values()) == 1


def test_nothing_is_computed_where_a_check_stands_against_it():
    called: list[int] = []

    def prove() -> Proof:
        called.append(1)
        return right()

    found = {one.check: one for one in examine(machine(nvml=MISMATCH), prove=prove)}
    assert called == []
    assert found["proof"].title == "not looked at because of driver-mismatch"
    assert found["nvml"].title == "not looked at because of driver-mismatch"
    assert found["cpu-wheel"].level == "ok"  # packages are looked at all the same
    examine(machine(), prove=prove)
    assert called == [1]


def test_who_watches_hears_each_check_before_it_runs():
    heard: list[str] = []
    examine(machine(nvml=MISMATCH), prove=right, says=heard.append)
    assert heard[0] == "platform"
    assert "driver-mismatch" in heard
    assert "nvml" not in heard


def test_without_a_gpu_there_is_one_calm_finding_and_nothing_is_computed():
    gone = ("/sys/bus", VERSION, "/proc/modules", "/dev/nvidia", LIBRARY)

    def never() -> Proof:
        raise AssertionError

    (only,) = examine(machine(without=gone, nvml=NO_DRIVER, packages=Packages()), prove=never)
    assert (only.check, only.level) == ("gpu-on-bus", "ok")


def line(proof: Proof) -> bytes:
    return MARK.encode() + msgspec.json.encode(proof) + b"\n"


@pytest.mark.parametrize(
    ("status", "out", "err", "end", "error", "last"),
    [
        (0, b"noise\n" + line(right()), b"warning\n", "done", "", ()),
        (0, line(Proof(engine="torch", error="no device")), b"why\n", "done", "no device", ("why",)),
        (None, b"loading\n", b"", "timeout", "no end within 9 s", ("loading",)),
        (
            -11,
            b"",
            b"Fatal Python error\n\n  File x\n",
            "crashed",
            "ended by SIGSEGV",
            ("Fatal Python error", "  File x"),
        ),
        (-77, b"", b"", "crashed", "ended by signal 77", ()),
        (1, b"", b"ModuleNotFoundError\n", "done", "ended with status 1 and no result", ("ModuleNotFoundError",)),
        (0, MARK.encode() + b'{"engine": "tor', b"", "done", "ended with status 0 and no result", ()),
    ],
)
def test_how_a_childs_end_is_judged(status, out, err, end, error, last):
    found = judge(status, out, err, 9.0)
    assert (found.end, found.error, found.last_lines) == (end, error, last)


def test_a_long_farewell_is_cut():
    many = "\n".join(f"line {number}" for number in range(100)).encode()
    assert judge(1, b"", many, 9.0).last_lines[-1] == "line 99"
    assert len(judge(1, b"", many, 9.0).last_lines) == 8


def test_a_device_with_a_wrong_result_keeps_the_last_lines():
    wrong = Proof(engine="torch", devices=(DeviceProof(name="0", error="3 of 16384 numbers differ from the CPU's"),))
    assert judge(0, line(wrong), b"hint\n", 9.0).last_lines == ("hint",)
