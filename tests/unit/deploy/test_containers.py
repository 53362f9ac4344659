"""`tiffin containers run` on made-up machines: the whole command each time, and that nobody's words become somebody else's."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from tests.unit.gpu.test_visible import board
from tiffin.deploy.containers import Request, container_command
from tiffin.deploy.formats import as_compose, as_make, as_shell
from tiffin.errors import ConfigError, PlacementError, StartError
from tiffin.gpu.containers import Cdi, ContainerHost, Engine
from tiffin.gpu.inventory import Inventory

NODES = (
    "/dev/nvidia0",
    "/dev/nvidia1",
    "/dev/nvidiactl",
    "/dev/nvidia-uvm",
    "/dev/nvidia-uvm-tools",
    "/dev/nvidia-modeset",
)
HOOK = ContainerHost(
    docker=Engine(name="docker", version=(24, 0, 7), cgroup_driver="cgroupfs", runtimes=("nvidia", "runc")),
    toolkit=(1, 14, 3),
    nodes=NODES,
)
RULES = msgspec.structs.replace(
    HOOK, docker=Engine(name="docker", version=(24, 0, 7), cgroup_driver="systemd"), cgroup_v2=True
)
CDI = ContainerHost(
    docker=Engine(name="docker", version=(28, 3, 0), cdi=True, cgroup_driver="systemd"),
    toolkit=(1, 18, 0),
    cdi=(Cdi("/var/run/cdi/nvidia.yaml", ("0", "1", "GPU-00", "GPU-11", "all"), "580.65.06"),),
    cgroup_v2=True,
    nodes=NODES,
)
PODMAN = msgspec.structs.replace(CDI, docker=None, podman=Engine(name="podman", version=(4, 9, 3), cdi=True))
ONE = Inventory(devices=(board(0),))
EIGHT = Inventory(devices=tuple(board(index) for index in range(8)))
NONE = Inventory(reason="no NVIDIA driver visible: libnvidia-ml.so.1 is not found")
COMMON = (
    "  -p 127.0.0.1:3000:3000 \\\n  --shm-size 1g \\\n  --ulimit memlock=-1 \\\n  --ulimit nofile=65536:65536 \\\n"
    "  -e LANG=C.UTF-8 \\\n  -e LC_ALL=C.UTF-8 \\\n"
)
GPU = "  -e NVIDIA_DRIVER_CAPABILITIES=compute,utility \\\n"


def made(host: ContainerHost = HOOK, inventory: Inventory = ONE, **request: Any) -> Any:
    return container_command(host, inventory, Request(**({"image": "digits:1"} | request)))


def shell(*args: Any, **request: Any) -> str:
    return as_shell(made(*args, **request))


def test_with_the_toolkits_hook() -> None:
    assert shell(args=("--workers", "2")) == (
        f"docker run \\\n  --rm \\\n{COMMON}{GPU}  --gpus all \\\n  digits:1 --workers 2"
    )


def test_with_cdi() -> None:
    assert shell(CDI) == f"docker run \\\n  --rm \\\n{COMMON}{GPU}  --device nvidia.com/gpu=all \\\n  digits:1"
    assert shell(PODMAN) == f"podman run \\\n  --rm \\\n{COMMON}{GPU}  --device nvidia.com/gpu=all \\\n  digits:1"


def test_where_the_hooks_rules_would_be_lost() -> None:
    nodes = "".join(f"  --device {node} \\\n" for node in NODES if node != "/dev/nvidia1")
    assert shell(RULES) == f"docker run \\\n  --rm \\\n{COMMON}{GPU}  --gpus all \\\n{nodes}  digits:1"
    assert any("daemon-reload" in note for note in made(RULES).notes)
    assert shell(RULES, workaround="off") == shell(HOOK)
    assert made(HOOK, workaround="on").devices == made(RULES).devices
    assert made(CDI, workaround="on").devices == made(RULES).devices, "who asks for it gets it instead of CDI"


def test_two_of_eight() -> None:
    assert "  --gpus '\"device=2,5\"' \\\n" in shell(HOOK, EIGHT, gpus="2,GPU-55")
    assert "  --device nvidia.com/gpu=1 \\\n  --device nvidia.com/gpu=2 \\\n" in shell(
        msgspec.structs.replace(CDI, cdi=(Cdi("/etc/cdi/n.yaml", ("0", "1", "2")),)), EIGHT, gpus="1,2"
    )
    assert "  --device nvidia.com/gpu=GPU-11 \\\n" in shell(CDI, EIGHT, gpus="1")
    chosen = made(
        msgspec.structs.replace(RULES, minors={"0000:01:00.0": 7}),
        Inventory(devices=(board(0, bus="00000000:01:00.0"),)),
    )
    assert chosen.devices[0] == "/dev/nvidia7", "the node's number is the driver's, not the index"


def test_slices_bring_their_capabilities() -> None:
    part = Inventory(devices=(board(0, uuid="MIG-1", parent="GPU-00"), board(0, uuid="MIG-2", parent="GPU-00")))
    host = msgspec.structs.replace(RULES, nodes=(*NODES, "/dev/nvidia-caps/nvidia-cap21"))
    one = made(host, part, gpus="MIG-2")
    assert one.gpu_flags == ("--gpus", '"device=MIG-2"')
    assert one.devices[-1] == "/dev/nvidia-caps/nvidia-cap21"
    assert one.devices.count("/dev/nvidia0") == 1


def test_selinux_wsl_and_desktop() -> None:
    assert "  --security-opt label=disable \\\n" in shell(msgspec.structs.replace(HOOK, selinux=True))
    assert "label=disable" not in shell(msgspec.structs.replace(CDI, selinux=True))
    assert made(msgspec.structs.replace(RULES, wsl=True)).devices == ()
    desktop = msgspec.structs.replace(HOOK, docker=Engine(name="docker", version=(27, 0), desktop=True))
    assert any("virtual machine" in note for note in made(desktop).notes)


def test_without_a_gpu_the_cpu_and_a_loud_note() -> None:
    one = made(ContainerHost(docker=Engine(name="docker", version=(20, 10))), NONE)
    assert as_shell(one) == f"docker run \\\n  --rm \\\n{COMMON}  digits:1"
    assert one.notes[0].startswith("NO GPU: the service will run on the CPU: no NVIDIA driver visible")
    assert as_shell(made(HOOK, ONE, gpus="none")) == as_shell(one)
    with pytest.raises(PlacementError, match="--gpus all: no NVIDIA driver visible"):
        made(HOOK, NONE, gpus="all")


@pytest.mark.parametrize(
    ("host", "request_", "error", "words"),
    [
        (ContainerHost(), {}, StartError, "docker and podman not found"),
        (ContainerHost(), {"engine": "podman"}, StartError, "podman not found"),
        (
            ContainerHost(docker=Engine(name="docker", problem="permission")),
            {},
            StartError,
            "may not talk to the Docker daemon",
        ),
        (ContainerHost(docker=Engine(name="docker", problem="stopped")), {}, StartError, "docker does not answer"),
        (
            msgspec.structs.replace(HOOK, docker=Engine(name="docker", version=(18, 9, 1))),
            {},
            StartError,
            "Docker 18.9.1 has no --gpus: 19.03",
        ),
        (msgspec.structs.replace(HOOK, toolkit=()), {}, StartError, "container toolkit is not installed"),
        (msgspec.structs.replace(PODMAN, cdi=()), {}, StartError, "needs a CDI specification"),
        (HOOK, {"gpus": "3"}, PlacementError, "there is no GPU '3'; there are 0 (GPU-00)"),
        (HOOK, {"gpus": "MIG-9"}, PlacementError, "there is no GPU 'MIG-9'"),
        (HOOK, {"gpus": "0,0"}, ConfigError, "names '0' twice"),
        (HOOK, {"image": "--privileged"}, ConfigError, "is no image name"),
        (HOOK, {"image": "a b"}, ConfigError, "is no image name"),
        (HOOK, {"image": "digits:1\n--privileged"}, ConfigError, "is no image name"),
        (HOOK, {"name": "a b"}, ConfigError, "is no container name"),
        (HOOK, {"shm_size": "1g --privileged"}, ConfigError, "is no size"),
        (HOOK, {"port": 0}, ConfigError, "is no port"),
    ],
)
def test_what_cannot_be_started(
    host: ContainerHost, request_: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        made(host, ONE, **request_)
    assert words in caught.value.message  # type: ignore[attr-defined]
    assert caught.value.hint  # type: ignore[attr-defined]


def test_a_makefile() -> None:
    text = as_make(made(RULES, args=("--set", "a=$HOME")))
    assert text.startswith("DEVICE_ARGS := --gpus all --device /dev/nvidia0 --device /dev/nvidiactl")
    assert ".PHONY: run\nrun:\n\tdocker run --rm " in text
    assert "'a=$$HOME'" in text


def test_a_compose_file() -> None:
    assert as_compose(made(RULES, EIGHT, gpus="1", name="digits", args=("--workers", "2"))) == (
        'services:\n  service:\n    image: "digits:1"\n    container_name: "digits"\n    command:\n      - "--workers"\n'
        '      - "2"\n    ports:\n      - "127.0.0.1:3000:3000"\n    environment:\n      LANG: "C.UTF-8"\n      LC_ALL: "C.UTF-8"\n'
        '      NVIDIA_DRIVER_CAPABILITIES: "compute,utility"\n    shm_size: "1g"\n    ulimits:\n      memlock: -1\n      nofile:\n'
        "        soft: 65536\n        hard: 65536\n    deploy:\n      resources:\n        reservations:\n          devices:\n"
        '            - driver: "nvidia"\n              capabilities:\n                - "gpu"\n              device_ids:\n'
        '                - "1"\n    devices:\n      - "/dev/nvidia1:/dev/nvidia1"\n      - "/dev/nvidiactl:/dev/nvidiactl"\n'
        '      - "/dev/nvidia-uvm:/dev/nvidia-uvm"\n      - "/dev/nvidia-uvm-tools:/dev/nvidia-uvm-tools"\n'
        '      - "/dev/nvidia-modeset:/dev/nvidia-modeset"\n'
    )


# -- whatever is given stays what it was ------------------------------------------------------------------------------------------

PLAIN = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
HOSTILE = st.sampled_from(["--privileged", "$(id)", "`id`", "a b", "'", '"', "# x", "${HOME}", "", ": x", "- y"])
words = st.lists(PLAIN | HOSTILE, max_size=4)
hosts = st.sampled_from([HOOK, RULES, CDI, PODMAN])


@given(hosts, words)
def test_a_shell_reads_the_same_words(host: ContainerHost, args: list[str]) -> None:
    one = made(host, EIGHT, args=tuple(args))
    assert shlex.split(as_shell(one).replace("\\\n", " ")) == one.argv
    assert one.argv[-len(args) - 1 :] == ["digits:1", *args]


@given(hosts, words)
def test_compose_reads_the_same_words(host: ContainerHost, args: list[str]) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    one = made(host, EIGHT, gpus="1,2", args=tuple(args))
    service = yaml.safe_load(as_compose(one))["services"]["service"]
    allowed = {"image", "command", "ports", "environment", "shm_size", "ulimits", "deploy", "devices", "security_opt"}
    assert set(service) <= allowed
    assert [word.replace("$$", "$") for word in service.get("command", [])] == args
    assert service["environment"] == one.env


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    "args", [(), ("--workers", "2"), ("a b", "$(id)", "`id`", "'", '"', "# x", "${HOME}", "%.o: x", "\\")]
)
def test_make_reads_the_same_words(tmp_path: Path, args: tuple[str, ...]) -> None:
    one = made(RULES, EIGHT, gpus="1,2", args=args)
    (tmp_path / "Makefile").write_text(as_make(one))
    # Not as a part of the make that may run these tests.
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    said = subprocess.run(
        ["make", "-n", "run"], cwd=tmp_path, env=env, capture_output=True, text=True, check=True, timeout=30
    )
    assert shlex.split(said.stdout) == one.argv
