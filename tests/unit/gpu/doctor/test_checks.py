from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.unit.gpu.doctor.conditions import Condition
from tests.unit.gpu.doctor.conditions_devices import CONDITIONS
from tests.unit.gpu.doctor.machines import RELEASES, VERSION, gpu, machine, right, working
from tiffin.gpu.doctor import devices, floors, frameworks, hardware, parts, proving
from tiffin.gpu.doctor.check import Check, name_of, purpose_of
from tiffin.gpu.doctor.health import xid
from tiffin.gpu.doctor.nvml import Nvml
from tiffin.gpu.doctor.packages import Packages
from tiffin.gpu.doctor.register import NEEDS, PROOF, ROOMS
from tiffin.gpu.host import Output

EVERY: list[Check] = [check for _room, checks in (*ROOMS, PROOF) for check in checks]
# The container checks have conditions of their own, beside their tests.
OURS: list[Check] = [check for room, checks in (*ROOMS, PROOF) if room != "containers" for check in checks]


@pytest.mark.parametrize("one", CONDITIONS, ids=lambda one: f"{name_of(one.check)}-{one.level}")
def test_a_condition_is_found_shown_and_mended(one: Condition):
    found = one.check(one.facts)
    assert (found.check, found.level) == (name_of(one.check), one.level)
    assert any(one.evidence in line for line in found.evidence), found.evidence
    assert found.cause
    commands = [command for fix in found.fixes for command in fix.commands]
    if one.fix:
        assert any(one.fix in command for command in commands), commands


@pytest.mark.parametrize("check", OURS, ids=name_of)
def test_every_check_is_met_by_a_condition_and_mends_what_it_calls_bad(check):
    met = [one for one in CONDITIONS if one.check is check]
    assert met
    assert all(one.fix for one in met if one.level in ("warning", "error"))
    assert purpose_of(check).endswith(".")


@pytest.mark.parametrize("check", OURS, ids=name_of)
def test_every_check_is_content_with_a_healthy_machine(check):
    found = check(machine(proof=right()))
    assert found.check == name_of(check)
    assert found.level in ("ok", "skipped")
    assert found.title


def test_needs_name_checks_that_run_before():
    names = [name_of(check) for check in EVERY]
    assert len(set(names)) == len(names)
    for name, roots in NEEDS.items():
        assert all(names.index(root) < names.index(name) for root in roots), name


@pytest.mark.parametrize(
    ("system", "first"),
    [("debian", "Debian/Ubuntu"), ("ubuntu", "Debian/Ubuntu"), ("rhel", "RHEL/Fedora"), ("arch", "Arch")],
)
def test_the_cure_for_this_distribution_comes_first_and_the_others_stay(system, first):
    facts = machine(
        files={"/etc/os-release": RELEASES[system]}, without=(VERSION, "/proc/modules"), nvml=Nvml(error="x")
    )
    where = [fix.where for fix in parts.kernel_module(facts).fixes]
    assert where[0] == first
    assert sorted(where) == ["Arch", "Debian/Ubuntu", "RHEL/Fedora"]


@pytest.mark.parametrize(
    ("driver", "cuda"), [("580.0", "13.0"), ("525.0", "12.8"), ("450.0", "11.8"), ("580.0", "11.8")]
)
def test_a_driver_at_the_floor_will_do(driver, cuda):
    packages = Packages(versions={"torch": "2.9.0"}, builds={"torch": cuda})
    found = frameworks.driver_for_wheel(machine(nvml=working(gpu(), driver=driver), packages=packages))
    assert found.level == "ok"


@pytest.mark.parametrize(
    ("capability", "names", "level"),
    [
        ((9, 0), ("sm_90",), "ok"),
        ((8, 9), ("sm_80", "sm_86"), "ok"),  # code for 8.6 runs on 8.9
        ((8, 0), ("sm_86",), "error"),  # but not the other way round
        ((10, 0), ("sm_90",), "error"),
        ((10, 0), ("sm_90", "compute_90"), "ok"),  # PTX is compiled for what comes later
        ((12, 0), ("sm_120",), "ok"),
        ((9, 0), ("sm_90a",), "ok"),
    ],
)
def test_which_code_runs_on_which_gpu(capability, names, level):
    proof = right()
    facts = machine(nvml=working(gpu(capability=capability)), proof=replace(proof, architectures=names))
    assert proving.kernel_image(facts).level == level


def test_part_of_the_gpus_for_guests_is_a_warning():
    second = "/sys/bus/pci/devices/0000:02:00.0"
    files = {f"{second}/vendor": "0x10de", f"{second}/device": "0x2330", f"{second}/class": "0x030200"}
    facts = machine(files=files, links={f"{second}/driver": "x/vfio-pci"})
    assert hardware.vfio(facts).level == "warning"


def test_the_cards_own_sound_and_the_bridge_above_are_no_strangers_in_a_group():
    sound, bridge = "/sys/bus/pci/devices/0000:01:00.1", "/sys/bus/pci/devices/0000:00:01.0"
    files = {f"{sound}/vendor": "0x10de", f"{sound}/class": "0x040300"}
    files |= {f"{bridge}/vendor": "0x8086", f"{bridge}/class": "0x060400"}
    group = {f"{path}/iommu_group": "x/14" for path in (sound, bridge, "/sys/bus/pci/devices/0000:01:00.0")}
    assert hardware.iommu_group(machine(files=files, links=group)).level == "ok"


def test_a_log_that_may_not_be_read_is_said_so():
    found = xid(machine(commands={"dmesg": Output(1, "[1.0] NVRM: a part", "dmesg: Operation not permitted")}))
    assert found.level == "skipped"
    assert "sudo dmesg | grep -i xid" in found.title


def test_a_quiet_kernel_is_well():
    assert xid(machine(commands={"dmesg": ""})).level == "ok"


def test_the_journal_is_read_where_dmesg_is_refused():
    journal = {"journalctl -k -b --no-pager -q -o short-iso": "NVRM: Xid (PCI:0000:01:00): 79, gone\n"}
    assert xid(machine(commands={"dmesg": Output(1, ""), **journal})).level == "error"


@pytest.mark.parametrize("board", [gpu(mig=True), gpu(problem="GPU is lost", code=15)])
def test_where_no_board_can_run_anything_visibility_is_not_the_question(board):
    assert devices.visible_devices(machine(nvml=working(board))).level == "skipped"


def test_mig_slices_of_a_hidden_board_do_not_confuse():
    facts = machine(nvml=working(gpu(mig=True, slices=("MIG-a",))))
    assert devices.mig(facts).level == "ok"


@pytest.mark.parametrize(("version", "parts_"), [("6.1.0-18-amd64", (6, 1, 0)), ("3.10", (3, 10)), ("", ()), ("x", ())])
def test_numbers(version, parts_):
    assert floors.numbers(version) == parts_
