"""Containers: engine, toolkit, CDI and control groups on the machine itself; limits, locale and capabilities where services run.

Owns the cures for containers that see no GPU, or lose it. That NVML fails inside one ("Unknown Error") is the check `nvml`.
"""

from __future__ import annotations

import re

from tiffin.gpu.containers import TOOLKIT_CONFIG, Engine
from tiffin.gpu.doctor.check import Check
from tiffin.gpu.doctor.facts import Facts
from tiffin.gpu.doctor.finding import Finding, Fix, Level
from tiffin.gpu.doctor.fixes import anywhere, by_family, recreate_container
from tiffin.gpu.doctor.verdict import fine, skip

_LEAST_SHM = 1 << 30
_LEAST_FILES = 4096
_OLD_TOOLKIT, _REFRESHING_TOOLKIT = (1, 12), (1, 18)
_GENERATE = "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml && nvidia-ctk cdi list"
_CONFIGURE = "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"


def docker_daemon(facts: Facts) -> Finding:
    """Looks whether the Docker daemon answers this user."""
    name = "docker-daemon"
    docker = facts.containers.docker
    if facts.system.container or docker is None:
        return skip(name, "no Docker here")
    if not docker.problem:
        return fine(name, f"Docker {_dotted(docker.version)} answers")
    if docker.problem == "permission":
        fixes = anywhere("sudo usermod -aG docker $USER", "newgrp docker", "docker info")
        return _bad(
            name,
            "note",
            "this user may not talk to the Docker daemon",
            "docker info: permission denied",
            "`tiffin containers run --exec` and `docker run` fail for this user; membership of the group is as good as root",
            fixes,
        )
    fixes = anywhere("sudo systemctl enable --now docker", "journalctl -u docker -n 50  # if it does not start")
    return _bad(
        name,
        "note",
        "the Docker daemon does not answer",
        "docker info: no server version",
        "no container can start",
        fixes,
    )


def docker_version(facts: Facts) -> Finding:
    """Looks whether Docker is new enough for GPUs: 19.03 for --gpus, 25 for CDI."""
    name = "docker-version"
    docker = _docker(facts)
    if docker is None:
        return skip(name, "no Docker that answers")
    seen = f"docker info: server {_dotted(docker.version)}, CDI {'on' if docker.cdi else 'off'}"
    if docker.version < (19, 3):
        return _bad(
            name,
            "error",
            f"Docker {_dotted(docker.version)} is older than 19.03",
            seen,
            "it has no --gpus: containers cannot see a GPU",
            by_family(
                facts.system.family,
                debian=("sudo apt update && sudo apt install docker.io",),
                rhel=("sudo dnf install docker-ce docker-ce-cli containerd.io  # from Docker's repository",),
                arch=("sudo pacman -Syu docker",),
            ),
        )
    if docker.cdi or docker.version < (25,):
        return fine(name, f"Docker {_dotted(docker.version)} is new enough", seen)
    switch = '# in /etc/docker/daemon.json: {"features": {"cdi": true}}'
    cause = "GPUs come by the older hook, whose device rules are lost at the next systemctl daemon-reload"
    fixes = anywhere(switch, "sudo systemctl restart docker", _GENERATE)
    return _bad(name, "note", f"Docker {_dotted(docker.version)} has CDI switched off", seen, cause, fixes)


def docker_desktop(facts: Facts) -> Finding:
    """Looks whether Docker is Docker Desktop, whose containers live in a virtual machine."""
    name = "docker-desktop"
    docker = _docker(facts)
    if docker is None:
        return skip(name, "no Docker that answers")
    if not docker.desktop or facts.system.wsl:
        return fine(name, "containers run on this machine itself")
    return _bad(
        name,
        "warning",
        "Docker Desktop runs containers in a virtual machine",
        "docker info: Docker Desktop",
        "the virtual machine sees no GPU of this machine's",
        by_family(
            facts.system.family,
            debian=("sudo apt install docker.io", "docker context use default"),
            rhel=("sudo dnf install docker-ce", "docker context use default"),
            arch=("sudo pacman -S docker", "docker context use default"),
        ),
    )


def toolkit(facts: Facts) -> Finding:
    """Looks whether NVIDIA's container toolkit is installed, and new enough to write CDI specifications."""
    name = "toolkit"
    if facts.system.container or not _engines(facts):
        return skip(name, "no container engine here")
    version = facts.containers.toolkit
    install = by_family(
        facts.system.family,
        debian=("sudo apt install nvidia-container-toolkit  # from NVIDIA's repository", _CONFIGURE),
        rhel=("sudo dnf install nvidia-container-toolkit  # from NVIDIA's repository", _CONFIGURE),
        arch=("sudo pacman -S nvidia-container-toolkit", _CONFIGURE),
    )
    if not version:
        return _bad(
            name,
            "warning",
            "NVIDIA's container toolkit is not installed",
            "nvidia-ctk, nvidia-container-cli: not found",
            'containers see no GPU: could not select device driver "" with capabilities: [[gpu]]',
            install,
        )
    if version < _OLD_TOOLKIT:
        return _bad(
            name,
            "warning",
            f"NVIDIA's container toolkit {_dotted(version)} is older than 1.12",
            f"nvidia-ctk: {_dotted(version)}",
            "it writes no CDI specification: only the hook is left, whose rules are lost at a systemctl daemon-reload",
            install,
        )
    return fine(name, f"NVIDIA's container toolkit {_dotted(version)}", f"nvidia-ctk: {_dotted(version)}")


def nvidia_runtime(facts: Facts) -> Finding:
    """Looks whether Docker knows NVIDIA's runtime, where it has no CDI."""
    name = "nvidia-runtime"
    docker = _docker(facts)
    if docker is None or not facts.containers.toolkit:
        return skip(name, "no Docker with NVIDIA's toolkit")
    seen = f"docker info: runtimes {', '.join(docker.runtimes) or 'none'}"
    if "nvidia" in docker.runtimes or (docker.cdi and facts.containers.cdi):
        return fine(name, "Docker can hand GPUs to containers", seen)
    cause = 'docker run --gpus fails: could not select device driver "" with capabilities: [[gpu]]'
    return _bad(name, "warning", "Docker does not know NVIDIA's runtime", seen, cause, anywhere(_CONFIGURE))


def cdi(facts: Facts) -> Finding:
    """Looks whether there is a CDI specification, made for the driver and the GPUs of now."""
    name = "cdi"
    host = facts.containers
    takers = [engine for engine in _engines(facts) if engine.cdi]
    if facts.system.container or not takers or not host.toolkit:
        return skip(name, "no engine that takes CDI names, or no toolkit")
    if not host.cdi:
        cause = (
            f"{takers[0].name} could name GPUs as nvidia.com/gpu=…, the way that does not break; nothing describes them"
        )
        return _bad(
            name, "note", "there is no CDI specification", "/etc/cdi, /var/run/cdi: none", cause, anywhere(_GENERATE)
        )
    spec = host.cdi[0]
    seen = f"{spec.path}: {', '.join(spec.names) or 'no device'}" + (f"; driver {spec.driver}" if spec.driver else "")
    names = {one for each in host.cdi for one in each.names}
    known = [one for one in facts.inventory.devices if one.uuid in names or str(one.index) in names]
    if spec.driver and host.driver and spec.driver != host.driver:
        why = f"it was made for driver {spec.driver}, and {host.driver} is loaded"
    elif len(known) < len(facts.inventory.devices):
        missing = ", ".join(one.uuid for one in facts.inventory.devices if one not in known)
        why = f"it does not describe {missing}"
    else:
        return fine(name, "the CDI specification fits the driver and the GPUs", seen)
    refresh = "sudo systemctl restart nvidia-cdi-refresh.service  # toolkit 1.18 and newer"
    fixes = anywhere(*((refresh,) if host.toolkit >= _REFRESHING_TOOLKIT else ()), _GENERATE)
    cause = f"{why}: containers fail to start, or lack libraries of the driver"
    return _bad(name, "error", "the CDI specification is stale", seen, cause, fixes)


def cgroup_rules(facts: Facts) -> Finding:
    """Looks whether containers would lose their GPUs at the next systemctl daemon-reload."""
    name = "cgroup-rules"
    docker, host = _docker(facts), facts.containers
    if docker is None or not host.toolkit or facts.system.wsl:
        return skip(name, "no Docker with NVIDIA's toolkit")
    version = "v2" if host.cgroup_v2 else "v1"
    seen = f"docker info: cgroup driver {docker.cgroup_driver or 'unknown'}; cgroup {version}"
    if docker.cdi and host.cdi:
        return fine(name, "GPUs come by CDI, whose rules the engine keeps itself", seen)
    if docker.cgroup_driver != "systemd" and not host.no_cgroups:
        return fine(name, "nobody takes the hook's device rules away", seen)
    off = [f"{TOOLKIT_CONFIG}: no-cgroups = true"] if host.no_cgroups else []
    fixes = (
        Fix("best: CDI (Docker 25 and newer, podman)", (_GENERATE, "docker run --device nvidia.com/gpu=all …")),
        Fix("every engine: name the device nodes", ("tiffin containers run --cgroup-workaround on IMAGE",)),
        Fix(
            "or another cgroup driver",
            (
                '# in /etc/docker/daemon.json: {"exec-opts": ["native.cgroupdriver=cgroupfs"]}',
                "sudo systemctl restart docker",
            ),
        ),
        *by_family(
            facts.system.family,
            debian=(
                '# in /etc/default/grub: GRUB_CMDLINE_LINUX_DEFAULT="quiet systemd.unified_cgroup_hierarchy=0"',
                "sudo update-grub && sudo reboot  # the older way; systemd 256 and newer refuse it",
            ),
            rhel=(
                "sudo grubby --update-kernel=ALL --args=systemd.unified_cgroup_hierarchy=0 && sudo reboot  # the older way",
            ),
            arch=(f"# in {TOOLKIT_CONFIG}: no-cgroups = true, and name the device nodes (the older way)",),
        ),
    )
    return Finding(
        check=name,
        level="warning",
        title="containers may lose their GPUs while they run",
        evidence=(seen, *off),
        cause=(
            "NVIDIA's hook sets device rules behind the engine's back; systemd takes them away at the next daemon-reload: "
            "Failed to initialize NVML: Unknown Error, until the container is made anew"
        ),
        fixes=fixes,
    )


def driver_capabilities(facts: Facts) -> Finding:
    """Looks whether this container was given the driver's libraries for CUDA and NVML."""
    name = "driver-capabilities"
    value = facts.host.environ.get("NVIDIA_DRIVER_CAPABILITIES")
    if not facts.system.container or value is None:
        return skip(name, "no container, or one that says nothing of capabilities")
    given = {part.strip() for part in value.split(",")}
    lacking = [] if "all" in given else [one for one in ("compute", "utility") if one not in given]
    seen = f"NVIDIA_DRIVER_CAPABILITIES={value}"
    if not lacking:
        return fine(name, "this container has the driver's libraries for CUDA and NVML", seen)
    what = {"compute": "CUDA (libcuda)", "utility": "NVML and nvidia-smi"}
    cause = f"{' and '.join(what[one] for one in lacking)} did not come into this container"
    fixes = (Fix("on the host", ("docker run -e NVIDIA_DRIVER_CAPABILITIES=compute,utility …",)), *recreate_container())
    return _bad(name, "error", f"this container lacks {' and '.join(lacking)}", seen, cause, fixes)


def shm(facts: Facts) -> Finding:
    """Looks whether /dev/shm has room for the exchange between processes."""
    name = "shm"
    said = facts.host.run("df", "-Pk", "/dev/shm")
    match = re.search(r"\n\S+\s+(\d+)\s", said.out) if said is not None and said.status == 0 else None
    if match is None:
        return skip(name, "the size of /dev/shm cannot be read")
    size = int(match[1]) * 1024
    seen = f"df /dev/shm: {size >> 20} MiB"
    if size >= _LEAST_SHM:
        return fine(name, f"/dev/shm has {size >> 20} MiB", seen)
    if facts.system.container:
        fixes: tuple[Fix, ...] = (
            Fix("on the host", ("docker run --shm-size=1g …  # or --ipc=host",)),
            Fix("Kubernetes", ('# an emptyDir with medium: "Memory", mounted at /dev/shm',)),
        )
    else:
        fixes = anywhere("sudo mount -o remount,size=2g /dev/shm")
    cause = (
        "data loaders and NCCL end with a bus error when it is full; Docker gives 64 MiB unless it is told otherwise"
    )
    return _bad(name, "warning", f"/dev/shm has {size >> 20} MiB only", seen, cause, fixes)


def limits(facts: Facts) -> Finding:
    """Looks whether memory may be pinned and enough files opened."""
    name = "limits"
    text = facts.host.read("/proc/self/limits") or ""
    files = re.search(r"Max open files\s+(\d+|unlimited)", text)
    locked = re.search(r"Max locked memory\s+(\d+|unlimited)", text)
    if files is None or locked is None:
        return skip(name, "the limits of this process cannot be read")
    seen = f"/proc/self/limits: open files {files[1]}, locked memory {locked[1]}"
    few = files[1] != "unlimited" and int(files[1]) < _LEAST_FILES
    tight = facts.system.container != "" and locked[1] != "unlimited" and int(locked[1]) < 64 << 20
    if not few and not tight:
        return fine(name, "limits of files and of locked memory are wide enough", seen)
    words = [*(["open files"] if few else []), *(["locked memory"] if tight else [])]
    cause = "many connections fail with 'too many open files'; pinned memory and RDMA fail to register"
    flags = "--ulimit memlock=-1 --ulimit nofile=65536:65536"
    fixes = (Fix("containers", (f"docker run {flags} …",)), Fix("a shell", ("ulimit -n 65536 && ulimit -l unlimited",)))
    return _bad(name, "note", f"the limit of {' and of '.join(words)} is low", seen, cause, fixes)


def locale(facts: Facts) -> Finding:
    """Looks whether text is read as UTF-8."""
    name = "locale"
    environ = facts.host.environ
    variable = next((one for one in ("LC_ALL", "LC_CTYPE", "LANG") if environ.get(one)), "")
    value = environ.get(variable, "")
    seen = f"{variable}={value}" if variable else "LC_ALL, LC_CTYPE, LANG: not set"
    # Where there is none, or C, Python reads UTF-8 by itself (PEP 538 and 540).
    if (
        value.split(".")[0] in ("", "C", "POSIX")
        or re.search(r"utf-?8", value, re.IGNORECASE)
        or environ.get("PYTHONUTF8") == "1"
    ):
        return fine(name, "text is read as UTF-8", seen)
    fixes = (
        Fix("a shell", ("export LC_ALL=C.UTF-8 LANG=C.UTF-8",)),
        Fix("containers", ("docker run -e LC_ALL=C.UTF-8 -e LANG=C.UTF-8 …",)),
    )
    cause = (
        "labels, file names and logs that are not ASCII come out wrong, or raise; older command lines refuse to start"
    )
    return _bad(name, "warning", "text is not read as UTF-8", seen, cause, fixes)


CHECKS: tuple[Check, ...] = (
    docker_daemon,
    docker_version,
    docker_desktop,
    toolkit,
    nvidia_runtime,
    cdi,
    cgroup_rules,
    driver_capabilities,
    shm,
    limits,
    locale,
)


def _bad(check: str, level: Level, title: str, seen: str, cause: str, fixes: tuple[Fix, ...]) -> Finding:
    return Finding(check=check, level=level, title=title, evidence=(seen,), cause=cause, fixes=fixes)


def _docker(facts: Facts) -> Engine | None:
    """Return Docker where it answers."""
    docker = facts.containers.docker
    return None if facts.system.container or docker is None or docker.problem else docker


def _engines(facts: Facts) -> list[Engine]:
    return [one for one in (facts.containers.docker, facts.containers.podman) if one is not None and not one.problem]


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
