"""Photographs of 100 kB, uploaded as a form, resized, looked at by a small network: Tiffin beside FastAPI and BentoML.

    python -m benchmarks.uploads [--rounds 3] [--seconds 4] [--connections 1,16] [--out FILE]

Interleaved: a round starts each server in turn, checks an answer against the model, warms it up and measures. Then one more run of
Tiffin with a probe in its front's event loop (see probe/sitecustomize.py).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import envs, load, measure, serving

_BOUNDARY = "photograph"
_TYPE = f"multipart/form-data; boundary={_BOUNDARY}"
_PEERS = envs.HERE / "peers"
_QUIET_S = 1.0


@dataclass(frozen=True)
class Peer:
    """One server. command: (port) to the arguments that start it."""

    name: str
    environment: str
    arguments: tuple[str, ...]

    def command(self, port: int) -> list[str]:
        """Give the command line."""
        program, *rest = self.arguments
        return [str(envs.program(self.environment, program)), *(word.replace("PORT", str(port)) for word in rest)]


def _tiffin(name: str, service: str, *more: str) -> Peer:
    target = f"{_PEERS / 'tiffin_uploads.py'}:{service}"
    return Peer(name, "uploads_tiffin", ("tiffin", "serve", target, "--port", "PORT", "--device", "cpu", *more))


PEERS = (
    _tiffin("tiffin, batched", "Uploads"),
    _tiffin("tiffin, batched, 2 workers", "Uploads", "--workers", "2"),
    _tiffin("tiffin, 2 threads", "Threads"),
    Peer(
        "fastapi, thread pool",
        "uploads_fastapi",
        ("uvicorn", "benchmarks.peers.fastapi_uploads:app", "--host", "127.0.0.1", "--port", "PORT", "--loop", "uvloop",
         "--http", "httptools", "--no-access-log", "--log-level", "warning"),
    ),
    Peer(
        "bentoml",
        "uploads_bentoml",
        ("bentoml", "serve", "benchmarks.peers.bentoml_uploads:Uploads", "--host", "127.0.0.1", "--port", "PORT"),
    ),
)  # fmt: skip


def form(photo: bytes) -> bytes:
    """Give the body that a client sends."""
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="photo.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return head.encode() + photo + f"\r\n--{_BOUNDARY}--\r\n".encode()


def the_photo(folder: Path) -> tuple[bytes, list[float]]:
    """Give the photograph and what the network says of it, from the environment that has Pillow."""
    script = (
        "import io, json, sys; from pathlib import Path; import PIL.Image; from benchmarks.upload_model import Network, photo; data = photo();"
        "Path(sys.argv[1]).write_bytes(data); print(json.dumps(Network()([PIL.Image.open(io.BytesIO(data))])[0].tolist()))"
    )
    import subprocess

    command = [str(envs.python("uploads_tiffin")), "-c", script, str(folder / "photo.jpg")]
    done = subprocess.run(command, env=envs.variables(), capture_output=True, text=True, check=True)
    return (folder / "photo.jpg").read_bytes(), json.loads(done.stdout)


def check(server: serving.Server, body: bytes, right: list[float]) -> None:
    """Refuse a server that says something else than the model."""
    status, content = serving.post(server.port, "/predict", body, {"content-type": _TYPE})
    answer = json.loads(content)
    if status != 200 or max(abs(one - other) for one, other in zip(answer, right, strict=True)) > 1e-3:
        raise serving.ServerFailed(f"answered {status} {content[:200]!r}, the model says {right}")


def measured(server: serving.Server, body: Path, connections: int, seconds: float) -> dict[str, float]:
    """Send load and give the figures."""
    url = f"http://127.0.0.1:{server.port}/predict"
    time.sleep(_QUIET_S)  # what the load before has left in the server's queue is no part of it
    before = measure.cpu_s(server.pid)
    figures = load.run(load.Load(url, body, connections, seconds, content_type=_TYPE, binary=True))
    cpu_s = measure.cpu_s(server.pid) - before
    return {
        "calls_per_s": figures.calls_per_s,
        "p50_ms": figures.p50_ms,
        "p99_ms": figures.p99_ms,
        "errors": figures.errors,
        "cpu_ms_per_call": 1000 * cpu_s / max(1, figures.calls),
    }


def probe(
    body: Path, raw: bytes, right: list[float], connections: int, seconds: float, folder: Path
) -> dict[str, float]:
    """Run Tiffin once more with the probe in its front, and give what that saw."""
    report = folder / "loop.json"
    port = serving.free_port()
    variables = {
        "PYTHONPATH": f"{envs.HERE / 'probe'}{os.pathsep}{envs.REPOSITORY}",
        "BENCH_LOOP_REPORT": str(report),
        "BENCH_LOOP_AFTER_S": "4",
    }
    with serving.serving(PEERS[0].command(port), port, variables) as server:
        server.wait_ready("/predict", raw, {"content-type": _TYPE})
        check(server, raw, right)
        figures = measured(server, body, connections, seconds + 4)
    return {**json.loads(report.read_text()), "calls_per_s": figures["calls_per_s"]}


def main() -> None:
    """Run, print a table, and write what was measured."""
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=4.0)
    options.add_argument("--connections", default="1,16")
    options.add_argument("--out", type=Path)
    given = options.parse_args()
    counts = [int(count) for count in given.connections.split(",")]
    for name in dict.fromkeys(peer.environment for peer in PEERS):
        envs.ensure(name)
    samples: dict[str, dict[str, list[dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        folder = Path(place)
        photo, right = the_photo(folder)
        raw = form(photo)
        body = folder / "body"
        body.write_bytes(raw)
        for number in range(given.rounds):
            for peer in PEERS:
                port = serving.free_port()
                with serving.serving(peer.command(port), port) as server:
                    server.wait_ready("/predict", raw, {"content-type": _TYPE})
                    check(server, raw, right)
                    measured(server, body, max(counts), 1)
                    for count in counts:
                        found = measured(server, body, count, given.seconds)
                        samples.setdefault(peer.name, {}).setdefault(str(count), []).append(found)
                        print(
                            number + 1,
                            peer.name,
                            count,
                            {key: round(value, 2) for key, value in found.items()},
                            file=sys.stderr,
                        )
        loop = probe(body, raw, right, max(counts), given.seconds, folder)
    print(f"photograph {len(photo)} bytes, {given.rounds} rounds of {given.seconds:g} s, median (worst round)")
    print(
        "| server | connections | calls/s | p50 ms | p99 ms | CPU ms per call | errors |\n|---|---|---|---|---|---|---|"
    )
    for peer in PEERS:
        for count in counts:
            rounds = samples[peer.name][str(count)]
            shown = [
                f"{statistics.median([one[key] for one in rounds]):.1f} ({worst([one[key] for one in rounds]):.1f})"
                for key, worst in (("calls_per_s", min), ("p50_ms", max), ("p99_ms", max), ("cpu_ms_per_call", max))
            ]
            errors = sum(one["errors"] for one in rounds)
            print(f"| {peer.name} | {count} | {' | '.join(shown)} | {errors:.0f} |")
    print("front's event loop:", json.dumps(loop))
    if given.out:
        versions = {name: envs.versions(name) for name in dict.fromkeys(peer.environment for peer in PEERS)}
        content = {
            "machine": measure.machine(),
            "photo_bytes": len(photo),
            "samples": samples,
            "loop": loop,
            "versions": versions,
        }
        given.out.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
