"""The Python packages that have to do with GPUs, and for which CUDA each was built.

Owns the reading of package metadata and of the files where a framework writes its build; never imports a framework: that would cost
seconds and might create a CUDA context in this process.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import msgspec

_NAMES = re.compile(
    r"(torch|tensorflow(-cpu|-gpu|-intel)?|onnxruntime(-gpu)?|jax|jaxlib|jax-cuda\d+-(plugin|pjrt)|cupy(-cuda\d+x)?"
    r"|tensorrt(-cu\d+)?|nvidia-.+-cu\d+|nvidia-(cudnn|cublas|cuda-runtime))$"
)
# Where each framework says for which CUDA it was built. The first group is the version; a file without it is a build for the CPU.
_BUILDS = {
    "torch": ("torch/version.py", re.compile(r"^cuda\s*(?::[^=]+)?=\s*['\"]([\d.]+)['\"]", re.MULTILINE)),
    "tensorflow": ("tensorflow/python/platform/build_info.py", re.compile(r"cuda_version['\"]\s*[,:]\s*['\"]([\d.]+)")),
    "onnxruntime-gpu": (
        "onnxruntime/capi/build_and_package_info.py",
        re.compile(r"^cuda_version\s*=\s*['\"]([\d.]+)", re.MULTILINE),
    ),
}
_CPU_ONLY = ("tensorflow-cpu", "tensorflow-intel", "onnxruntime")
_IN_NAME = re.compile(r"cuda(\d+)")


class Packages(msgspec.Struct, frozen=True, kw_only=True):
    """Packages of this Python.

    Attributes:
        versions: name → version of everything that has to do with GPUs.
        builds: framework's package → CUDA version that it was built for, "12.8"; "" for a build without CUDA. A package whose
            build nobody can tell without importing it is missing here.
    """

    versions: dict[str, str] = {}
    builds: dict[str, str] = {}


def read_packages(distributions: Iterable[metadata.Distribution] | None = None) -> Packages:
    """Read which packages are installed.

    Args:
        distributions: where to look; the installed ones where None.
    """
    versions: dict[str, str] = {}
    builds: dict[str, str] = {}
    for one in metadata.distributions() if distributions is None else distributions:
        name = re.sub(r"[-_.]+", "-", one.metadata["Name"] or "").lower()
        if not _NAMES.match(name) or name in versions:  # the first one on the path is the one that is imported
            continue
        versions[name] = one.version
        build = _build(name, one)
        if build is not None:
            builds[name] = build
    return Packages(versions=dict(sorted(versions.items())), builds=dict(sorted(builds.items())))


def _build(name: str, one: metadata.Distribution) -> str | None:
    if name in _CPU_ONLY:
        return ""
    if name in _BUILDS:
        file, pattern = _BUILDS[name]
        try:
            text = Path(str(one.locate_file(file))).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        found = pattern.search(text)
        return found[1] if found else ""
    in_name = _IN_NAME.search(name)
    return in_name[1] if in_name and name.startswith(("jax-", "cupy-")) else None
