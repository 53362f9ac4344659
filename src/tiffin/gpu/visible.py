"""Which devices the environment lets a process use: CUDA_VISIBLE_DEVICES and NVIDIA_VISIBLE_DEVICES.

Owns the meaning of the two lists; pure. Numbers are those of nvidia-smi, the order of the bus (CUDA_DEVICE_ORDER=PCI_BUS_ID).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

CUDA, RUNTIME = "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"


class Named(Protocol):
    """As much of a device as the lists name; see `inventory.Device`."""

    @property
    def uuid(self) -> str:
        """Of the board, or of the slice."""
        ...

    @property
    def index(self) -> int:
        """Number of the board."""
        ...

    @property
    def name(self) -> str:
        """Model of the board."""
        ...

    @property
    def parent(self) -> str:
        """The uuid of a slice's board, "" for a board."""
        ...

    @property
    def instance(self) -> str:
        """A slice's instances, "GPU instance/compute instance"; "" for a board."""
        ...


D = TypeVar("D", bound=Named)


class Choice(msgspec.Struct, Generic[D], frozen=True):
    """The devices that are left, why none is, and what in the lists means something else than it may seem to."""

    devices: tuple[D, ...]
    reason: str = ""
    problems: tuple[str, ...] = ()


def choose(devices: Sequence[D], environ: Mapping[str, str]) -> Choice[D]:
    """Return what the environment leaves of the devices, in the order of CUDA_VISIBLE_DEVICES."""
    left, problems = _runtime_choice(devices, environ.get(RUNTIME, ""))
    if not left:
        return Choice((), _hides_all(devices, RUNTIME, environ[RUNTIME]), problems)
    value = environ.get(CUDA)
    if value is None:
        return Choice(left, "", problems)
    chosen, more = _cuda_choice(left, value)
    if not chosen:  # the reason says it all
        return Choice((), _hides_all(left, CUDA, value), problems)
    if (
        len({one.name for one in devices}) > 1
        and environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID"
        and value[:1].isdigit()
    ):
        # CUDA's own default is the fastest first; whoever counted so has another board in mind.
        more += (f"{CUDA}={value!r} is read in the order of nvidia-smi (CUDA_DEVICE_ORDER=PCI_BUS_ID)",)
    return Choice(chosen, "", problems + more)


def matches(device: Named, entry: str) -> bool:
    """Tell whether an entry of a device list, a board number or (the beginning of) a uuid, names this device."""
    if _is_number(entry):
        return not device.parent and device.index == int(entry)
    if entry.startswith("MIG-GPU-") and device.instance:  # the older name of a slice: its board and its instances
        board, _, instance = entry.removeprefix("MIG-").partition("/")
        return (device.parent == board and device.instance == instance) or device.uuid == entry
    if not entry.startswith(("GPU-", "MIG-")):
        return False
    # A board's uuid also stands for its slices: CUDA takes the first one then, and so does whoever asks by board.
    return device.uuid.startswith(entry) or bool(device.parent and device.parent.startswith(entry))


def _is_number(entry: str) -> bool:
    return entry.isascii() and entry.isdigit()


def _cuda_choice(devices: Sequence[D], value: str) -> tuple[tuple[D, ...], tuple[str, ...]]:
    """Choose as CUDA does: in the order of the list, which ends at the first entry that names nothing."""
    chosen: list[D] = []
    problems: list[str] = []
    entries = [part.strip() for part in value.split(",")]
    if entries[-1] == "":  # a comma too many at the end
        entries.pop()
    for at, entry in enumerate(entries):
        hits = [device for device in devices if matches(device, entry)]
        if len({hit.parent or hit.uuid for hit in hits}) > 1:
            problems.append(f"{CUDA}={value!r}: {entry!r} is the beginning of more than one uuid; {_choices(devices)}")
            break
        if not hits:
            rest = [one for one in entries[at + 1 :] if any(matches(device, one) for device in devices)]
            if entry != "-1" or rest:
                problems.append(_ends(devices, value, entry))
            break
        fresh = [hit for hit in hits if hit not in chosen]
        if not fresh:  # CUDA itself would show none at all
            problems.append(f"{CUDA}={value!r} names {entry!r} twice: it is used once")
        chosen += fresh
    return tuple(chosen), tuple(problems)


def _ends(devices: Sequence[Named], value: str, entry: str) -> str:
    """Say why the list ends at an entry, as CUDA reads it."""
    if any(device.parent and _is_number(entry) and device.index == int(entry) for device in devices):
        why = f"GPU {entry} is in MIG mode, so its slices must be named"
    elif entry == "-1":
        why = "-1 ends the list"
    else:
        why = f"{entry!r} names nothing and ends the list"
    return f"{CUDA}={value!r}: {why}; {_choices(devices)}"


def _runtime_choice(devices: Sequence[D], value: str) -> tuple[tuple[D, ...], tuple[str, ...]]:
    """Choose as the container runtime would have, where it has not done so already."""
    # A CDI name says the same behind its "=": nvidia.com/gpu=0.
    entries = [part.strip().rpartition("=")[2] for part in value.split(",") if part.strip()]
    # "void" and an empty value mean that the runtime added nothing: the devices came another way (CDI, --device). A path is the
    # folder in which Kubernetes' plugin has named them to the runtime.
    if not entries or entries[0] in ("all", "void") or entries[0].startswith("/"):
        return tuple(devices), ()
    if entries[0] == "none":
        return (), ()
    # The numbers are the host's. Inside a container that shows only those boards, they are numbered from 0 again.
    if all(_is_number(entry.replace(":", "")) for entry in entries) and _units(devices, entries) <= len(set(entries)):
        return tuple(devices), ()
    named = {entry: [device for device in devices if _runtime_matches(devices, device, entry)] for entry in entries}
    unknown = ", ".join(repr(entry) for entry, hits in named.items() if not hits)
    problems = (f"{RUNTIME}={value!r}: there is no {unknown}; {_choices(devices)}",) if unknown else ()
    chosen = [device for device in devices if any(device in hits for hits in named.values())]
    return tuple(chosen), problems


def _units(devices: Sequence[Named], entries: Sequence[str]) -> int:
    """Return how many things there are of the kind that the list counts: slices ("0:1") or boards."""
    return len(devices) if ":" in entries[0] else len({device.index for device in devices})


def _runtime_matches(devices: Sequence[D], device: D, entry: str) -> bool:
    board, colon, number = entry.partition(":")
    if not colon:
        return matches(device, entry) or bool(device.parent and entry == str(device.index))
    slices = [one for one in devices if one.parent and str(one.index) == board]
    return _is_number(number) and int(number) < len(slices) and slices[int(number)] is device


def _hides_all(devices: Sequence[Named], variable: str, value: str) -> str:
    entry = value.split(",", maxsplit=1)[0].strip()
    if variable == CUDA and any(device.parent and str(device.index) == entry for device in devices):
        return f"{variable}={value!r} names a GPU in MIG mode, whose slices must be named instead; {_choices(devices)}"
    return f"{variable}={value!r} hides every GPU of this machine; {_choices(devices)}"


def _choices(devices: Sequence[Named]) -> str:
    return "there are " + ", ".join(f"{device.index} ({device.uuid})" for device in devices)
