"""The driver's own parts: module, libraries, device nodes, and whether this user may open them.

Owns what each missing part means; never looks at the devices behind them.
"""

from __future__ import annotations

from errno import EACCES, EPERM

from tiffin.gpu.doctor.driver import VERSION_FILE
from tiffin.gpu.doctor.facts import Facts
from tiffin.gpu.doctor.finding import Finding, Fix
from tiffin.gpu.doctor.fixes import anywhere, by_family, install_driver, recreate_container
from tiffin.gpu.doctor.nvml import LIBRARY
from tiffin.gpu.doctor.verdict import fine, skip

_MISMATCH = 18
_UNKNOWN = 999
_CODES = {
    4: "this user may not open the devices",
    9: "the kernel module is not loaded",
    12: "the library is not found",
    15: "a GPU has fallen off the bus",
    17: "the operating system blocks the request, a cgroup for example",
    _UNKNOWN: "access to the devices was lost, or the driver is in a bad state",
}


def kernel_module(facts: Facts) -> Finding:
    """Looks whether NVIDIA's kernel module is loaded, else why not: not installed, not built, refused by Secure Boot."""
    if facts.system.wsl or facts.system.jetson:
        return skip("kernel-module", "this kind of machine has another driver")
    if facts.driver.module:
        return fine(
            "kernel-module",
            f"NVIDIA's kernel module {facts.driver.module} ({facts.driver.flavour}) is loaded",
            f"{VERSION_FILE}: {facts.driver.module}",
        )
    seen = [f"{VERSION_FILE}: missing", "/sys/module/nvidia: missing"]
    if facts.system.container:
        why = "the driver is not installed, or not loaded, on the host of this container; a container cannot load it"
        return _no_module(seen, why, (Fix("on the host", ("tiffin doctor", "sudo modprobe nvidia && nvidia-smi")),))
    release = facts.system.kernel
    built = facts.host.run("modinfo", "-F", "version", "nvidia")
    dkms = facts.host.run("dkms", "status")
    boot = facts.host.run("mokutil", "--sb-state")
    if built is not None and built.status == 0 and built.out.strip():
        seen.append(f"modinfo nvidia: {built.out.strip().splitlines()[0]}")
        if boot is not None and "SecureBoot enabled" in boot.out:
            seen.append("mokutil --sb-state: SecureBoot enabled")
            why = "the module is built, but Secure Boot refuses modules that are not signed with a key it knows"
            return _no_module(seen, why, _enrol(facts))
        why = "the module is built for this kernel, but nothing has loaded it, or loading failed"
        return _no_module(
            seen, why, anywhere("sudo modprobe nvidia", "sudo dmesg | grep -iE 'nvrm|nvidia'  # if that failed")
        )
    lines = [line for line in (dkms.out.splitlines() if dkms is not None else []) if "nvidia" in line]
    if lines:
        seen += [f"dkms status: {line}" for line in lines]
        if not facts.host.exists(f"/lib/modules/{release}/build"):
            seen.append(f"/lib/modules/{release}/build: missing")
        why = f"its source is here, but not built for kernel {release}: the kernel's headers are missing, or the build failed"
        return _no_module(seen, why, _build(facts))
    why = "NVIDIA's driver is not installed: no CUDA program can run, and services run on the CPU"
    return _no_module(seen, why, install_driver(facts.system))


def driver_library(facts: Facts) -> Finding:
    """Looks for the driver's library (NVML), which CUDA programs and Tiffin's placement need."""
    if facts.nvml.loaded:
        return fine("driver-library", f"{LIBRARY} can be loaded", *facts.driver.libraries)
    files = tuple(f"{path}: {version}" for path, version in facts.driver.libraries.items())
    fixes = by_family(
        facts.system.family,
        debian=(
            "sudo apt install libnvidia-ml1 libcuda1 nvidia-smi  # Debian",
            "sudo apt install libnvidia-compute-580-server  # Ubuntu",
        ),
        rhel=("sudo dnf install nvidia-driver-cuda nvidia-driver-cuda-libs",),
        arch=("sudo pacman -S nvidia-utils",),
    )
    if facts.driver.libraries:
        cause = "the library is on disk, but cannot be loaded: most likely its folder is not in the linker's list"
        fixes = anywhere("sudo ldconfig", "ldconfig -p | grep libnvidia-ml  # must show it")
    elif facts.system.container:
        cause = (
            "the container was started without GPUs, or NVIDIA_DRIVER_CAPABILITIES lacks 'utility' or 'compute': the host's "
            "libraries were not mounted, and services run on the CPU"
        )
        fixes = recreate_container()
    elif facts.system.wsl:
        cause = "Windows mounts its driver's libraries in /usr/lib/wsl/lib; they are not there"
        fixes = (Fix("Windows", ("# install NVIDIA's driver for Windows", "wsl --update", "wsl --shutdown")),)
    else:
        cause = "the kernel module is there without its libraries: CUDA cannot start, and services run on the CPU"
    return Finding(
        check="driver-library",
        level="error",
        title=f"the driver's library {LIBRARY} cannot be loaded",
        evidence=(f"dlopen: {facts.nvml.error or 'failed'}", *files),
        cause=cause,
        fixes=fixes,
    )


def driver_mismatch(facts: Facts) -> Finding:
    """Looks whether the driver's library and its kernel module have the same version."""
    module, libraries = facts.driver.module, facts.driver.libraries
    differ = bool(module and libraries and facts.nvml.error and module not in libraries.values())
    if facts.nvml.code != _MISMATCH and not differ:
        return fine("driver-mismatch", "library and kernel module have the same version")
    hold = by_family(
        facts.system.family,
        debian=(
            "sudo apt-mark hold $(dpkg-query -W -f '${Package} ' '*nvidia*' 'libcuda1*')  # update on purpose only",
        ),
        rhel=("sudo dnf versionlock add '*nvidia*'  # update on purpose only",),
        arch=("# /etc/pacman.conf: IgnorePkg = nvidia-open-dkms nvidia-utils  (update on purpose only)",),
    )
    inside = (Fix("on the host", ("sudo reboot", "# then recreate the container")),) if facts.system.container else ()
    return Finding(
        check="driver-mismatch",
        level="error",
        title=f"the driver's library and its kernel module ({module or 'version not known'}) have different versions",
        evidence=(
            f"NVML: {facts.nvml.error} ({facts.nvml.code})",
            f"{VERSION_FILE}: {module or 'missing'}",
            *(f"{path}: {version}" for path, version in libraries.items()),
        ),
        cause="the driver's packages were updated while the old module stayed loaded: no new CUDA process can start until then",
        fixes=(
            *inside,
            *anywhere(
                "sudo reboot",
                "# or without: stop all users of the GPU (sudo fuser -v /dev/nvidia*), then",
                "sudo rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && sudo modprobe nvidia",
            ),
            *hold,
        ),
    )


def device_nodes(facts: Facts) -> Finding:
    """Looks for the device nodes /dev/nvidiactl and /dev/nvidia0, …."""
    if facts.system.wsl or facts.system.jetson:
        return skip("device-nodes", "this kind of machine has other nodes")
    nodes = facts.driver.nodes
    boards = [name for name in nodes if name.removeprefix("nvidia").isdigit()]
    if "nvidiactl" in nodes and boards:
        return fine(
            "device-nodes",
            f"{len(boards)} board node{'s' if len(boards) > 1 else ''} and nvidiactl",
            *(f"/dev/{one}" for one in nodes),
        )
    missing = [
        name for name, there in (("/dev/nvidiactl", "nvidiactl" in nodes), ("/dev/nvidia0", bool(boards))) if not there
    ]
    mend = anywhere("sudo nvidia-modprobe -c0 -u", "sudo systemctl enable --now nvidia-persistenced  # keeps them")
    return Finding(
        check="device-nodes",
        level="error",
        title=f"the module is loaded, but {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing",
        evidence=tuple(f"{path}: missing" for path in missing),
        cause="nothing has made the nodes (headless machines without the persistence daemon), or this container was not given them",
        fixes=recreate_container() if facts.system.container else mend,
    )


def permission(facts: Facts) -> Finding:
    """Looks whether this user may open the device nodes, by their mode and by the container's cgroup."""
    paths = [f"/dev/{name}" for name in facts.driver.nodes if name != "nvidia-uvm-tools"]
    if not paths:
        return skip("permission", "there are no device nodes to open")
    denied = {path: code for path in paths if (code := facts.host.open_error(path)) in (EACCES, EPERM)}
    if not denied:
        return fine("permission", "this user may open the device nodes", *paths)
    words = {EACCES: "EACCES, permission denied", EPERM: "EPERM, operation not permitted"}
    fixes = anywhere(
        "ls -l /dev/nvidia* && id  # which group has them, which groups you have",
        "sudo usermod -aG video,render $USER  # then log in again",
        "# or for all users: /etc/modprobe.d/nvidia.conf: options nvidia NVreg_DeviceFileMode=0666",
    )
    by_cgroup = EPERM in denied.values()
    return Finding(
        check="permission",
        level="error",
        title=f"this user may not open {', '.join(denied)}",
        evidence=tuple(f"open {path}: {words[code]}" for path, code in denied.items()),
        cause="the device cgroup of this container denies it (its rules were rewritten after the start, or it never had the GPUs)"
        if by_cgroup
        else "the nodes belong to a group that this user is not in: CUDA sees no device",
        fixes=(*recreate_container(), *fixes) if by_cgroup or facts.system.container else fixes,
    )


def uvm(facts: Facts) -> Finding:
    """Looks for /dev/nvidia-uvm, without which nvidia-smi works and CUDA does not."""
    if facts.system.wsl or facts.system.jetson:
        return skip("uvm", "this kind of machine has no nvidia-uvm")
    if "nvidia-uvm" in facts.driver.nodes:
        return fine("uvm", "nvidia-uvm is there", "/dev/nvidia-uvm")
    loaded = "nvidia_uvm" in facts.driver.modules
    fixes = anywhere(
        "sudo nvidia-modprobe -u -c=0",
        "echo nvidia-uvm | sudo tee /etc/modules-load.d/nvidia-uvm.conf  # at every start",
    )
    return Finding(
        check="uvm",
        level="error",
        title="/dev/nvidia-uvm is missing",
        evidence=("/dev/nvidia-uvm: missing", f"/proc/modules: nvidia_uvm {'loaded' if loaded else 'not loaded'}"),
        cause="nvidia-smi works without it, CUDA does not: frameworks fail with error 999 or 100, or run on the CPU",
        fixes=recreate_container() if facts.system.container else fixes,
    )


def nvml(facts: Facts) -> Finding:
    """Looks whether NVML starts, and what its error means where it does not."""
    if not facts.nvml.error:
        return fine("nvml", f"NVML works: driver {facts.nvml.driver}, CUDA up to {facts.nvml.cuda}")
    if facts.nvml.code == _UNKNOWN and facts.system.container:
        fixes = recreate_container()
    else:
        fixes = anywhere("nvidia-smi", "sudo dmesg | grep -iE 'nvrm|nvidia'", "sudo reboot  # if the log says nothing")
    return Finding(
        check="nvml",
        level="error",
        title=f"NVML does not start: {facts.nvml.error}",
        evidence=(f"NVML: {facts.nvml.error} ({facts.nvml.code})",),
        cause=_CODES.get(facts.nvml.code, "the driver does not answer") + "; no device can be placed",
        fixes=fixes,
    )


def _no_module(evidence: list[str], why: str, fixes: tuple[Fix, ...]) -> Finding:
    title = "NVIDIA's kernel module is not loaded"
    return Finding(check="kernel-module", level="error", title=title, evidence=tuple(evidence), cause=why, fixes=fixes)


def _enrol(facts: Facts) -> tuple[Fix, ...]:
    key = {"debian": "/var/lib/shim-signed/mok/MOK.der  # Ubuntu; Debian: /var/lib/dkms/mok.pub"}
    own = "sudo mokutil --import /var/lib/dkms/mok.pub"
    return by_family(
        facts.system.family,
        debian=(f"sudo mokutil --import {key['debian']}", "sudo reboot  # choose 'Enroll MOK' on the blue screen"),
        rhel=(own, "sudo reboot  # choose 'Enroll MOK' on the blue screen"),
        arch=(own, "sudo reboot  # choose 'Enroll MOK'; or switch Secure Boot off in the BIOS"),
    )


def _build(facts: Facts) -> tuple[Fix, ...]:
    build = "sudo dkms autoinstall && sudo modprobe nvidia"
    return by_family(
        facts.system.family,
        debian=("sudo apt install linux-headers-$(uname -r)", build),
        rhel=("sudo dnf install kernel-devel-$(uname -r) kernel-headers", build),
        arch=("sudo pacman -S linux-headers", build),
    )
