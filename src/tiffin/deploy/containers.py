"""The right `docker run` or `podman run` for this machine, these GPUs and an image.

Owns the choice of flags; pure. Never runs anything (the command line does), never reads the machine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from tiffin.errors import ConfigError, PlacementError, StartError
from tiffin.gpu.containers import ContainerHost, Engine, EngineName
from tiffin.gpu.inventory import Device, Inventory, matches

Workaround = Literal["auto", "on", "off"]
_IMAGE = re.compile(
    r"[a-z0-9]+([._-]+[a-z0-9]+)*(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?"
    r"(@sha256:[a-f0-9]{64})?\Z"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")
_SIZE = re.compile(r"[1-9]\d*[bkmg]?\Z")
_SHARED = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")
_INSTALL = "tiffin doctor shows how to install it"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be started.

    Attributes:
        image, args: the image, and arguments for what it runs. engine: "auto" takes the first that can be used.
        gpus: "auto" (all, or the CPU where there is none), "all", "none", or numbers and uuids with commas between them.
        port: of the service, published on 127.0.0.1. name, shm_size: of the container. detach: in the background.
        workaround: name every device node (see `container_command`).
    """

    image: str
    args: tuple[str, ...] = ()
    engine: Literal["auto", "docker", "podman"] = "auto"
    gpus: str = "auto"
    port: int = 3000
    name: str = ""
    shm_size: str = "1g"
    detach: bool = False
    workaround: Workaround = "auto"


class ContainerCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command, in parts that other formats need apart.

    Attributes:
        engine: program. flags: all that is not about GPUs. gpu_flags: `--gpus …` or CDI names. devices: device nodes, as paths.
        image, args: as asked for. notes: what the operator should know. gpus: it has any. cdi: they come by CDI, as cdi_names.
        chosen: uuids, () for all or none. env, port, shm_size, name: once more, for a compose file.
    """

    engine: EngineName
    flags: tuple[str, ...]
    gpu_flags: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    image: str
    args: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    cdi: bool = False
    gpus: bool = False
    chosen: tuple[str, ...] = ()
    cdi_names: tuple[str, ...] = ()
    env: dict[str, str] = {}
    port: int = 3000
    shm_size: str = "1g"
    name: str = ""

    @property
    def argv(self) -> list[str]:
        """The whole command."""
        nodes = [word for path in self.devices for word in ("--device", path)]
        return [self.engine, "run", *self.flags, *self.gpu_flags, *nodes, self.image, *self.args]


def container_command(host: ContainerHost, inventory: Inventory, request: Request) -> ContainerCommand:
    """Choose the flags.

    GPUs come by CDI where the engine takes it and a specification is there, else by `--gpus` and NVIDIA's hook. The hook sets
    device rules behind the engine's back, and systemd (or cgroup v2) takes them away again at the next reload: "Failed to
    initialize NVML: Unknown Error". Naming every node with `--device` is the engine's own way, and holds.

    Raises:
        ConfigError: a field that cannot be. PlacementError: GPUs that are not there. StartError: no engine, or no toolkit.
    """
    _check(request)
    engine = _engine(host, request)
    notes: list[str] = []
    chosen = _chosen(inventory, request, notes)
    env = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}  # Python in an image without a locale would read ASCII
    flags = ["-d"] if request.detach else ["--rm"]
    if request.name:
        flags += ["--name", request.name]
    flags += ["-p", f"127.0.0.1:{request.port}:{request.port}", "--shm-size", request.shm_size]
    flags += ["--ulimit", "memlock=-1", "--ulimit", "nofile=65536:65536"]
    gpu_flags: list[str] = []
    nodes: list[str] = []
    names: list[str] = []
    cdi = False
    if chosen is not None:
        env["NVIDIA_DRIVER_CAPABILITIES"] = "compute,utility"
        every = len(chosen) == len(inventory.devices)
        cdi = engine.cdi and bool(host.cdi) and request.workaround != "on"
        if cdi:
            names = ["nvidia.com/gpu=all"] if every else [f"nvidia.com/gpu={_cdi_name(host, one)}" for one in chosen]
            gpu_flags = [word for name in names for word in ("--device", name)]
        else:
            gpu_flags = _hook(host, engine, chosen, every=every)
            if _needs_nodes(host, engine, request.workaround):
                nodes = _nodes(host, chosen)
                notes.append(
                    "every device node is named, because the hook's own rules are lost at the next systemctl daemon-reload; "
                    "CDI needs no such thing: sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
                )
        if host.selinux and not cdi:
            flags += ["--security-opt", "label=disable"]
        if engine.desktop:
            notes.append(
                "Docker Desktop runs containers in a virtual machine, which sees GPUs under Windows (WSL2) only"
            )
    flags += [word for key, value in env.items() for word in ("-e", f"{key}={value}")]
    notes.append(f"only this machine reaches it; for others publish -p {request.port}:{request.port} behind a firewall")
    return ContainerCommand(
        engine=engine.name,
        flags=tuple(flags),
        gpu_flags=tuple(gpu_flags),
        devices=tuple(nodes),
        image=request.image,
        args=request.args,
        notes=tuple(notes),
        cdi=cdi,
        gpus=chosen is not None,
        chosen=() if chosen is None or len(chosen) == len(inventory.devices) else tuple(one.uuid for one in chosen),
        cdi_names=tuple(names),
        env=env,
        port=request.port,
        shm_size=request.shm_size,
        name=request.name,
    )


def _check(request: Request) -> None:
    if not _IMAGE.match(request.image):
        raise ConfigError(
            f"image {request.image!r} is no image name", hint="for example registry.example.org/team/digits:1.2"
        )
    if request.name and not _NAME.match(request.name):
        raise ConfigError(f"--name {request.name!r} is no container name", hint="letters, digits, '_', '.' and '-'")
    if not _SIZE.match(request.shm_size):
        raise ConfigError(f"--shm-size {request.shm_size!r} is no size", hint="for example 1g or 512m")
    if not 0 < request.port < 65536:
        raise ConfigError(f"--port {request.port} is no port", hint="choose one from 1 to 65535")


def _engine(host: ContainerHost, request: Request) -> Engine:
    wanted: Sequence[EngineName] = ("docker", "podman") if request.engine == "auto" else (request.engine,)
    found = [engine for name in wanted if (engine := host.engine(name)) is not None]
    usable = [engine for engine in found if not engine.problem]
    if usable:
        return usable[0]
    if not found:
        raise StartError(f"{' and '.join(wanted)} not found on this machine", hint=f"install one of them; {_INSTALL}")
    if found[0].problem == "permission":
        raise StartError(
            "this user may not talk to the Docker daemon",
            hint="sudo usermod -aG docker $USER, and log in again; or use --engine podman",
        )
    raise StartError(f"{found[0].name} does not answer", hint="sudo systemctl start docker; tiffin doctor says more")


def _chosen(inventory: Inventory, request: Request, notes: list[str]) -> list[Device] | None:
    """Return the GPUs, None for a container on the CPU."""
    if request.gpus == "none":
        return None
    if request.gpus in ("auto", "all"):
        if inventory.devices:
            return list(inventory.devices)
        if request.gpus == "auto":
            notes.append(f"NO GPU: the service will run on the CPU: {inventory.reason}")
            return None
        raise PlacementError(
            f"--gpus all: {inventory.reason}", hint="--gpus none starts it on the CPU; tiffin doctor says more"
        )
    there = ", ".join(f"{one.index} ({one.uuid})" for one in inventory.devices) or inventory.reason
    chosen: list[Device] = []
    for entry in (part.strip() for part in request.gpus.split(",")):
        hits = [device for device in inventory.devices if matches(device, entry)]
        if not hits:
            raise PlacementError(
                f"--gpus {request.gpus!r}: there is no GPU {entry!r}; there are {there}", hint="choose from these"
            )
        if any(hit in chosen for hit in hits):
            raise ConfigError(f"--gpus {request.gpus!r} names {entry!r} twice", hint="name each GPU once")
        chosen += hits
    return chosen


def _hook(host: ContainerHost, engine: Engine, chosen: Sequence[Device], *, every: bool) -> list[str]:
    """Return the flags for NVIDIA's hook."""
    if not host.toolkit:
        raise StartError(
            "NVIDIA's container toolkit is not installed: no container can see a GPU",
            hint=f"{_INSTALL}; --gpus none for the CPU",
        )
    if engine.name == "podman":
        raise StartError(
            f"podman {_dotted(engine.version)} needs a CDI specification to show GPUs, and there is none that it takes",
            hint="sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml (podman 4.1 or newer)",
        )
    if engine.version < (19, 3):
        raise StartError(
            f"Docker {_dotted(engine.version)} has no --gpus: 19.03 or newer is needed", hint=f"update it; {_INSTALL}"
        )
    if every:
        return ["--gpus", "all"]
    # Docker reads this value as CSV: without the quotes of its own the second number would be another key.
    return ["--gpus", '"device=' + ",".join(one.uuid if one.parent else str(one.index) for one in chosen) + '"']


def _needs_nodes(host: ContainerHost, engine: Engine, workaround: Workaround) -> bool:
    if workaround != "auto":
        return workaround == "on"
    return not host.wsl and (engine.cgroup_driver == "systemd" or host.cgroup_v2 or host.no_cgroups)


def _nodes(host: ContainerHost, chosen: Sequence[Device]) -> list[str]:
    """Return the device nodes of the chosen boards, and those that all boards share."""
    boards: list[str] = []
    for device in chosen:
        minor = host.minors.get(device.bus.lower()[-12:], device.index)
        node = f"/dev/nvidia{minor}"
        if node not in boards:
            boards.append(node)
    shared = [node for node in _SHARED if node in host.nodes]
    caps = (
        [node for node in host.nodes if node.startswith("/dev/nvidia-caps/")]
        if any(one.parent for one in chosen)
        else []
    )
    return boards + shared + caps


def _cdi_name(host: ContainerHost, device: Device) -> str:
    """Return a device's name in the specification: its uuid where that stands there, else its number."""
    known = {name for spec in host.cdi for name in spec.names}
    return device.uuid if device.uuid in known or device.parent else str(device.index)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
