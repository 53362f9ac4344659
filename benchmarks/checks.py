"""What Tiffin promises beyond throughput: start-up, waiting, streams, slow readers, large arrays. One finding per promise and round."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import catalog, envs, load, measure, payloads, streams
from benchmarks.serving import Server, ServerFailed, free_port, post, post_json, serving

Finding = dict[str, Any]
"""`name` and `value`, as they go into the results."""

_STREAMS = 32
_NEVER_READERS = 8
_NPY_CONNECTIONS = 16
_NPY_TYPE = "application/x-npy"
_MLP_CONNECTIONS = 16


def _finding(name: str, value: float) -> Finding:
    return {"name": name, "value": round(value, 4)}


def _time_s(*command: str) -> float:
    """Run a program and give its wall time."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=envs.REPOSITORY)
    return time.perf_counter() - start


_IMPORT = (
    "import sys, time; start = time.perf_counter(); import tiffin; print(time.perf_counter() - start);"
    "print(','.join(sorted({'numpy', 'torch', 'pydantic', 'grpc', 'uvloop'} & set(sys.modules))))"
)


def startup(_: float) -> Iterator[Finding]:
    """Time the import, the help page, and an empty service with and without the describe cache; weigh the idle tree."""
    program, python = catalog.tiffin_command("tiffin_noop.py", "Noop", 0)[0], str(envs.python("tiffin"))
    done = subprocess.run([python, "-c", _IMPORT], check=True, capture_output=True, text=True, cwd=envs.HERE)
    seconds, heavy = done.stdout.split("\n")[:2]
    yield _finding("startup.import_ms", float(seconds) * 1e3)
    yield _finding("startup.heavy_imports", len(heavy.split(",")) if heavy else 0)
    yield _finding("startup.help_ms", _time_s(program, "--help") * 1e3)
    yield _finding("startup.python_ms", _time_s(python, "-c", "pass") * 1e3)
    body = json.dumps({"x": 1.0}).encode()
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        for name in ("startup.without_cache_s", "startup.with_cache_s"):
            port = free_port()
            command = catalog.tiffin_command("tiffin_noop.py", "Noop", port)
            with serving(command, port, {"TIFFIN_HOME": home}) as server:
                yield _finding(name, server.wait_ready("/predict", body))
                if name == "startup.with_cache_s":
                    time.sleep(1)
                    yield _finding("startup.idle_pss_mb", measure.pss_bytes(server.pid) / 1e6)


class _Bench:
    """The service of the checks, running, with its load.

    Args:
        server: running.
        folder: for bodies.
        seconds: of load per measurement.
    """

    def __init__(self, server: Server, folder: Path, seconds: float) -> None:
        self.server, self._folder, self._seconds = server, folder, seconds

    def figures(self, path: str, inputs: list[Any], connections: int) -> load.Figures:
        """Post inputs to a route as field `x`, for the whole time.

        Raises:
            ServerFailed: a call failed.
        """
        bodies = self._folder / "bodies.jsonl"
        payloads.write_lines(bodies, inputs, lambda one: {"x": one})
        figures = load.run(load.Load(f"http://127.0.0.1:{self.server.port}{path}", bodies, connections, self._seconds))
        if figures.errors:
            message = f"{path}: {figures.errors} of {figures.calls} calls failed:\n{self.server.tail()}"
            raise ServerFailed(message)
        return figures

    def mlp_p50_ms(self) -> float:
        """Load the batchable method."""
        return self.figures("/predict", payloads.examples("mlp"), _MLP_CONNECTIONS).p50_ms


def _with_service(check: Callable[[_Bench], Iterator[Finding]]) -> Callable[[float], Iterator[Finding]]:
    def run_check(seconds: float) -> Iterator[Finding]:
        port = free_port()
        command = catalog.tiffin_command("tiffin_checks.py", "Checks", port)
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, serving(command, port) as server:
            server.wait_ready("/wait", b'{"x": 1.0}')
            post_json(port, "/predict", {"x": payloads.examples("mlp")[0]})
            yield from check(_Bench(server, Path(folder), seconds))

    return run_check


def _waiting(bench: _Bench) -> Iterator[Finding]:
    """An async method that awaits 100 ms, 64 connections: 640 calls/s would be perfect."""
    figures = bench.figures("/wait", [1.0], 64)
    yield _finding("async.calls_per_s", figures.calls_per_s)
    yield _finding("async.p99_ms", figures.p99_ms)


def _open_streams(bench: _Bench) -> Iterator[Finding]:
    """The batchable method's p50 beside 32 open streams: async generators, then plain ones (which share eight threads)."""
    bench.mlp_p50_ms()  # warm
    alone = bench.mlp_p50_ms()
    yield _finding("streams.alone_p50_ms", alone)
    for route, expect in (("async_ticks", _STREAMS), ("ticks", 1)):
        with streams.Readers(bench.server.port, f"/{route}", {"n": 100_000}, _STREAMS) as readers:
            time.sleep(1)
            before = readers.events
            beside = bench.mlp_p50_ms()
            yield _finding(f"streams.{route}_flowing", readers.flowing)
            yield _finding(f"streams.{route}_events", readers.events - before)
            yield _finding(f"streams.{route}_p50_ratio", beside / alone)
            if readers.flowing < expect:
                message = f"only {readers.flowing} of {_STREAMS} streams of {route} brought an event"
                raise ServerFailed(message)


def _slow_readers(bench: _Bench) -> Iterator[Finding]:
    """Memory per client that never reads its endless stream, and the p50 of others meanwhile."""
    bench.mlp_p50_ms()
    alone = bench.mlp_p50_ms()
    with streams.Readers(bench.server.port, "/flood", {"n": 200}, 1) as readers:  # what any stream takes, once
        time.sleep(1)
        if not readers.events:
            message = f"the flood brought no event:\n{bench.server.tail()}"
            raise ServerFailed(message)
    before = measure.private_bytes(bench.server.pid)
    with streams.never_reading(bench.server.port, "/flood", {"n": 1_000_000}, _NEVER_READERS):
        time.sleep(1)
        beside = bench.mlp_p50_ms()
        grown = measure.private_bytes(bench.server.pid) - before
    yield _finding("slow-reader.buffer_mb", grown / _NEVER_READERS / 1e6)
    yield _finding("slow-reader.p50_ratio", beside / alone)


def npy(seconds: float) -> Iterator[Finding]:
    """Sum a 600 kB array: a bare uvicorn app and Tiffin, one after the other."""
    commands = {
        "bare": functools.partial(catalog.uvicorn_command, "bare", "benchmarks.peers.bare:npy"),
        "tiffin": functools.partial(catalog.tiffin_command, "tiffin_checks.py", "Checks"),
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        body = Path(folder) / "body.npy"
        total = payloads.write_npy(body)
        content = body.read_bytes()
        path = "/total"
        for name, command in commands.items():
            port = free_port()
            headers = {"content-type": _NPY_TYPE}
            with serving(command(port), port) as server:
                server.wait_ready(path, content, headers)
                status, answer = post(port, path, content, headers)
                if json.loads(answer) != total:
                    message = f"{name} answers {status} {answer[:200]!r} for an array whose sum is {total}"
                    raise ServerFailed(message)
                url = f"http://127.0.0.1:{port}{path}"
                what = load.Load(url, body, _NPY_CONNECTIONS, seconds, _NPY_TYPE, binary=True)
                load.run(what)
                before = measure.cpu_s(server.pid)
                figures = load.run(what)
                if figures.errors:
                    message = f"{name}: {figures.errors} of {figures.calls} calls with a .npy body failed"
                    raise ServerFailed(message)
                yield _finding(f"npy.{name}_calls_per_s", figures.calls_per_s)
                yield _finding(f"npy.{name}_p50_ms", figures.p50_ms)
                yield _finding(f"npy.{name}_cpu_us", 1e6 * (measure.cpu_s(server.pid) - before) / figures.calls)


CHECKS: dict[str, Callable[[float], Iterator[Finding]]] = {
    "startup": startup,
    "async": _with_service(_waiting),
    "streams": _with_service(_open_streams),
    "slow-reader": _with_service(_slow_readers),
    "npy": npy,
}


def run(names: Sequence[str], rounds: int, seconds: float, failures: dict[str, str]) -> Iterator[Finding]:
    """Run checks in interleaved rounds; one that fails is left out from then on.

    Args:
        names: of CHECKS.
        rounds: how often each runs.
        seconds: of load per measurement.
        failures: filled with the reason per check that was left out.

    Yields:
        Findings as they come.
    """
    if not names:
        return
    try:
        envs.ensure("tiffin")
        envs.ensure("bare")
    except envs.NoEnvironment as error:
        failures.update(dict.fromkeys(names, str(error)))
        return
    for number in range(1, rounds + 1):
        for name in names:
            if name in failures:
                continue
            print(f"round {number}/{rounds}  {name}", file=sys.stderr, flush=True)
            try:
                for finding in CHECKS[name](seconds):
                    yield {"check": name, "round": number, **finding}
            except (ServerFailed, RuntimeError, OSError, ValueError, subprocess.CalledProcessError) as error:
                failures[name] = str(error)
                print(f"  left out: {error}", file=sys.stderr, flush=True)
