"""One examination: every check in its order, root causes first.

Owns what is skipped and the wall around each check; the verdicts are the checks' own.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence

import msgspec

from tiffin.gpu.doctor.check import Check, name_of
from tiffin.gpu.doctor.facts import Facts
from tiffin.gpu.doctor.finding import Finding
from tiffin.gpu.doctor.fixes import anywhere
from tiffin.gpu.doctor.hardware import gpu_on_bus
from tiffin.gpu.doctor.proof import Proof
from tiffin.gpu.doctor.register import NEEDS, PROOF, ROOMS
from tiffin.gpu.doctor.verdict import skip

Rooms = Sequence[tuple[str, Sequence[Check]]]


def examine(
    facts: Facts,
    *,
    prove: Callable[[], Proof],
    rooms: Rooms = ROOMS,
    needs: Mapping[str, Sequence[str]] = NEEDS,
    says: Callable[[str], None] | None = None,
) -> tuple[Finding, ...]:
    """Run all checks.

    Args:
        facts: the machine. prove: computes in a child; called once, and only where nothing before stands against it.
        rooms: checks in their order. needs: a check → those whose error makes its answer worthless.
        says: is told the name of each check before it runs.

    Returns:
        one finding per check; the one of `gpu_on_bus` alone on a machine without a GPU.
    """
    if not facts.has_gpu:
        return (gpu_on_bus(facts),)
    found: dict[str, Finding] = {}
    roots: dict[str, str] = {}  # a check that failed or was skipped for it → the check at the root
    for _room, checks in rooms:
        for check in checks:
            _one(check, facts, found, roots, needs, says)
    last = name_of(PROOF[1][-1])
    if not _root(last, roots, needs):
        if says is not None:
            says(last)
        facts = msgspec.structs.replace(facts, proof=prove())
    for check in PROOF[1]:
        _one(check, facts, found, roots, needs, says)
    return tuple(found.values())


def _one(
    check: Check,
    facts: Facts,
    found: dict[str, Finding],
    roots: dict[str, str],
    needs: Mapping[str, Sequence[str]],
    says: Callable[[str], None] | None,
) -> None:
    name = name_of(check)
    root = _root(name, roots, needs)
    if root:
        roots[name] = root
        found[name] = skip(name, f"not looked at because of {root}")
        return
    if says is not None:
        says(name)
    try:
        found[name] = check(facts)
    except Exception as error:  # the wall around one check: it must not take the others with it
        found[name] = _failed(name, error)
    if found[name].level == "error":
        roots[name] = name


def _root(name: str, roots: Mapping[str, str], needs: Mapping[str, Sequence[str]]) -> str:
    return next((roots[one] for one in needs.get(name, ()) if one in roots), "")


def _failed(name: str, error: Exception) -> Finding:
    where = traceback.extract_tb(error.__traceback__)[-1]
    return Finding(
        check=name,
        level="warning",
        title=f"check failed: {name}",
        evidence=(
            f"{type(error).__name__}: {error}",
            f"{where.name}, line {where.lineno} of {where.filename.rpartition('/')[2]}",
        ),
        cause="a fault of the doctor, not of this machine; the other checks are not touched by it",
        fixes=anywhere("tiffin doctor --json > doctor.json  # and report it with this file"),
    )
