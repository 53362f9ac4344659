"""The container checks, each with a made-up illness and its cure."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.gpu.test_visible import board
from tiffin.gpu.containers import Cdi, ContainerHost, Engine
from tiffin.gpu.doctor.check import name_of
from tiffin.gpu.doctor.containers import CHECKS
from tiffin.gpu.doctor.facts import Facts
from tiffin.gpu.doctor.finding import Finding
from tiffin.gpu.doctor.system import Family, System
from tiffin.gpu.host import Output
from tiffin.gpu.inventory import Inventory
from tiffin.testing import FakeHost

BY_NAME = {name_of(check): check for check in CHECKS}
LIMITS = (
    "Limit  Soft  Hard  Units\nMax open files            {0}                 {0}                 files\n"
    "Max locked memory         {1}             {1}  bytes\n"
)
GENERATE = "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml && nvidia-ctk cdi list"
CONFIGURE = "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"
SPEC = Cdi("/var/run/cdi/nvidia.yaml", ("0", "all"), "580.65.06")


def docker(*version: int, **facts: Any) -> Engine:
    return Engine(**({"name": "docker", "version": version, "runtimes": ("nvidia", "runc")} | facts))


def find(
    check: str,
    host: FakeHost | None = None,
    *,
    family: Family = "debian",
    container: str = "",
    boards: int = 1,
    **facts: Any,
) -> Finding:
    inventory = Inventory(devices=tuple(board(index) for index in range(boards)))
    system = System(family=family, container=container)
    machine = Facts(host=host or FakeHost(), system=system, inventory=inventory, containers=ContainerHost(**facts))
    found = BY_NAME[check](machine)
    assert found.check == check
    return found


def df(kilobytes: int) -> FakeHost:
    said = f"Filesystem 1024-blocks Used Available Capacity Mounted on\nshm {kilobytes} 0 {kilobytes} 0% /dev/shm\n"
    return FakeHost(commands={"df -Pk /dev/shm": said})


ILL: list[tuple[str, dict[str, Any], str, str, str]] = [
    # check, facts, level, words of the title or the cause, a command that mends it
    (
        "docker-daemon",
        {"docker": docker(problem="permission")},
        "note",
        "may not talk",
        "sudo usermod -aG docker $USER",
    ),
    (
        "docker-daemon",
        {"docker": docker(problem="stopped")},
        "note",
        "does not answer",
        "sudo systemctl enable --now docker",
    ),
    (
        "docker-version",
        {"docker": docker(18, 9)},
        "error",
        "older than 19.03",
        "sudo apt update && sudo apt install docker.io",
    ),
    (
        "docker-version",
        {"docker": docker(25, 0)},
        "note",
        "CDI switched off",
        '# in /etc/docker/daemon.json: {"features": {"cdi": true}}',
    ),
    (
        "docker-desktop",
        {"docker": docker(27, 0, desktop=True)},
        "warning",
        "virtual machine",
        "docker context use default",
    ),
    ("toolkit", {"docker": docker(24, 0)}, "warning", "could not select device driver", CONFIGURE),
    (
        "toolkit",
        {"docker": docker(24, 0), "toolkit": (1, 11)},
        "warning",
        "older than 1.12",
        "sudo apt install nvidia-container-toolkit  # from NVIDIA's repository",
    ),
    (
        "nvidia-runtime",
        {"docker": docker(24, 0, runtimes=("runc",)), "toolkit": (1, 14)},
        "warning",
        "does not know NVIDIA's runtime",
        CONFIGURE,
    ),
    ("cdi", {"docker": docker(28, 3, cdi=True), "toolkit": (1, 18)}, "note", "no CDI specification", GENERATE),
    (
        "cdi",
        {"docker": docker(28, 3, cdi=True), "toolkit": (1, 18), "cdi": (SPEC,), "driver": "590.1"},
        "error",
        "made for driver 580.65.06, and 590.1 is loaded",
        "sudo systemctl restart nvidia-cdi-refresh.service  # toolkit 1.18 and newer",
    ),
    (
        "cdi",
        {"docker": docker(28, 3, cdi=True), "toolkit": (1, 14), "cdi": (SPEC,), "boards": 2},
        "error",
        "does not describe GPU-11",
        GENERATE,
    ),
    (
        "cgroup-rules",
        {"docker": docker(24, 0, cgroup_driver="systemd"), "toolkit": (1, 14), "cgroup_v2": True},
        "warning",
        "Failed to initialize NVML: Unknown Error",
        "docker run --device nvidia.com/gpu=all …",
    ),
    (
        "driver-capabilities",
        {"host": FakeHost(environ={"NVIDIA_DRIVER_CAPABILITIES": "graphics,utility"}), "container": "docker"},
        "error",
        "CUDA (libcuda) did not come",
        "docker run -e NVIDIA_DRIVER_CAPABILITIES=compute,utility …",
    ),
    (
        "shm",
        {"host": df(65_536), "container": "docker"},
        "warning",
        "64 MiB only",
        "docker run --shm-size=1g …  # or --ipc=host",
    ),
    ("shm", {"host": df(65_536)}, "warning", "bus error", "sudo mount -o remount,size=2g /dev/shm"),
    (
        "limits",
        {"host": FakeHost({"/proc/self/limits": LIMITS.format("1024", "unlimited")})},
        "note",
        "limit of open files is low",
        "ulimit -n 65536 && ulimit -l unlimited",
    ),
    (
        "limits",
        {"host": FakeHost({"/proc/self/limits": LIMITS.format("65536", "65536")}), "container": "docker"},
        "note",
        "limit of locked memory is low",
        "docker run --ulimit memlock=-1 --ulimit nofile=65536:65536 …",
    ),
    (
        "locale",
        {"host": FakeHost(environ={"LC_ALL": "en_US.ISO-8859-1", "LANG": "C.UTF-8"})},
        "warning",
        "not read as UTF-8",
        "export LC_ALL=C.UTF-8 LANG=C.UTF-8",
    ),
]

WELL: list[tuple[str, dict[str, Any]]] = [
    ("docker-daemon", {"docker": docker(24, 0)}),
    ("docker-version", {"docker": docker(24, 0)}),
    ("docker-version", {"docker": docker(28, 3, cdi=True)}),
    ("docker-desktop", {"docker": docker(24, 0)}),
    ("toolkit", {"docker": docker(24, 0), "toolkit": (1, 18, 0)}),
    ("nvidia-runtime", {"docker": docker(24, 0), "toolkit": (1, 14)}),
    ("cdi", {"docker": docker(28, 3, cdi=True), "toolkit": (1, 18), "cdi": (SPEC,), "driver": "580.65.06"}),
    ("cgroup-rules", {"docker": docker(24, 0, cgroup_driver="cgroupfs"), "toolkit": (1, 14), "cgroup_v2": True}),
    ("cgroup-rules", {"docker": docker(28, 3, cdi=True, cgroup_driver="systemd"), "toolkit": (1, 18), "cdi": (SPEC,)}),
    (
        "driver-capabilities",
        {"host": FakeHost(environ={"NVIDIA_DRIVER_CAPABILITIES": "compute, utility"}), "container": "docker"},
    ),
    ("driver-capabilities", {"host": FakeHost(environ={"NVIDIA_DRIVER_CAPABILITIES": "all"}), "container": "docker"}),
    ("shm", {"host": df(8 << 20)}),
    ("limits", {"host": FakeHost({"/proc/self/limits": LIMITS.format("65536", "unlimited")})}),
    ("locale", {"host": FakeHost(environ={"LANG": "de_DE.utf8"})}),
    ("locale", {"host": FakeHost()}),
    ("locale", {"host": FakeHost(environ={"LC_ALL": "C"})}),
]


@pytest.mark.parametrize(("check", "facts", "level", "words", "command"), ILL)
def test_ill(check: str, facts: dict[str, Any], level: str, words: str, command: str) -> None:
    found = find(check, **facts)
    assert found.level == level
    assert words in f"{found.title}; {found.cause}"
    assert found.evidence
    assert command in [line for fix in found.fixes for line in fix.commands]


@pytest.mark.parametrize(("check", "facts"), WELL)
def test_well(check: str, facts: dict[str, Any]) -> None:
    assert find(check, **facts).level == "ok"


@pytest.mark.parametrize("check", sorted(set(BY_NAME) - {"locale"}))
def test_nothing_to_look_at(check: str) -> None:
    refused = FakeHost(commands={"df -Pk /dev/shm": Output(1, "")})
    assert find(check, refused).level == "skipped"


def test_the_cgroup_problems_cures_stand_best_first_and_fit_the_distribution() -> None:
    ill: dict[str, Any] = {"docker": docker(24, 0, cgroup_driver="systemd"), "toolkit": (1, 14)}
    debian = find("cgroup-rules", **ill).fixes
    assert [fix.where for fix in debian[:3]] == [
        "best: CDI (Docker 25 and newer, podman)",
        "every engine: name the device nodes",
        "or another cgroup driver",
    ]
    assert debian[3].where == "Debian/Ubuntu"
    assert "systemd.unified_cgroup_hierarchy=0" in debian[3].commands[0]
    arch = find("cgroup-rules", family="arch", **ill).fixes
    assert arch[3].where == "Arch"
    assert "no-cgroups = true" in arch[3].commands[0]


def test_every_check_has_an_illness_and_a_cure() -> None:
    assert {check for check, *_ in ILL} == set(BY_NAME)
    assert {check for check, _ in WELL} == set(BY_NAME)
