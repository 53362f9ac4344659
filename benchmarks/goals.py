"""What Tiffin has set itself, judged on the medians of one run; a goal is left out when what it needs was not measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol


class Medians(Protocol):
    """The figures of one peer that goals look at."""

    @property
    def calls_per_s(self) -> float:
        """Median throughput."""
        ...

    @property
    def one_p50_ms(self) -> float:
        """Median p50 with one connection."""
        ...


@dataclass(frozen=True)
class Goal:
    """One goal and how it went."""

    what: str
    wanted: str
    found: str
    met: bool


def _at_least(what: str, value: float, limit: float, unit: str) -> Goal:
    return Goal(what, f"≥ {limit:g}{unit}", f"{value:.2f}{unit}", value >= limit)


def _at_most(what: str, value: float, limit: float, unit: str) -> Goal:
    return Goal(what, f"≤ {limit:g}{unit}", f"{value:.2f}{unit}", value <= limit)


def _throughput(medians: Mapping[str, Mapping[str, Medians]]) -> list[Goal]:
    goals: list[Goal] = []
    noop, mlp = medians.get("noop", {}), medians.get("mlp", {})
    if "tiffin" in noop:
        ours = noop["tiffin"].calls_per_s
        for peer, title, limit in (
            ("bare", "bare uvicorn", 0.55),
            ("fastapi", "FastAPI", 2.5),
            ("bentoml", "BentoML", 20),
        ):
            if peer in noop:
                goals.append(_at_least(f"noop, against {title}", ours / noop[peer].calls_per_s, limit, "x"))
    if "tiffin" in mlp:
        ours = mlp["tiffin"].calls_per_s
        others = {name: row.calls_per_s for name, row in mlp.items() if name != "tiffin"}
        if others:
            best = max(others, key=lambda name: others[name])
            goals.append(_at_least(f"mlp, against the best peer ({best})", ours / others[best], 4, "x"))
        if "bare" in noop:
            goals.append(_at_least("mlp, against bare uvicorn's noop", ours / noop["bare"].calls_per_s, 0.4, "x"))
        if "fastapi" in mlp:
            mine = mlp["tiffin"].one_p50_ms
            for peer, title in (("fastapi", "FastAPI"), ("fastapi-inline", "FastAPI on the loop")):
                if peer in mlp:
                    limit = mlp[peer].one_p50_ms
                    wanted = f"< {title}'s {limit:.2f} ms"
                    goals.append(Goal("mlp, one connection: p50", wanted, f"{mine:.2f} ms", mine < limit))
    return goals


_LIMITS: Sequence[tuple[str, str, str, float, str]] = (
    ("startup.with_cache_s", "first 200, with the describe cache", "most", 1.0, " s"),
    ("startup.without_cache_s", "first 200, without the describe cache", "most", 1.5, " s"),
    ("startup.import_ms", "`import tiffin`", "most", 60, " ms"),
    ("startup.heavy_imports", "heavy libraries loaded by `import tiffin`", "most", 0, ""),
    ("startup.help_ms", "`tiffin --help`", "most", 150, " ms"),
    ("startup.idle_pss_mb", "idle PSS of the whole tree", "most", 90, " MB"),
    ("async.calls_per_s", "async method awaiting 100 ms, 64 connections", "least", 500, " calls/s"),
    ("streams.async_ticks_p50_ratio", "batchable p50 beside 32 open streams", "most", 2, "x"),
    ("streams.ticks_p50_ratio", "batchable p50 beside 32 streams of plain generators", "most", 2, "x"),
    ("slow-reader.buffer_mb", "memory per client that never reads", "most", 1, " MB"),
    ("slow-reader.p50_ratio", "batchable p50 beside clients that never read", "most", 2, "x"),
)


def judge(medians: Mapping[str, Mapping[str, Medians]], findings: Iterable[Mapping[str, Any]]) -> list[Goal]:
    """Judge what was measured.

    Args:
        medians: per workload and peer.
        findings: of the checks.

    Returns:
        The goals that could be judged.
    """
    values: dict[str, list[float]] = {}
    for finding in findings:
        values.setdefault(finding["name"], []).append(finding["value"])
    found = {name: median(several) for name, several in values.items()}
    goals = _throughput(medians)
    for name, what, side, limit, unit in _LIMITS:
        if name in found:
            goals.append((_at_most if side == "most" else _at_least)(what, found[name], limit, unit))
    if "npy.bare_calls_per_s" in found and "npy.tiffin_calls_per_s" in found:
        ratio = found["npy.tiffin_calls_per_s"] / found["npy.bare_calls_per_s"]
        goals.append(_at_least("600 kB .npy, 16 connections, against bare uvicorn", ratio, 0.5, "x"))
    return goals
