"""The Python packages against the driver and against each other.

Owns NVIDIA's table of CUDA and drivers; never imports a framework.
"""

from __future__ import annotations

from tiffin.gpu.doctor.facts import Facts
from tiffin.gpu.doctor.finding import Finding, Fix
from tiffin.gpu.doctor.fixes import anywhere, install_driver
from tiffin.gpu.doctor.floors import numbers
from tiffin.gpu.doctor.verdict import fine, skip

_TABLE = "NVIDIA's CUDA compatibility table, docs.nvidia.com/deploy/cuda-compatibility"
_LEAST_DRIVER = {13: 580, 12: 525, 11: 450}
_LEAST_CUDA = (11, 3)
_ORT_CUDNN_9 = (1, 19)
_GPU_BUILDS = {
    "torch": "pip uninstall -y torch && pip install --no-cache-dir torch  # on Linux x86_64 this is a CUDA build",
    "tensorflow": "pip install 'tensorflow[and-cuda]'",
    "tensorflow-cpu": "pip uninstall -y tensorflow-cpu && pip install 'tensorflow[and-cuda]'",
    "onnxruntime": "pip uninstall -y onnxruntime && pip install onnxruntime-gpu",
}


def cuda_version(facts: Facts) -> Finding:
    """Looks whether the driver can run a CUDA newer than 11.3."""
    cuda = facts.nvml.cuda
    seen = f"NVML: driver {facts.nvml.driver}, CUDA up to {cuda}"
    if not cuda or numbers(cuda)[:2] > _LEAST_CUDA:
        return fine(
            "cuda-version",
            f"the driver runs CUDA up to {cuda}" if cuda else "the driver's CUDA version is not known",
            seen,
        )
    return Finding(
        check="cuda-version",
        level="error",
        title=f"driver {facts.nvml.driver} runs CUDA up to {cuda} only; more than 11.3 is needed",
        evidence=(seen,),
        cause="no framework of today has a build for it: CUDA fails to start with error 35, and services run on the CPU",
        fixes=install_driver(facts.system),
    )


def driver_for_wheel(facts: Facts) -> Finding:
    """Looks whether the driver is new enough for the CUDA that each installed framework was built for."""
    driver = numbers(facts.nvml.driver)
    built = {name: cuda for name, cuda in facts.packages.builds.items() if cuda}
    if not built or not driver:
        return skip(
            "driver-for-wheel",
            "no framework with CUDA is installed" if not built else "the driver's version is not known",
        )
    needed = {name: _LEAST_DRIVER.get(numbers(cuda)[0], 0) for name, cuda in built.items()}
    bad = [name for name, least in needed.items() if driver[0] < least]
    words = [f"{name} {facts.packages.versions.get(name, '')} is built for CUDA {built[name]}" for name in built]
    if not bad:
        return fine("driver-for-wheel", f"driver {facts.nvml.driver} is new enough for every framework", *words)
    highest = max(needed[name] for name in bad)
    fits = max((cuda for cuda, least in _LEAST_DRIVER.items() if driver[0] >= least), default=0)
    compat = numbers(built[bad[0]])
    older = (
        f"# take a build for CUDA {fits} of {', '.join(bad)}: pytorch.org/get-started/previous-versions lists PyTorch's"
    )
    package = "cuda-compat-" + "-".join(str(part) for part in (*compat, 0)[:2])
    return Finding(
        check="driver-for-wheel",
        level="error",
        title=f"driver {facts.nvml.driver} is too old for {', '.join(bad)}: {highest} or newer is needed",
        evidence=(
            f"NVML: driver {facts.nvml.driver}, CUDA up to {facts.nvml.cuda}",
            *words,
            f"{_TABLE}: " + ", ".join(f"CUDA {cuda} ≥ {least}" for cuda, least in _LEAST_DRIVER.items()),
        ),
        cause="CUDA fails to start with error 35, driver version is insufficient: the framework raises, or runs on the CPU",
        fixes=(
            *install_driver(facts.system),
            Fix("without touching the driver", (older,) if fits else ("# no build fits so old a driver",)),
            Fix(
                "data-centre GPUs only, NVIDIA's CUDA repository",
                (f"sudo apt install {package}  # or: sudo dnf install {package}",),
            ),
        ),
    )


def cpu_wheel(facts: Facts) -> Finding:
    """Looks for frameworks that were built without CUDA, on a machine with a GPU."""
    builds = facts.packages.builds
    plain = [
        name
        for name, cuda in builds.items()
        if not cuda and not (name == "onnxruntime" and "onnxruntime-gpu" in builds)
    ]
    if not builds:
        return skip("cpu-wheel", "no framework is installed in this Python")
    if not plain:
        return fine(
            "cpu-wheel",
            "every framework here has CUDA",
            *(f"{name}: CUDA {cuda}" for name, cuda in builds.items() if cuda),
        )
    return Finding(
        check="cpu-wheel",
        level="warning",
        title=f"{', '.join(plain)} {'is' if len(plain) == 1 else 'are'} built without CUDA, and there is a GPU",
        evidence=tuple(f"package metadata: {name} {facts.packages.versions.get(name, '')}, no CUDA" for name in plain),
        cause="models of this framework run on the CPU, whatever device a worker was given",
        fixes=anywhere(
            *(_GPU_BUILDS.get(name, f"pip uninstall -y {name}  # and install its GPU build") for name in plain)
        ),
    )


def onnxruntime_both(facts: Facts) -> Finding:
    """Looks for onnxruntime beside onnxruntime-gpu: both own the same folder."""
    versions = facts.packages.versions
    if "onnxruntime-gpu" not in versions:
        return skip("onnxruntime-both", "onnxruntime-gpu is not installed")
    if "onnxruntime" not in versions:
        return fine("onnxruntime-both", f"onnxruntime-gpu {versions['onnxruntime-gpu']} is alone")
    return Finding(
        check="onnxruntime-both",
        level="error",
        title="onnxruntime and onnxruntime-gpu are both installed",
        evidence=tuple(f"package metadata: {name} {versions[name]}" for name in ("onnxruntime", "onnxruntime-gpu")),
        cause="they write to one folder, the last one wins: CUDAExecutionProvider may be missing, and models run on the CPU",
        fixes=anywhere("pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"),
    )


def cudnn_mix(facts: Facts) -> Finding:
    """Looks for cuDNN libraries that do not fit the frameworks: two of them, another CUDA's, another major version."""
    versions, builds = facts.packages.versions, facts.packages.builds
    found = {name: version for name, version in versions.items() if name.startswith("nvidia-cudnn")}
    if not found:
        return skip("cudnn-mix", "no cuDNN package is installed; frameworks bring their own or take the system's")
    seen = tuple(f"package metadata: {name} {version}" for name, version in (found | _of(versions, builds)).items())
    faults: list[str] = []
    if len(found) > 1:
        faults.append(f"{' and '.join(found)} are both installed; a process loads whichever comes first")
    major = (numbers(builds.get("torch", "")) or (0,))[0]
    if major and f"nvidia-cudnn-cu{major}" not in found and all("-cu" in name for name in found):
        faults.append(f"torch is built for CUDA {major}, cuDNN is not")
    runtime = numbers(versions.get("onnxruntime-gpu", ""))
    wanted = 9 if runtime[:2] >= _ORT_CUDNN_9 else 8
    for name, version in found.items():
        if runtime and numbers(version)[0] != wanted:
            faults.append(f"onnxruntime-gpu {versions['onnxruntime-gpu']} needs cuDNN {wanted}, {name} is {version}")
    if not faults:
        return fine("cudnn-mix", "one cuDNN, and it fits", *seen)
    keep = f"nvidia-cudnn-cu{major}" if major else max(found)
    drop = [name for name in found if name != keep]
    align = [f"pip uninstall -y {' '.join(drop)}"] if drop else []
    align.append(
        f"pip install --force-reinstall --no-deps '{keep}{'>=9,<10' if not runtime or wanted == 9 else '>=8,<9'}'"
    )
    return Finding(
        check="cudnn-mix",
        level="warning",
        title="cuDNN does not fit: " + "; ".join(faults),
        evidence=seen,
        cause="an import fails with an undefined symbol, or ONNX Runtime silently leaves CUDA and computes on the CPU",
        fixes=anywhere(*align, "# in the service: import torch before onnxruntime, which then finds torch's cuDNN"),
    )


def _of(versions: dict[str, str], builds: dict[str, str]) -> dict[str, str]:
    return {name: versions.get(name, "") + f" (CUDA {cuda})" for name, cuda in builds.items() if cuda}
