"""What the computation in a child process proves. Owns the verdicts on it; the child is `proof`'s."""

from __future__ import annotations

import re

from tiffin.gpu.doctor.facts import Facts
from tiffin.gpu.doctor.finding import Finding
from tiffin.gpu.doctor.fixes import anywhere
from tiffin.gpu.doctor.verdict import fine, skip

_ARCHITECTURE = re.compile(r"(sm|compute)_(\d+)(\d)[a-z]?$")


def kernel_image(facts: Facts) -> Finding:
    """Looks whether the installed framework has code for the generation of each GPU."""
    names = facts.proof.architectures if facts.proof else ()
    boards = [one for one in facts.nvml.boards if not one.problem and one.capability > (0, 0)]
    if not names or not boards or facts.proof is None:
        return skip("kernel-image", "no framework said which GPUs it has code for")
    without = [one for one in boards if not _runs(names, one.capability)]
    seen = (f"{facts.proof.engine}: {' '.join(names)}",)
    if not without:
        return fine("kernel-image", "the framework has code for every GPU", *seen)
    wants = ", ".join(f"GPU {one.index} ({one.name}, sm_{one.capability[0]}{one.capability[1]})" for one in without)
    newer = any(one.capability > max(_generation(name) for name in names) for one in without)
    return Finding(
        check="kernel-image",
        level="error",
        title=f"{facts.proof.engine} has no code for {wants}",
        evidence=(*seen, *(f"NVML, GPU {one.index}: {one.capability[0]}.{one.capability[1]}" for one in without)),
        cause="the first kernel fails: no kernel image is available for execution on the device; the GPU is "
        + ("newer than the package" if newer else "older than what the package still supports"),
        fixes=anywhere(
            "pip install --upgrade torch  # a newer build"
            if newer
            else "# take an older build: pytorch.org/get-started/previous-versions lists the commands by CUDA version",
        ),
    )


def proof(facts: Facts) -> Finding:
    """Computes on every visible device in a child process: 16 MiB there, a product, back, compared with the CPU's."""
    found = facts.proof
    if found is None:
        return skip("proof", "nothing was computed")
    bad = [one for one in found.devices if one.error]
    seen = [
        f"{one.name}: {one.error}" if one.error else f"{one.name}: right, {one.time_ms:.1f} ms" for one in found.devices
    ]
    if found.end == "done" and not found.error and not bad and found.devices:
        return fine(
            "proof",
            f"{found.engine} computed on {len(found.devices)} device{'s' if len(found.devices) > 1 else ''}",
            *seen,
        )
    ends = {"timeout": "did not end in time and was stopped", "crashed": "crashed", "done": "failed"}
    return Finding(
        check="proof",
        level="error",
        title=f"the test computation {ends[found.end]}" + (f" ({found.engine})" if found.engine else ""),
        evidence=(*seen, *([found.error] if found.error else []), *(f"child: {line}" for line in found.last_lines)),
        cause="whatever else looks well here, a service would fail in the same way on this GPU",
        fixes=anywhere(
            "CUDA_LAUNCH_BLOCKING=1 python -m tiffin.gpu.doctor.computation  # says which operation it was",
            "sudo dmesg | grep -iE 'xid|nvrm'",
        ),
    )


def _runs(names: tuple[str, ...], capability: tuple[int, int]) -> bool:
    """Tell whether there is code for a GPU: of its own major generation and not newer, or as PTX that can still be compiled."""
    for name in names:
        found = _ARCHITECTURE.match(name)
        if found is None:
            continue
        one = _generation(name)
        if one <= capability and (found[1] == "compute" or one[0] == capability[0]):
            return True
    return False


def _generation(name: str) -> tuple[int, int]:
    found = _ARCHITECTURE.match(name)
    return (int(found[2]), int(found[3])) if found else (0, 0)
