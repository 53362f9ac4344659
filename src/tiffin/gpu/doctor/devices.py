"""The devices behind the driver: which a service may use, and what keeps it from using them.

Owns visibility, generation, MIG, compute mode and occupation; never looks at a board's health.
"""

from __future__ import annotations

from tiffin.gpu.doctor.facts import Facts
from tiffin.gpu.doctor.finding import Finding, Fix
from tiffin.gpu.doctor.fixes import anywhere, recreate_container
from tiffin.gpu.doctor.nvml import Board
from tiffin.gpu.doctor.verdict import fine, skip

_MIB = 1 << 20
_LEAST_FREE = 0.1
_LEAST_CAPABILITY = (3, 0)
_LOST = 15


def visible_devices(facts: Facts) -> Finding:
    """Looks which GPUs the environment (CUDA_VISIBLE_DEVICES, NVIDIA_VISIBLE_DEVICES) leaves to a service."""
    boards = [one for one in _boards(facts) if not (one.mig and not one.slices)]
    seen = tuple(
        f"environment: {name}={facts.host.environ[name]!r}"
        for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
        if name in facts.host.environ
    )
    if not facts.nvml.boards:
        return Finding(
            check="visible-devices",
            level="error",
            title="the driver works, but shows no GPU",
            evidence=(*seen, "NVML: 0 devices"),
            cause="the container was given no GPU, or the driver refused every board: services run on the CPU",
            fixes=recreate_container()
            if facts.system.container
            else anywhere("sudo dmesg | grep -iE 'nvrm|nvidia'", "lspci -nnk -d 10de:"),
        )
    if not boards:
        return skip("visible-devices", "no GPU can run anything as it is", *seen)
    there = tuple(f"NVML: GPU {one.index} {one.name} ({one.uuid})" for one in boards)
    if not facts.inventory.devices and "hides every GPU" in facts.inventory.reason:
        variable = facts.inventory.reason.split("=", 1)[0]
        return Finding(
            check="visible-devices",
            level="error",
            title=f"{variable} hides every GPU",
            evidence=(*seen, *there),
            cause="CUDA shows a process what the variable names, and nothing else: services started from here run on the CPU",
            fixes=anywhere(
                f"unset {variable}", f"export CUDA_VISIBLE_DEVICES={boards[0].uuid}  # or those that you want"
            ),
        )
    usable = {device.parent or device.uuid for device in facts.inventory.devices}
    hidden = [one for one in boards if one.uuid not in usable]
    if hidden and facts.inventory.devices:
        return Finding(
            check="visible-devices",
            level="note",
            title=f"{len(usable)} of {len(boards)} GPUs may be used here",
            evidence=(*seen, *there),
            cause="the environment hides GPU "
            + ", ".join(str(one.index) for one in hidden)
            + "; on purpose, most likely",
        )
    return fine("visible-devices", f"{len(boards)} GPU{'s' if len(boards) != 1 else ''} may be used here", *there)


def gpu_lost(facts: Facts) -> Finding:
    """Looks for boards that the driver lists but cannot reach: fallen off the bus, or failed."""
    broken = [one for one in facts.nvml.boards if one.problem]
    if not broken:
        return fine("gpu-lost", "every GPU answers")
    lost = any(one.code == _LOST for one in broken)
    return Finding(
        check="gpu-lost",
        level="error",
        title="GPU " + ", ".join(str(one.index) for one in broken) + " does not answer",
        evidence=tuple(f"NVML, GPU {one.index}: {one.problem} ({one.code})" for one in broken),
        cause="it has fallen off the PCI bus (power, heat, a loose riser, a bus error); workers on it are gone until it is back"
        if lost
        else "the driver cannot bring this board up; the others can be used",
        fixes=anywhere(
            "sudo dmesg | grep -i xid",
            *(f"sudo nvidia-smi --gpu-reset -i {one.index}" for one in broken),
            "sudo reboot",
        ),
    )


def capability(facts: Facts) -> Finding:
    """Looks whether each GPU has compute capability 3.0 or more."""
    boards = _boards(facts)
    old = [one for one in boards if (0, 0) < one.capability < _LEAST_CAPABILITY]
    seen = tuple(f"NVML, GPU {one.index} {one.name}: {one.capability[0]}.{one.capability[1]}" for one in boards)
    if not old:
        return fine("capability", "every GPU is new enough for CUDA", *seen)
    return Finding(
        check="capability",
        level="error" if len(old) == len(boards) else "warning",
        title="GPU " + ", ".join(str(one.index) for one in old) + " is older than compute capability 3.0",
        evidence=seen,
        cause="no CUDA of today has code for it: frameworks fail on it, or run on the CPU",
        fixes=anywhere(
            f"export CUDA_VISIBLE_DEVICES={','.join(one.uuid for one in boards if one not in old) or '-1'}  # leave it out",
            "# or: tiffin serve … --device cpu",
        ),
    )


def mig(facts: Facts) -> Finding:
    """Looks for boards in MIG mode without instances: they cannot run anything."""
    boards = _boards(facts)
    if not any(one.mig for one in boards):
        return skip("mig", "no GPU is in MIG mode")
    empty = [one for one in boards if one.mig and not one.slices]
    seen = tuple(f"NVML, GPU {one.index}: MIG on, {len(one.slices)} instances" for one in boards if one.mig)
    if not empty:
        return fine("mig", "every GPU in MIG mode has instances", *seen)
    make: list[str] = []
    for one in empty:
        make += [
            f"nvidia-smi mig -i {one.index} -lgip  # the sizes it can be cut into",
            f"sudo nvidia-smi mig -i {one.index} -cgi 19 -C  # one of the smallest, on A100 and H100",
        ]
    off = tuple(f"sudo nvidia-smi -i {one.index} -mig 0  # nothing may run on it" for one in empty)
    return Finding(
        check="mig",
        level="error" if len(empty) == len(boards) else "warning",
        title="GPU " + ", ".join(str(one.index) for one in empty) + " is in MIG mode but has no instances",
        evidence=seen,
        cause="work runs on instances only, and instances are gone after a reboot: the board cannot be used as it is",
        fixes=(Fix("to cut it into instances", tuple(make)), Fix("to use it whole", off)),
    )


def mig_visible(facts: Facts) -> Finding:
    """Looks for several MIG instances in CUDA_VISIBLE_DEVICES: a process can use one."""
    value = facts.host.environ.get("CUDA_VISIBLE_DEVICES", "")
    entries = [part.strip() for part in value.split(",") if part.strip().startswith("MIG-")]
    if len(entries) < 2:
        return skip("mig-visible", "CUDA_VISIBLE_DEVICES does not name several MIG instances")
    return Finding(
        check="mig-visible",
        level="note",
        title=f"CUDA_VISIBLE_DEVICES names {len(entries)} MIG instances",
        evidence=(f"environment: CUDA_VISIBLE_DEVICES={value!r}",),
        cause="CUDA gives a process the first one only; Tiffin gives each worker one of its own, other programs waste the rest",
        fixes=anywhere('# one worker per instance: @service(workers="per_gpu")'),
    )


def compute_mode(facts: Facts) -> Finding:
    """Looks for boards in exclusive or prohibited compute mode."""
    boards = [one for one in _boards(facts) if one.compute_mode != "default"]
    if not boards:
        return fine("compute-mode", "every GPU can be shared by processes")
    shut = [one for one in boards if one.compute_mode == "prohibited"]
    return Finding(
        check="compute-mode",
        level="error" if shut else "warning",
        title=", ".join(f"GPU {one.index} is in {one.compute_mode} mode" for one in boards),
        evidence=tuple(f"NVML, GPU {one.index}: compute mode {one.compute_mode}" for one in boards),
        cause="prohibited: no process gets a context there at all"
        if shut
        else "exclusive: one process at a time; the second worker, or this one while another program is there, fails to start",
        fixes=(
            *anywhere(*(f"sudo nvidia-smi -i {one.index} -c DEFAULT" for one in boards)),
            Fix("to share an exclusive GPU", ("nvidia-cuda-mps-control -d  # MPS, by the same user as the workers",)),
        ),
    )


def gpu_busy(facts: Facts) -> Finding:
    """Looks who else computes on the GPUs, and whether memory is left."""
    boards = _boards(facts)
    full = [one for one in boards if one.memory_total and one.memory_free < one.memory_total * _LEAST_FREE]
    guests = [(board, one) for board in boards for one in board.occupants if not one.draws]
    if not full and not guests:
        return fine("gpu-busy", "nobody else computes on the GPUs")
    seen = [
        f"NVML, GPU {one.index}: {one.memory_free // _MIB} of {one.memory_total // _MIB} MiB free" for one in boards
    ]
    seen += [
        f"NVML, GPU {board.index}: {one.name or 'a process of the host'} (pid {one.pid})"
        + ("" if one.memory is None else f" holds {one.memory // _MIB} MiB")
        for board, one in guests
    ]
    pids = ",".join(str(one.pid) for _board, one in guests)
    look = (f"ps -o pid,user,etime,args -p {pids}  # who it is",) if pids else ()
    stop = (
        (f"kill {pids.replace(',', ' ')}  # if it is yours and not wanted",)
        if pids
        else ("sudo fuser -v /dev/nvidia*",)
    )
    return Finding(
        check="gpu-busy",
        level="warning" if full else "note",
        title="GPU " + ", ".join(str(one.index) for one in full) + " has less than 10 % of its memory free"
        if full
        else "others compute on GPU " + ", ".join(sorted({str(board.index) for board, _one in guests})),
        evidence=tuple(seen),
        cause="a model may not fit beside them; Tiffin places workers by free memory and refuses to start where it is too little",
        fixes=anywhere(*look, *stop, '# or ask for less: @service(resources={"gpu_memory": "8GiB"})') if full else (),
    )


def _boards(facts: Facts) -> list[Board]:
    return [one for one in facts.nvml.boards if not one.problem]
