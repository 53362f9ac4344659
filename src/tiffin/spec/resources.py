"""What `resources={...}` and the entries of `workers=[{...}]` say, read and checked.

Owns the grammar of both; never knows a device of a machine. Memory in bytes.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec

from tiffin.errors import SpecError

KEYS = ("gpu", "gpu_memory", "gpu_type", "cpu", "memory", "fallback", "exclusive")
WORKER_KEYS = ("gpus",)
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?)B?\s*\Z", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}\Z")
_ID = re.compile(r"(GPU|MIG)-[A-Za-z0-9/-]+\Z")


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker needs.

    Attributes:
        gpus: whole GPUs; None: nothing was said of GPUs; 0: it wants none.
        share: part of one GPU's memory, between 0 and 1; 0.0: whole GPUs.
        gpu_memory: bytes of each GPU; 0: nothing was said. gpu_type: kind of GPU, such as "nvidia-l4", "" for any.
        exclusive: nobody else may be on its GPUs. fallback: the CPU will do where there are too few.
        cpu: cores, 0.0: nothing was said. memory: bytes of the machine's memory, 0: nothing was said.
    """

    gpus: int | None = None
    share: float = 0.0
    gpu_memory: int = 0
    gpu_type: str = ""
    exclusive: bool = False
    fallback: bool = False
    cpu: float = 0.0
    memory: int = 0


def read_resources(given: Mapping[str, Any], where: str) -> Resources:
    """Read the `resources` of a service.

    Args:
        given: as the user wrote it. where: what carries it, for the error: "service Digits".

    Raises:
        SpecError: a key that does not exist, or a value that cannot be; names field, value and choices.
    """
    _known(given, KEYS, f"{where}: resources")
    gpus, share = _gpu(given.get("gpu"), where)
    gpu_memory = _size(given, "gpu_memory", where)
    gpu_type = given.get("gpu_type", "")
    if not isinstance(gpu_type, str) or ("gpu_type" in given and not _TYPE.match(gpu_type)):
        raise SpecError(f"{where}: resources gpu_type={gpu_type!r} is no kind of GPU", hint='for example "nvidia-l4"')
    exclusive = given.get("exclusive", False)
    if not isinstance(exclusive, bool):
        raise SpecError(f"{where}: resources exclusive={exclusive!r}", hint="choose True or False")
    fallback = given.get("fallback")
    if fallback not in (None, "cpu"):
        raise SpecError(f"{where}: resources fallback={fallback!r}", hint='the only choice is "cpu"')
    cpu = given.get("cpu", 0.0)
    if "cpu" in given and not (_is_number(cpu) and 0 < cpu < math.inf):
        raise SpecError(f"{where}: resources cpu={cpu!r}", hint="give a number of cores above 0, for example 2 or 0.5")
    if gpus is None and (gpu_memory or gpu_type or exclusive):
        gpus = 1
    if share and gpu_memory:
        raise SpecError(
            f"{where}: resources gpu={share!r} and gpu_memory={given['gpu_memory']!r} both say how much of a GPU",
            hint="give one of them",
        )
    if share and exclusive:
        raise SpecError(
            f"{where}: resources gpu={share!r} is a share, and exclusive=True shares with nobody",
            hint='give one of them: {"gpu": 1, "exclusive": True} takes a whole GPU',
        )
    if gpus == 0 and (gpu_memory or gpu_type or exclusive):
        raise SpecError(f"{where}: resources gpu=0 asks for no GPU, and the rest of {dict(given)!r} for one")
    return Resources(
        gpus=gpus,
        share=share,
        gpu_memory=gpu_memory,
        gpu_type=gpu_type,
        exclusive=exclusive,
        fallback=fallback == "cpu",
        cpu=float(cpu),
        memory=_size(given, "memory", where),
    )


def read_workers(entries: Iterable[object], where: str) -> list[int | tuple[str, ...]]:
    """Read an explicit list of workers, such as ``[{"gpus": [0, 1]}, {"gpus": 1}]``.

    Args:
        entries: one dict per worker. where: what carries the list.

    Returns:
        for each worker the GPUs that it names (numbers and uuids as text), or how many it wants.

    Raises:
        SpecError: names the entry, the value and the choices.
    """
    found: list[int | tuple[str, ...]] = []
    for at, entry in enumerate(entries):
        place = f"{where}: workers[{at}]"
        if not isinstance(entry, Mapping):
            raise SpecError(f"{where}: workers={entries!r}: one dict per worker", hint='for example [{"gpus": [0, 1]}]')
        facts = cast("Mapping[str, Any]", entry)
        _known(facts, WORKER_KEYS, place)
        gpus: Any = facts.get("gpus", 0)
        if isinstance(gpus, list | tuple):
            found.append(_named(cast("list[Any]", gpus), place))
        elif isinstance(gpus, int) and not isinstance(gpus, bool) and gpus >= 0:
            found.append(gpus)
        else:
            raise SpecError(
                f"{place} gpus={gpus!r}",
                hint="give a number of GPUs, or a list of GPU numbers and uuids such as [0, 1]",
            )
    return found


def read_size(value: object) -> int | None:
    """Return the bytes of a number or of a text such as "8GiB", "500MB", "2Gi"; None for anything else and for 0."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value > 0 else None
    match = _SIZE.match(value) if isinstance(value, str) else None
    if match is None:
        return None
    return int(float(match[1]) * _UNITS[match[2].lower()]) or None


def _gpu(value: Any, where: str) -> tuple[int | None, float]:
    if value is None:
        return None, 0.0
    number: Any = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
    if _is_number(number) and number >= 0:
        if float(number).is_integer():
            return int(number), 0.0
        if number < 1:
            return 1, float(number)
    raise SpecError(
        f"{where}: resources gpu={value!r}",
        hint="give a whole number of GPUs for each worker (0, 1, 2, …), or a share of one between 0 and 1, such as 0.5",
    )


def _named(gpus: list[Any], place: str) -> tuple[str, ...]:
    names: list[str] = []
    for gpu in gpus:
        number = isinstance(gpu, int) and not isinstance(gpu, bool) and gpu >= 0
        text = isinstance(gpu, str) and (_ID.match(gpu) is not None or (gpu.isascii() and gpu.isdigit()))
        if not (number or text):
            raise SpecError(
                f"{place} gpus={gpus!r}: {gpu!r} names no GPU", hint="use GPU numbers, GPU-… or MIG-… uuids"
            )
        name = str(int(gpu)) if str(gpu).isdigit() else str(gpu)
        if name in names:
            raise SpecError(f"{place} gpus={gpus!r} names {gpu!r} twice", hint="name each GPU of a worker once")
        names.append(name)
    if not names:
        raise SpecError(f"{place} gpus=[] names no GPU", hint='{"gpus": 0} is a worker on the CPU')
    return tuple(names)


def _size(given: Mapping[str, Any], key: str, where: str) -> int:
    if key not in given:
        return 0
    size = read_size(given[key])
    if size is None:
        raise SpecError(
            f"{where}: resources {key}={given[key]!r} is no amount of memory",
            hint='for example "8GiB", "500MB" or bytes',
        )
    return size


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _known(given: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in given:
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(known)}"
            raise SpecError(f"{where}: unknown key {key!r}", hint=hint)
