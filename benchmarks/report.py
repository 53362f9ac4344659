"""Keeps the results of one run as JSON and turns them into tables of medians and ratios; never measures."""

from __future__ import annotations

import datetime
import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import catalog, chart, envs, goals, measure

_DOCS = envs.REPOSITORY / "docs"
_PACKAGES = ("tiffin", "uvicorn", "uvloop", "httptools", "fastapi", "litserve", "bentoml", "nvidia-pytriton", "torch")
_BEGIN, _END = "<!-- figures: written by benchmarks/run.py -->", "<!-- end of figures -->"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=envs.REPOSITORY, capture_output=True, text=True, check=False)
    return done.stdout.strip()


@dataclass
class Results:
    """Everything one run found; `samples` and `findings` are appended to as it goes."""

    command: str
    started: str
    commit: str
    changed: bool
    machine: dict[str, Any]
    versions: dict[str, dict[str, str]]
    failures: dict[str, str]
    samples: list[dict[str, Any]] = field(default_factory=list)
    findings: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def begin(cls, command: str, peers: Iterable[catalog.Peer], failures: dict[str, str]) -> Results:
        """Note what is known before the first measurement."""
        installed = {name: envs.versions(name) for name in dict.fromkeys(peer.environment for peer in peers)}
        return cls(
            command=command.strip(),
            started=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            commit=_git("rev-parse", "HEAD"),
            changed=bool(_git("status", "--porcelain", "--untracked-files=no")),
            machine=measure.machine(),
            versions={
                name: {package: found[package] for package in _PACKAGES if package in found}
                for name, found in installed.items()
            },
            failures=failures,
        )


def read(path: Path) -> Results:
    """Read results that `write` has written."""
    return Results(**json.loads(path.read_text()))


def write(results: Results) -> Path:
    """Write results to docs/results.

    Returns:
        The file, relative to the repository.
    """
    folder = _DOCS / "results"
    folder.mkdir(parents=True, exist_ok=True)
    stamp = results.started.replace(":", "").replace("-", "")
    path = folder / f"bench-{stamp}-{results.commit[:8] or 'none'}.json"
    path.write_text(json.dumps(asdict(results), indent=1) + "\n")
    return path.relative_to(envs.REPOSITORY)


@dataclass(frozen=True)
class Row:
    """Medians of one peer on one workload; worst values in brackets where they say more."""

    peer: str
    title: str
    calls_per_s: float
    worst_calls_per_s: float
    p50_ms: float
    p99_ms: float
    worst_p99_ms: float
    one_p50_ms: float
    cpu_us: float
    cold_start_s: float
    pss_bytes: float
    errors: int


def rows(results: Results, workload: str) -> list[Row]:
    """Take the medians over the rounds.

    Args:
        results: of a run.
        workload: noop, mlp or bert.

    Returns:
        One row per peer, in the order of the catalogue.
    """
    found: list[Row] = []
    for name, peer in catalog.PEERS.items():
        mine = [one for one in results.samples if one["workload"] == workload and one["peer"] == name]
        if not mine:
            continue
        most = max(one["connections"] for one in mine)
        many = [one for one in mine if one["connections"] == most]
        single = [one for one in mine if one["connections"] == 1] or many

        def middle(key: str, samples: Sequence[dict[str, Any]] = many) -> float:
            values: list[float] = [one[key] for one in samples]
            return median(values)

        found.append(
            Row(
                peer=name,
                title=peer.title,
                calls_per_s=middle("calls_per_s"),
                worst_calls_per_s=min(one["calls_per_s"] for one in many),
                p50_ms=middle("p50_ms"),
                p99_ms=middle("p99_ms"),
                worst_p99_ms=max(one["p99_ms"] for one in many),
                one_p50_ms=middle("p50_ms", single),
                cpu_us=middle("cpu_us_per_call"),
                cold_start_s=middle("cold_start_s"),
                pss_bytes=middle("pss_idle_bytes"),
                errors=sum(one["errors"] for one in mine),
            )
        )
    return found


_HEADINGS = (
    "", "calls/s (worst)", "Tiffin is", "p50 ms", "p99 ms (worst)", "one connection p50 ms", "CPU µs/call",
    "cold start s", "idle PSS MB", "errors",
)  # fmt: skip


def cells(found: Sequence[Row]) -> list[list[str]]:
    """Format rows; the third column is how many times faster Tiffin is."""
    ours = next((row.calls_per_s for row in found if row.peer == "tiffin"), None)
    digits = 1 if any(row.calls_per_s < 100 for row in found) else 0  # noqa: PLR2004 - only for the eye
    return [
        [
            row.title,
            f"{row.calls_per_s:,.{digits}f} ({row.worst_calls_per_s:,.{digits}f})",
            "" if ours is None or row.peer == "tiffin" else f"{ours / row.calls_per_s:.2f}x",
            f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.1f} ({row.worst_p99_ms:.1f})",
            f"{row.one_p50_ms:.2f}",
            f"{row.cpu_us:,.0f}",
            f"{row.cold_start_s:.2f}",
            f"{row.pss_bytes / 1e6:.0f}",
            str(row.errors),
        ]
        for row in found
    ]


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) if not index else cell.rjust(width)
                  for index, (cell, width) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )  # fmt: skip


def _markdown(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    def one(line: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"

    return "\n".join(
        [one(headings), "|" + "|".join([" --- ", *[" ---: "] * (len(headings) - 1)]) + "|", *map(one, lines)]
    )


def _goal_cells(results: Results) -> list[list[str]]:
    medians = {workload: {row.peer: row for row in rows(results, workload)} for workload in catalog.WORKLOADS}
    return [
        [goal.what, goal.wanted, goal.found, "yes" if goal.met else "NO"]
        for goal in goals.judge(medians, results.findings)
    ]


def text(results: Results) -> str:
    """Give the tables for a terminal."""
    parts: list[str] = []
    for workload in catalog.WORKLOADS:
        if found := rows(results, workload):
            parts += [workload, _aligned([_HEADINGS, *cells(found)]), ""]
    if judged := _goal_cells(results):
        parts += ["goals", _aligned([["", "wanted", "found", "met"], *judged]), ""]
    if results.failures:
        parts += ["left out", *(f"  {name}: {reason}" for name, reason in results.failures.items()), ""]
    machine = results.machine
    parts.append(f"{machine['cores']} cores, {machine['processor']}; commit {results.commit[:12]}"
                 + (" with uncommitted changes" if results.changed else ""))  # fmt: skip
    return "\n".join(parts)


def _rounds(results: Results) -> int:
    return max((one["round"] for one in results.samples), default=0)


def markdown(results: Results) -> str:
    """Give the tables for the documentation."""
    machine = results.machine
    parts = [
        f"Measured {results.started[:10]} on {machine['cores']} cores ({machine['processor']}, {machine['memory_mb'] // 1000} GB),"
        f" Linux {machine['kernel']}, commit `{results.commit[:12]}`, medians of {_rounds(results)} interleaved rounds:",
        "",
        f"    {results.command}",
        "",
        "![Calls per second of each server on each workload](benchmarks.svg)",
        "",
    ]
    for workload in catalog.WORKLOADS:
        if found := rows(results, workload):
            parts += [f"### {workload}", "", _markdown(_HEADINGS, cells(found)), ""]
    if judged := _goal_cells(results):
        parts += ["### Goals", "", _markdown(("", "wanted", "found", "met"), judged), ""]
    parts += ["### Settings", ""]
    for name, peer in catalog.PEERS.items():
        versions = results.versions.get(peer.environment)
        if versions is not None:
            listed = ", ".join(f"{package} {version}" for package, version in versions.items())
            parts.append(f"- **{peer.title}**: {peer.settings} ({listed}).")
        elif name in results.failures:
            parts.append(f"- **{peer.title}**: not measured, it could not be installed.")
    return "\n".join(parts) + "\n"


_PAGE = f"""# Benchmarks

Tiffin beside the servers people use today. One machine, one model worker each, access logs off, every peer in an environment of its own
with its documented production settings. `wrk` in a closed loop on the same cores; answers are checked against the model, from several connections
at once, before anything is timed. Only ratios from one run count: absolute figures move from machine to machine.

- **noop**: `{{"x": 1.0}}` → `{{"y": 2.0}}`. The cost of the server itself.
- **mlp**: 64 floats → 10 through a 64-256-256-10 PyTorch network, batches of at most 64, one thread.
- **bert**: a text of 5 to 60 words through a DistilBERT with random weights (67 million), batches of at most 8, one thread.

Run it yourself with `make bench`, or a part of it with `python benchmarks/run.py --workload noop --peers bare,fastapi,tiffin`.

{_BEGIN}
{_END}
"""


def write_docs(results: Results) -> None:
    """Write docs/benchmarks.md, keeping what people wrote around the figures, and docs/benchmarks.svg."""
    page = _DOCS / "benchmarks.md"
    current = page.read_text() if page.exists() else _PAGE
    if _BEGIN not in current or _END not in current:
        current = _PAGE
    before, _, rest = current.partition(_BEGIN)
    after = rest.partition(_END)[2]
    page.write_text(f"{before}{_BEGIN}\n\n{markdown(results)}\n{_END}{after}")
    panels = [
        chart.Panel(workload, [chart.Bar(row.title, row.calls_per_s, row.peer == "tiffin") for row in found])
        for workload in catalog.WORKLOADS
        if (found := rows(results, workload))
    ]
    (_DOCS / "benchmarks.svg").write_text(chart.svg(panels))
