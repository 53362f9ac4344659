"""What kind of machine this is: kernel, distribution, container, WSL2, Jetson.

Owns the reading of the files that say so; never judges.
"""

from __future__ import annotations

import shlex
from typing import Literal

import msgspec

from tiffin.gpu.host import Host

Family = Literal["debian", "rhel", "arch", "other"]

_FAMILIES: dict[str, Family] = {
    "debian": "debian",
    "ubuntu": "debian",
    "rhel": "rhel",
    "fedora": "rhel",
    "centos": "rhel",
    "amzn": "rhel",
    "arch": "arch",
}
_IN_CONTAINER = (("docker", "docker"), ("kubepods", "kubernetes"), ("containerd", "containerd"), ("libpod", "podman"))


class System(msgspec.Struct, frozen=True, kw_only=True):
    """One machine.

    Attributes:
        kernel: release, "6.1.0-18-amd64". machine: processor, "x86_64". glibc: version, "" where there is another C library.
        name: of the distribution, as it calls itself. id: its short name, "ubuntu". family: whose packages it takes.
        container: "" on the machine itself, else what made the container: "docker", "podman", "kubernetes", "container".
        wsl: under Windows. jetson: release line of NVIDIA's Jetson boards, "" elsewhere.
    """

    kernel: str = ""
    machine: str = ""
    glibc: str = ""
    name: str = ""
    id: str = ""
    family: Family = "other"
    container: str = ""
    wsl: bool = False
    jetson: str = ""


def read_system(host: Host) -> System:
    """Read what kind of machine this is."""
    release = _assignments(host.read("/etc/os-release") or host.read("/usr/lib/os-release") or "")
    words = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    families: list[Family] = [_FAMILIES[word] for word in words if word in _FAMILIES]
    uname = host.run("uname", "-m")
    libc = host.run("getconf", "GNU_LIBC_VERSION")
    version = host.read("/proc/version") or ""
    return System(
        kernel=(host.read("/proc/sys/kernel/osrelease") or "").strip(),
        machine=(host.read("/proc/sys/kernel/arch") or (uname.out if uname else "")).strip(),
        glibc=libc.out.strip().removeprefix("glibc").strip() if libc and libc.status == 0 else "",
        name=release.get("PRETTY_NAME", release.get("NAME", "")),
        id=release.get("ID", ""),
        family=families[0] if families else "other",
        container=_container(host),
        wsl=host.exists("/dev/dxg") or "microsoft" in version.lower(),
        jetson=(host.read("/etc/nv_tegra_release") or "").strip().split("\n", 1)[0],
    )


def _container(host: Host) -> str:
    if host.exists("/.dockerenv"):
        return "docker"
    if host.exists("/run/.containerenv"):
        return "podman"
    if host.environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    groups = host.read("/proc/1/cgroup") or ""
    for word, maker in _IN_CONTAINER:
        if word in groups:
            return maker
    return "container" if host.environ.get("container") else ""


def _assignments(text: str) -> dict[str, str]:
    """Return the NAME=value lines of a file that a shell could read."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            try:
                found[name] = "".join(shlex.split(value))
            except ValueError:  # an open quotation mark: the rest of the file still counts
                found[name] = value.strip("\"'")
    return found
