"""The parts of NVIDIA's driver: kernel module, libraries, device nodes. Owns the reading; never judges, never loads a library."""

from __future__ import annotations

import re

import msgspec

from tiffin.gpu.host import Host

VERSION_FILE = "/proc/driver/nvidia/version"
_MODULE = re.compile(r"Kernel Module\s+(?:for \S+\s+)?(\d+(?:\.\d+)+)")
_LIBRARY = re.compile(r"libnvidia-ml\.so\.(\d+\.\d+(?:\.\d+)?)$")
_NODE = re.compile(r"nvidia\d*$|nvidiactl$|nvidia-(uvm|uvm-tools|modeset)$")
_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/lib/wsl/lib",
    "/usr/local/nvidia/lib64",
    "/run/opengl-driver/lib",
)


class Driver(msgspec.Struct, frozen=True, kw_only=True):
    """The driver's parts.

    Attributes:
        module: version of the kernel module that is loaded, "" none is. flavour: "open" or "proprietary" module, "" without.
        modules: names of all modules that are loaded. libraries: NVML libraries on disk, path → version.
        nodes: names of NVIDIA's device nodes in /dev.
    """

    module: str = ""
    flavour: str = ""
    modules: frozenset[str] = frozenset()
    libraries: dict[str, str] = {}
    nodes: tuple[str, ...] = ()


def read_driver(host: Host) -> Driver:
    """Read which parts of the driver are here."""
    said = host.read(VERSION_FILE) or ""
    version = _MODULE.search(said)
    module = version[1] if version else (host.read("/sys/module/nvidia/version") or "").strip()
    names = {line.split(" ", 1)[0] for line in (host.read("/proc/modules") or "").splitlines()}
    return Driver(
        module=module,
        flavour=("open" if "Open Kernel Module" in said else "proprietary") if module else "",
        modules=frozenset(names | set(host.list("/sys/module"))),
        libraries=_libraries(host),
        nodes=tuple(name for name in host.list("/dev") if _NODE.match(name)),
    )


def _libraries(host: Host) -> dict[str, str]:
    extra = [folder for folder in host.environ.get("LD_LIBRARY_PATH", "").split(":") if folder.startswith("/")]
    found: dict[str, str] = {}
    for folder in dict.fromkeys([*extra, *_FOLDERS]):
        for name in host.list(folder):
            version = _LIBRARY.match(name)
            if version:
                found[f"{folder}/{name}"] = version[1]
    return found
