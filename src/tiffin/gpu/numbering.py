"""BentoML's numbering of GPUs, as a policy for services that were written for it.

Owns the rules as BentoML 1.4 applies them (its allocator: `_bentoml_impl/server/allocator.py`); pure. They differ from `plan`: GPUs
are counted per service and seen by all of its workers, numbers are invented where there are too few GPUs, and no memory is looked
at. Numbers, not uuids: what such a service reads in CUDA_VISIBLE_DEVICES.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tiffin.errors import SpecError

OFF_VARIABLE = "BENTOML_DISABLE_GPU_ALLOCATION"
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_ON = frozenset({"1", "true", "yes", "on"})


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a service says. gpu: its `resources={"gpu": …}`, None for nothing. workers: a number or "cpu_count"."""

    name: str
    gpu: int | float | str | None = None
    workers: int | str = 1


class Numbered(msgspec.Struct, frozen=True, kw_only=True):
    """What a service gets.

    Attributes:
        env: of each of its workers; one that stands for all where `workers` is "cpu_count" (nothing is set then).
        invented: numbers of GPUs that do not exist; its code finds no CUDA device there.
    """

    name: str
    env: tuple[dict[str, str], ...]
    invented: tuple[int, ...] = ()


class _Numbers:
    """Which GPUs have been given: whole ones never twice, parts of one size onto the same one while there is room."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._next = 0
        self._parts: dict[float, list[tuple[int, float]]] = {}  # size → GPU and what is left of it

    def whole(self, number: int) -> list[int]:
        """Return the first so many that were never given; beyond the last one, invented numbers."""
        given = list(range(self._next, self._next + number))
        self._next += number
        return given

    def part(self, size: float) -> int:
        """Return a GPU with room for a part of this size."""
        open_ones = self._parts.setdefault(size, [])
        for at, (gpu, left) in enumerate(open_ones):
            # One with less left than another such part is closed: 0.3 fits three times.
            if left - size + 1e-9 < size:
                del open_ones[at]
            else:
                open_ones[at] = (gpu, left - size)
            return gpu
        gpu = self.whole(1)[0]
        if 1 - size + 1e-9 >= size:
            open_ones.append((gpu, 1 - size))
        return gpu


def number_gpus(services: Sequence[Asked], gpus: int, environ: Mapping[str, str]) -> list[Numbered]:
    """Give GPUs to services by BentoML's rules.

    Args:
        services: the entry service first, then its dependencies in the order of their declaration. gpus: how many there are.
        environ: of the server; allocation is off where it holds CUDA_VISIBLE_DEVICES (even an empty one) or
            BENTOML_DISABLE_GPU_ALLOCATION.

    Returns:
        one for each service, in their order.

    Raises:
        SpecError: a number of GPUs above 1 that is not whole, or none at all.
    """
    off = _VISIBLE in environ or environ.get(OFF_VARIABLE, "").lower() in _ON
    numbers = _Numbers(gpus)
    found: list[Numbered] = []
    for one in services:
        count = _gpu(one)
        workers = one.workers if isinstance(one.workers, int) else 1
        if off or not count or one.workers == "cpu_count":
            nothing: dict[str, str] = {}
            found.append(Numbered(name=one.name, env=(nothing,) * workers))
            continue
        given = [numbers.part(count)] if count < 1 else numbers.whole(int(count))
        env = {_VISIBLE: ",".join(map(str, given))}
        invented = tuple(number for number in given if number >= gpus)
        found.append(Numbered(name=one.name, env=(env,) * workers, invented=invented))
    return found


def _gpu(one: Asked) -> float:
    try:
        count = float(one.gpu or 0)
    except ValueError:
        count = -1.0
    if not 0 <= count < 1e6 or (count > 1 and not count.is_integer()):
        raise SpecError(
            f"service {one.name}: resources gpu={one.gpu!r}",
            hint="give a whole number of GPUs, or a part of one between 0 and 1",
        )
    return count
