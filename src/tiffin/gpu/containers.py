"""What this machine has to start containers with GPUs: engines, NVIDIA's toolkit, CDI specifications, control groups.

Owns the reading; never judges, never starts anything, needs no root.
"""

from __future__ import annotations

import re
from typing import Any, Literal, cast

import msgspec

from tiffin.gpu.host import Host

EngineName = Literal["docker", "podman"]
CDI_FOLDERS = ("/etc/cdi", "/var/run/cdi")
TOOLKIT_CONFIG = "/etc/nvidia-container-runtime/config.toml"
_GPUS = "/proc/driver/nvidia/gpus"
_NAME = re.compile(r'^\s*-?\s*"?name"?:\s*"?([A-Za-z0-9_:.-]+)"?,?\s*$', re.MULTILINE)
_KIND = re.compile(r'"?kind"?:\s*"?nvidia\.com/gpu"?')
_DRIVER = re.compile(r"lib(?:nvidia-ml|cuda)\.so\.(\d+(?:\.\d+)+)")


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """A container engine.

    Attributes:
        name, version: which, of the server; () where it does not answer. problem: why it cannot be used, "" where it can.
        cdi: it takes CDI device names. cgroup_driver: "systemd" or "cgroupfs". runtimes: names of its OCI runtimes.
        desktop: it runs in a virtual machine of Docker Desktop's. rootless: without root.
    """

    name: EngineName
    version: tuple[int, ...] = ()
    problem: Literal["", "stopped", "permission"] = ""
    cdi: bool = False
    cgroup_driver: str = ""
    runtimes: tuple[str, ...] = ()
    desktop: bool = False
    rootless: bool = False


class Cdi(msgspec.Struct, frozen=True):
    """A CDI specification of NVIDIA's: its file, the device names in it, the driver that it was made for, "" if unsaid."""

    path: str
    names: tuple[str, ...]
    driver: str = ""


class ContainerHost(msgspec.Struct, frozen=True, kw_only=True):
    """See the module.

    Attributes:
        docker, podman: None where not installed. toolkit: version of NVIDIA's container toolkit, () where there is none.
        no_cgroups: its configuration leaves control groups alone. cdi: specifications for NVIDIA's GPUs.
        cgroup_v2: one hierarchy. nodes: device nodes of NVIDIA's. minors: number of a board's node by its PCI address.
        selinux: it enforces. driver: version of the kernel module, "" where it is not loaded. wsl: under Windows.
    """

    docker: Engine | None = None
    podman: Engine | None = None
    toolkit: tuple[int, ...] = ()
    no_cgroups: bool = False
    cdi: tuple[Cdi, ...] = ()
    cgroup_v2: bool = False
    nodes: tuple[str, ...] = ()
    minors: dict[str, int] = {}
    selinux: bool = False
    driver: str = ""
    wsl: bool = False

    def engine(self, name: EngineName) -> Engine | None:
        """Return an engine by its name."""
        return self.docker if name == "docker" else self.podman


def read_containers(host: Host) -> ContainerHost:
    """Read all of it."""
    config = host.read(TOOLKIT_CONFIG) or ""
    module = re.search(r"\b(\d{3}\.\d+(?:\.\d+)*)", host.read("/proc/driver/nvidia/version") or "")
    nodes = [
        f"/dev/{name}"
        for name in host.list("/dev")
        if re.match(r"nvidia\d*\Z|nvidia(ctl|-uvm|-uvm-tools|-modeset)\Z", name)
    ]
    caps = [f"/dev/nvidia-caps/{name}" for name in host.list("/dev/nvidia-caps")]
    return ContainerHost(
        docker=_docker(host),
        podman=_podman(host),
        toolkit=_toolkit(host),
        no_cgroups=re.search(r"^\s*no-cgroups\s*=\s*true", config, re.MULTILINE) is not None,
        cdi=tuple(_specs(host)),
        cgroup_v2=host.exists("/sys/fs/cgroup/cgroup.controllers"),
        nodes=tuple(nodes + caps),
        minors=_minors(host),
        selinux=(host.read("/sys/fs/selinux/enforce") or "").strip() == "1",
        driver=module[1] if module else "",
        wsl=host.exists("/dev/dxg"),
    )


def numbers(text: str) -> tuple[int, ...]:
    """Return the first version in a text as numbers, () where there is none."""
    match = re.search(r"\d+(?:\.\d+)+", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _docker(host: Host) -> Engine | None:
    said = host.run("docker", "info", "--format", "{{json .}}")
    if said is None:
        return None
    info: dict[str, Any] = {}
    try:
        decoded: Any = msgspec.json.decode(said.out)
        info = cast("dict[str, Any]", decoded) if isinstance(decoded, dict) else {}
    except msgspec.DecodeError:  # an error in plain text
        pass
    version = numbers(str(info.get("ServerVersion") or ""))
    if not version:
        trouble = f"{said.out} {said.err}".lower()
        # As of Docker 1.x `info` answers without a server, with the reason in ServerErrors.
        return Engine(name="docker", problem="permission" if "permission denied" in trouble else "stopped")
    security = " ".join(map(str, cast("list[Any]", info.get("SecurityOptions") or [])))
    # From 28.2 on by default, from 25 on where it is switched on; the folders are told only then.
    return Engine(
        name="docker",
        version=version,
        cdi=version >= (25,) and bool(info.get("CDISpecDirs")),
        cgroup_driver=str(info.get("CgroupDriver") or ""),
        runtimes=tuple(sorted(cast("dict[str, Any]", info.get("Runtimes") or {}))),
        desktop="docker desktop" in str(info.get("OperatingSystem") or "").lower(),
        rootless="rootless" in security,
    )


def _podman(host: Host) -> Engine | None:
    said = host.run("podman", "--version")
    if said is None:
        return None
    version = numbers(said.out)
    return Engine(name="podman", version=version, cdi=version >= (4, 1), problem="" if version else "stopped")


def _toolkit(host: Host) -> tuple[int, ...]:
    for command in ("nvidia-ctk", "nvidia-container-cli"):
        said = host.run(command, "--version")
        if said is not None and said.status == 0:
            return numbers(said.out)
    return ()


def _specs(host: Host) -> list[Cdi]:
    found: list[Cdi] = []
    for folder in CDI_FOLDERS:
        for name in host.list(folder):
            if not name.endswith((".yaml", ".yml", ".json")):
                continue
            text = host.read(f"{folder}/{name}") or ""
            if not _KIND.search(text):
                continue
            # Of the file only its device names are wanted: lines that say a name and nothing else.
            devices = text.split("devices", 1)[-1]
            names = tuple(dict.fromkeys(match for match in _NAME.findall(devices) if not match.startswith("/")))
            driver = _DRIVER.search(text)
            found.append(Cdi(f"{folder}/{name}", names, driver[1] if driver else ""))
    return found


def _minors(host: Host) -> dict[str, int]:
    found: dict[str, int] = {}
    for bus in host.list(_GPUS):
        match = re.search(r"Device Minor:\s*(\d+)", host.read(f"{_GPUS}/{bus}/information") or "")
        if match:
            found[bus.lower()] = int(match[1])
    return found
