"""Runs workloads against peers in interleaved rounds and gives one sample per run; never prints tables. Milliseconds, bytes, calls."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import load, measure, payloads
from benchmarks.serving import Server, ServerFailed, free_port, post_json, serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.catalog import Peer

_SETTLE_S = 1.0
_TOLERANCE = 2e-3  # float32 sums in another order, and padding inside a batch, move the logits by some 1e-6
_CHECK_CONNECTIONS = 16
_LONGER = {"bert": 3.0}  # a call that waits behind 63 others takes seconds: short windows would see no answer at all
_QUIET_CORES, _QUIET_WINDOW_S, _QUIET_LIMIT_S = 0.1, 0.3, 15.0
_CHECKED = {"noop": 1, "mlp": 256, "bert": 32}


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        workloads: in this order within a round.
        peers: in this order within a workload.
        rounds: how often everything is run.
        seconds: of load per measurement.
        warm_seconds: of load before it, not counted.
        connections: of the main measurement; one connection is always measured too.
    """

    workloads: Sequence[str]
    peers: Sequence[Peer]
    rounds: int
    seconds: float
    warm_seconds: float
    connections: int


@dataclass(frozen=True)
class Sample:
    """One measurement of one peer."""

    workload: str
    peer: str
    round: int
    connections: int
    calls_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: int
    cpu_us_per_call: float
    pss_idle_bytes: int
    pss_loaded_bytes: int
    cold_start_s: float

    def as_dict(self) -> dict[str, str | int | float]:
        """Give the fields as JSON values."""
        return dataclasses.asdict(self)


def check_answers(server: Server, peer: Peer, workload: str, right: list[list[float]]) -> None:
    """Post inputs from several connections at once, so that answers mixed up within a batch show.

    Args:
        server: running.
        peer: how to ask it.
        workload: what it serves.
        right: the model's own answers.

    Raises:
        ServerFailed: an answer is not the model's.
    """
    inputs = payloads.examples(workload)[: _CHECKED[workload]]

    def ask(example: object) -> list[float]:
        return peer.numbers(workload, post_json(server.port, peer.path(workload), peer.body(workload, example)))

    with ThreadPoolExecutor(_CHECK_CONNECTIONS) as pool:
        for index, answer in enumerate(pool.map(ask, inputs)):
            same = len(answer) == len(right[index]) and all(
                math.isclose(a, b, abs_tol=_TOLERANCE) for a, b in zip(answer, right[index], strict=True)
            )
            if not same:
                message = (
                    f"{peer.name} answers input {index} of {workload} with {answer}, the model with {right[index]}"
                )
                raise ServerFailed(message)


def _wait_quiet(server: Server) -> None:
    """Wait until a server has worked off the calls that the load's end has abandoned; they would count against the next run."""
    limit = time.perf_counter() + _QUIET_LIMIT_S
    while time.perf_counter() < limit:
        before = measure.cpu_s(server.pid)
        time.sleep(_QUIET_WINDOW_S)
        if measure.cpu_s(server.pid) - before < _QUIET_CORES * _QUIET_WINDOW_S:
            return


def _measure(server: Server, what: load.Load) -> tuple[load.Figures, float]:
    _wait_quiet(server)
    before = measure.cpu_s(server.pid)
    figures = load.run(what)
    return figures, 1e6 * (measure.cpu_s(server.pid) - before) / max(1, figures.calls)


def run_peer(plan: Plan, peer: Peer, workload: str, right: list[list[float]], number: int) -> list[Sample]:
    """Start a peer, check its answers, measure it and stop it.

    Args:
        plan: how long and with how many connections.
        peer: whom.
        workload: what it serves.
        right: the model's own answers.
        number: of the round.

    Returns:
        One sample per number of connections.

    Raises:
        ServerFailed: it does not start or answers wrongly.
    """
    inputs = payloads.examples(workload)
    port = free_port()
    path = peer.path(workload)
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, serving(peer.command(workload, port), port) as server:
        bodies = Path(folder) / "bodies.jsonl"
        payloads.write_lines(bodies, inputs, lambda example: peer.body(workload, example))
        cold_start_s = server.wait_ready(path, json.dumps(peer.body(workload, inputs[0])).encode())
        time.sleep(_SETTLE_S)
        pss_idle_bytes = measure.pss_bytes(server.pid)
        check_answers(server, peer, workload, right)
        url = f"http://127.0.0.1:{port}{path}"
        longer = _LONGER.get(workload, 1.0)
        # One connection first: an adaptive batcher that has seen a crowd goes on waiting for company.
        for connections in dict.fromkeys((1, plan.connections)):
            load.run(load.Load(url, bodies, connections, plan.warm_seconds * longer))
            figures, cpu_us = _measure(server, load.Load(url, bodies, connections, plan.seconds * longer))
            samples.append(
                Sample(
                    workload=workload,
                    peer=peer.name,
                    round=number,
                    connections=connections,
                    calls_per_s=figures.calls_per_s,
                    p50_ms=figures.p50_ms,
                    p99_ms=figures.p99_ms,
                    max_ms=figures.max_ms,
                    errors=figures.errors,
                    cpu_us_per_call=cpu_us,
                    pss_idle_bytes=pss_idle_bytes,
                    pss_loaded_bytes=measure.pss_bytes(server.pid),
                    cold_start_s=cold_start_s,
                )
            )
    return samples


def run(plan: Plan, failures: dict[str, str]) -> Iterator[Sample]:
    """Run every round; a peer that fails once is left out from then on.

    Args:
        plan: what to run.
        failures: filled with the reason per "workload peer" that was left out.

    Yields:
        Samples as they come.
    """
    answers: dict[str, list[list[float]]] = {}
    for workload in plan.workloads:
        with_torch = [peer.environment for peer in plan.peers if workload in peer.workloads and peer.name != "bare"]
        if with_torch or workload == "noop":
            answers[workload] = payloads.expected(workload, with_torch[0] if with_torch else "bare")
    for number in range(1, plan.rounds + 1):
        for workload in plan.workloads:
            for peer in plan.peers:
                key = f"{workload} {peer.name}"
                if workload not in peer.workloads or key in failures:
                    continue
                print(f"round {number}/{plan.rounds}  {key}", file=sys.stderr, flush=True)
                try:
                    yield from run_peer(plan, peer, workload, answers[workload], number)
                except (ServerFailed, RuntimeError, OSError) as error:
                    failures[key] = str(error)
                    print(f"  left out: {error}", file=sys.stderr, flush=True)
