"""All checks, in the order that finds the root cause first, and which cannot be judged while another fails.

Owns the order; a new check is added here, a new room with one import and one line in `ROOMS`.
"""

from __future__ import annotations

from tiffin.gpu.doctor import containers, devices, floors, frameworks, hardware, health, parts, proving
from tiffin.gpu.doctor.check import Check

ROOMS: tuple[tuple[str, tuple[Check, ...]], ...] = (
    ("machine", (floors.platform, floors.kernel, floors.glibc, floors.wsl, floors.jetson)),
    ("hardware", (hardware.gpu_on_bus, hardware.nouveau, hardware.vfio, hardware.iommu_group)),
    (
        "driver",
        (
            parts.kernel_module,
            parts.driver_library,
            parts.driver_mismatch,
            parts.device_nodes,
            parts.permission,
            parts.uvm,
            parts.nvml,
        ),
    ),
    ("containers", containers.CHECKS),
    (
        "devices",
        (
            devices.gpu_lost,
            devices.visible_devices,
            devices.capability,
            devices.mig,
            devices.mig_visible,
            devices.compute_mode,
            devices.gpu_busy,
            hardware.display,
        ),
    ),
    ("health", (health.xid, health.ecc, health.thermal, health.power, health.persistence)),
    (
        "packages",
        (
            frameworks.cuda_version,
            frameworks.driver_for_wheel,
            frameworks.cpu_wheel,
            frameworks.onnxruntime_both,
            frameworks.cudnn_mix,
        ),
    ),
)
PROOF: tuple[str, tuple[Check, ...]] = ("proof", (proving.kernel_image, proving.proof))

_STARTS = ("driver-library", "driver-mismatch", "device-nodes", "permission", "nvml")
# A check → those whose error makes its own answer worthless: it is skipped then, so that one cause is one error.
NEEDS: dict[str, tuple[str, ...]] = {
    "nouveau": ("gpu-on-bus",),
    "kernel-module": ("gpu-on-bus", "nouveau", "vfio"),
    "driver-library": ("wsl", "gpu-on-bus", "nouveau", "vfio", "kernel-module"),
    "driver-mismatch": ("kernel-module", "driver-library"),
    "device-nodes": ("kernel-module", "driver-library"),
    "permission": ("kernel-module", "driver-library", "driver-mismatch", "device-nodes"),
    "uvm": ("kernel-module", "driver-library", "device-nodes"),
    "nvml": ("kernel-module", "driver-library", "driver-mismatch", "device-nodes", "permission"),
    "driver-for-wheel": (*_STARTS, "cuda-version"),
    "kernel-image": (*_STARTS, "uvm", "visible-devices", "driver-for-wheel"),
    "proof": (
        *_STARTS,
        "uvm",
        "gpu-lost",
        "visible-devices",
        "capability",
        "mig",
        "compute-mode",
        "cuda-version",
        "driver-for-wheel",
        "kernel-image",
    ),
} | dict.fromkeys(
    (
        *("gpu-lost", "visible-devices", "capability", "mig", "compute-mode", "gpu-busy", "display"),
        *("ecc", "thermal", "power", "persistence", "cuda-version"),
    ),
    _STARTS,
)
