"""Sentence embeddings by MiniLM, one text a call: Tiffin beside BentoML and FastAPI, the same encoder, one torch thread each.

    python -m benchmarks.embeddings [--rounds 3] [--seconds 6] [--connections 1,32] [--out FILE]

Interleaved: a round starts each server in turn, compares an embedding with the encoder's own, warms it up and measures. A call carries one
text, so texts/s and calls/s are the same.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import envs, load, measure, serving

_PEERS = envs.HERE / "peers"
_UVICORN = (
    "--host",
    "127.0.0.1",
    "--port",
    "PORT",
    "--loop",
    "uvloop",
    "--http",
    "httptools",
    "--no-access-log",
    "--log-level",
    "warning",
)
SERVERS = {
    "tiffin": (
        "embeddings_tiffin",
        ["tiffin", "serve", "model:minilm", "--port", "PORT", "--device", "cpu"],
        "/encode",
        "texts",
    ),
    "fastapi": (
        "embeddings_fastapi",
        ["uvicorn", "benchmarks.peers.fastapi_embeddings:app", *_UVICORN],
        "/encode",
        "text",
    ),
    "fastapi, hand-written batcher": (
        "embeddings_fastapi",
        ["uvicorn", "benchmarks.peers.fastapi_embeddings:batched", *_UVICORN],
        "/encode",
        "text",
    ),
    "bentoml, batchable": (
        "embeddings_bentoml",
        ["bentoml", "serve", "benchmarks.peers.bentoml_embeddings:Embeddings", "--host", "127.0.0.1", "--port", "PORT"],
        "/encode",
        "texts",
    ),
}
_REFERENCE = (
    "import json, sys; from benchmarks.peers.minilm import encoder\n"
    "print(json.dumps(encoder().encode(json.loads(sys.stdin.read()), show_progress_bar=False).tolist()))"
)
_IMPORT = "import tiffin; from benchmarks.peers.minilm import FOLDER; tiffin.models.import_(FOLDER, 'minilm:bench')"


def texts() -> list[str]:
    """Give 64 sentences of 5 to 40 words, always the same."""
    import random

    chance = random.Random(20261125)
    words = "the a of to model server batch text house river train city light music winter answer quick small green long".split()
    return [" ".join(chance.choice(words) for _ in range(chance.randint(5, 40))) for _ in range(64)]


def first_vector(content: bytes) -> list[float]:
    """Read the one embedding of an answer, in whichever form a peer gives it."""
    answer = json.loads(content)
    return answer[0] if isinstance(answer[0], list) else answer


def cosine(one: list[float], other: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / (sum(a * a for a in one) ** 0.5 * sum(b * b for b in other) ** 0.5)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=6.0)
    options.add_argument("--connections", default="1,32")
    options.add_argument("--out", type=Path)
    given = options.parse_args()
    counts = [int(count) for count in given.connections.split(",")]
    for name in dict.fromkeys(environment for environment, *_ in SERVERS.values()):
        envs.ensure(name)
    sentences = texts()
    samples: dict[str, dict[str, list[dict[str, float]]]] = {}
    worst = 1.0
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        folder = Path(place)
        extra = {"TIFFIN_HOME": str(folder / "home")}
        python = str(envs.python("embeddings_tiffin"))
        subprocess.run([python, "-c", _IMPORT], env={**envs.variables(), **extra}, check=True, capture_output=True)
        done = subprocess.run(
            [python, "-c", _REFERENCE],
            env=envs.variables(),
            input=json.dumps(sentences),
            capture_output=True,
            text=True,
            check=True,
        )
        right = json.loads(done.stdout.splitlines()[-1])
        for number in range(given.rounds):
            for name, (environment, command, route, field) in SERVERS.items():
                port = serving.free_port()
                program, *rest = command
                argv = [str(envs.program(environment, program)), *(word.replace("PORT", str(port)) for word in rest)]
                bodies = [json.dumps({field: [text] if field == "texts" else text}) for text in sentences]
                file = folder / f"bodies-{field}"
                file.write_text("\n".join(bodies))
                with serving.serving(argv, port, extra) as server:
                    server.wait_ready(route, bodies[0].encode())
                    for body, vector in zip(bodies[:8], right[:8], strict=True):
                        status, content = serving.post(port, route, body.encode())
                        if status != 200:
                            raise serving.ServerFailed(f"{name} answered {status} {content[:200]!r}")
                        worst = min(worst, cosine(first_vector(content), vector))
                    url = f"http://127.0.0.1:{port}{route}"
                    load.run(load.Load(url, file, max(counts), 2))
                    for count in counts:
                        before = measure.cpu_s(server.pid)
                        figures = load.run(load.Load(url, file, count, given.seconds))
                        cpu_s = measure.cpu_s(server.pid) - before
                        found = {
                            "texts_per_s": figures.calls_per_s,
                            "p50_ms": figures.p50_ms,
                            "p99_ms": figures.p99_ms,
                            "errors": figures.errors,
                            "cpu_ms_per_text": 1000 * cpu_s / max(1, figures.calls),
                        }
                        samples.setdefault(name, {}).setdefault(str(count), []).append(found)
                        print(number + 1, name, count, {k: round(v, 2) for k, v in found.items()}, file=sys.stderr)
    print(
        f"{given.rounds} rounds of {given.seconds:g} s, median (worst round); least cosine to the encoder's own {worst:.7f}"
    )
    print(
        "| server | connections | texts/s | p50 ms | p99 ms | CPU ms per text | errors |\n|---|---|---|---|---|---|---|"
    )
    for name, by_count in samples.items():
        for count, rounds in by_count.items():
            shown = [
                f"{statistics.median([one[key] for one in rounds]):.1f} ({bad([one[key] for one in rounds]):.1f})"
                for key, bad in (("texts_per_s", min), ("p50_ms", max), ("p99_ms", max), ("cpu_ms_per_text", max))
            ]
            print(f"| {name} | {count} | {' | '.join(shown)} | {sum(one['errors'] for one in rounds):.0f} |")
    if given.out:
        versions = {
            name: envs.versions(name) for name in dict.fromkeys(environment for environment, *_ in SERVERS.values())
        }
        content = {"machine": measure.machine(), "least_cosine": worst, "samples": samples, "versions": versions}
        given.out.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
