"""What a machine has to start containers, read from made-up files and programs."""

from __future__ import annotations

import json

import msgspec
import pytest

from tiffin.gpu.containers import Cdi, ContainerHost, Engine, numbers, read_containers
from tiffin.gpu.host import Output
from tiffin.testing import FakeHost

INFO = "docker info --format {{json .}}"
SPEC = """cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
    - name: "0"
      containerEdits:
        deviceNodes:
            - path: /dev/nvidia0
    - name: GPU-1a
      containerEdits: {}
    - name: all
containerEdits:
    mounts:
        - hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.580.65.06
"""


def test_a_machine_with_everything() -> None:
    info = {
        "ServerVersion": "28.3.0",
        "CgroupDriver": "systemd",
        "Runtimes": {"runc": {}, "nvidia": {}},
        "CDISpecDirs": ["/etc/cdi", "/var/run/cdi"],
        "OperatingSystem": "Debian GNU/Linux 12",
        "SecurityOptions": ["name=seccomp", "name=rootless"],
    }
    host = FakeHost(
        {
            "/dev/nvidia0": "",
            "/dev/nvidiactl": "",
            "/dev/nvidia-uvm": "",
            "/dev/nvidia-caps/nvidia-cap1": "",
            "/dev/null": "",
            "/sys/fs/cgroup/cgroup.controllers": "cpu",
            "/var/run/cdi/nvidia.yaml": SPEC,
            "/etc/cdi/other.yaml": "kind: example.com/thing\n",
            "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build",
            "/proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA L4\nDevice Minor: \t 3\n",
            "/sys/fs/selinux/enforce": "1",
            "/etc/nvidia-container-runtime/config.toml": "#no-cgroups = false\nno-cgroups = true\n",
        },
        commands={
            INFO: json.dumps(info),
            "podman --version": "podman version 4.3.1\n",
            "nvidia-ctk --version": "NVIDIA Container Toolkit CLI version 1.18.0\n",
        },
    )
    docker = Engine(name="docker", version=(28, 3, 0), cdi=True, cgroup_driver="systemd", rootless=True)
    assert read_containers(host) == ContainerHost(
        docker=msgspec.structs.replace(docker, runtimes=("nvidia", "runc")),
        podman=Engine(name="podman", version=(4, 3, 1), cdi=True),
        toolkit=(1, 18, 0),
        no_cgroups=True,
        cdi=(Cdi("/var/run/cdi/nvidia.yaml", ("0", "GPU-1a", "all"), "580.65.06"),),
        cgroup_v2=True,
        nodes=("/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-caps/nvidia-cap1"),
        minors={"0000:01:00.0": 3},
        selinux=True,
        driver="580.65.06",
    )


def test_a_machine_with_nothing() -> None:
    assert read_containers(FakeHost()) == ContainerHost()


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (
            Output(1, '{"ServerErrors":["permission denied while trying to connect to the Docker daemon socket"]}'),
            "permission",
        ),
        (
            Output(0, '{"ServerErrors":["Cannot connect to the Docker daemon. Is the docker daemon running?"]}'),
            "stopped",
        ),
        (Output(1, "", "Got permission denied while trying to connect"), "permission"),
        (Output(-1, "", "docker did not end within 10 s"), "stopped"),
        (Output(0, "[]"), "stopped"),
    ],
)
def test_a_daemon_that_does_not_answer(said: Output, problem: str) -> None:
    assert read_containers(FakeHost(commands={INFO: said})).docker == Engine(name="docker", problem=problem)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("info", "cdi"),
    [
        ({"ServerVersion": "24.0.7", "CDISpecDirs": ["/etc/cdi"]}, False),
        ({"ServerVersion": "25.0.0", "CDISpecDirs": []}, False),
        ({"ServerVersion": "25.0.0", "CDISpecDirs": ["/etc/cdi"]}, True),
        ({"ServerVersion": "28.2.2"}, False),
    ],
)
def test_cdi_is_there_from_docker_25_on_where_it_is_switched_on(info: dict[str, object], cdi: bool) -> None:
    docker = read_containers(FakeHost(commands={INFO: json.dumps(info)})).docker
    assert docker is not None
    assert docker.cdi is cdi


def test_a_specification_in_json() -> None:
    spec = {"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": [{"name": "0"}, {"name": "all"}]}
    found = read_containers(FakeHost({"/etc/cdi/n.json": json.dumps(spec, indent=2)})).cdi
    assert found == (Cdi("/etc/cdi/n.json", ("0", "all")),)


def test_numbers() -> None:
    assert numbers("podman version 4.9.3-rhel") == (4, 9, 3)
    assert numbers("none") == ()
