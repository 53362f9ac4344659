"""Who is measured and how each is asked: commands, routes and body shapes; never starts anything."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import envs

WORKLOADS = ("noop", "mlp", "bert")
_SERVERS = envs.HERE / "peers"


@dataclass(frozen=True)
class Peer:
    """One system under measurement.

    Attributes:
        name: on the command line and in results.
        title: in tables.
        environment: requirements file, and folder under .envs.
        workloads: what it serves.
        command: (workload, port) to the arguments that start it.
        path: workload to the route.
        body: (workload, input) to the JSON value to post.
        numbers: (workload, JSON answer) to the numbers in it.
        settings: how it is set up, for the reader of the results.
    """

    name: str
    title: str
    environment: str
    workloads: tuple[str, ...]
    command: Callable[[str, int], list[str]]
    path: Callable[[str], str]
    body: Callable[[str, Any], Any]
    numbers: Callable[[str, Any], list[float]]
    settings: str


def uvicorn_command(environment: str, target: str, port: int) -> list[str]:
    """Give the command line of a production uvicorn: uvloop, httptools, no access log."""
    return [
        *(str(envs.program(environment, "uvicorn")), target, "--host", "127.0.0.1", "--port", str(port)),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
    ]


def tiffin_command(file: str, service: str, port: int) -> list[str]:
    """Give the command line of `tiffin serve`; BENCH_TIFFIN_PROGRAM names another executable than that of the environment."""
    program = os.environ.get("BENCH_TIFFIN_PROGRAM") or str(envs.program("tiffin", "tiffin"))
    return [program, "serve", f"{_SERVERS / file}:{service}", "--port", str(port), "--device", "cpu"]


def _predict(_: str) -> str:
    return "/predict"


def _one(workload: str, example: Any) -> dict[str, Any]:
    return {"text" if workload == "bert" else "x": example}


def _plain(workload: str, answer: Any) -> list[float]:
    return [answer["y"]] if workload == "noop" else list(answer)


def _rows(workload: str, example: Any) -> dict[str, Any]:
    if workload == "noop":
        return {"x": example}
    return {"x": [example]} if workload == "mlp" else {"texts": [example]}


def _first_row(workload: str, answer: Any) -> list[float]:
    return [answer["y"]] if workload == "noop" else list(answer[0])


def _kserve(workload: str, example: Any) -> dict[str, Any]:
    name, datatype = ("text", "BYTES") if workload == "bert" else ("x", "FP32")
    data = example if workload == "mlp" else [example]
    return {"inputs": [{"name": name, "shape": [1, len(data)], "datatype": datatype, "data": data}]}


def _kserve_numbers(_: str, answer: Any) -> list[float]:
    return list(answer["outputs"][0]["data"])


def _bentoml_command(workload: str, port: int) -> list[str]:
    service = {"noop": "Noop", "mlp": "MlpService", "bert": "BertService"}[workload]
    target = f"benchmarks.peers.bentoml_{workload}:{service}"
    program = str(envs.program("bentoml", "bentoml"))
    return [program, "serve", target, "--host", "127.0.0.1", "--port", str(port), "--working-dir", str(envs.REPOSITORY)]


_UVICORN = "uvicorn, uvloop, httptools, no access log, one process"

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer(
            name="bare",
            title="bare uvicorn",
            environment="bare",
            workloads=("noop",),
            command=lambda workload, port: uvicorn_command("bare", f"benchmarks.peers.bare:{workload}", port),
            path=_predict,
            body=_one,
            numbers=_plain,
            settings=f"{_UVICORN}; a function that reads the body, parses and answers JSON",
        ),
        Peer(
            name="fastapi",
            title="FastAPI",
            environment="fastapi",
            workloads=WORKLOADS,
            command=lambda workload, port: uvicorn_command("fastapi", f"benchmarks.peers.fastapi_{workload}:app", port),
            path=_predict,
            body=_one,
            numbers=_plain,
            settings=f"{_UVICORN}; noop `async def`; models in the thread pool, as its documentation says (may use every core)",
        ),
        Peer(
            name="fastapi-inline",
            title="FastAPI, on the loop",
            environment="fastapi",
            workloads=("mlp",),
            command=lambda workload, port: uvicorn_command(
                "fastapi", f"benchmarks.peers.fastapi_inline_{workload}:app", port
            ),
            path=_predict,
            body=_one,
            numbers=_plain,
            settings=f"{_UVICORN}; the model in `async def`: each call blocks all others",
        ),
        Peer(
            name="fastapi-batch",
            title="FastAPI + a batcher",
            environment="fastapi",
            workloads=("mlp", "bert"),
            command=lambda workload, port: uvicorn_command(
                "fastapi", f"benchmarks.peers.fastapi_batch_{workload}:app", port
            ),
            path=_predict,
            body=_one,
            numbers=_plain,
            settings=f"{_UVICORN}; a queue and one thread, no deadlines or limits",
        ),
        Peer(
            name="litserve",
            title="LitServe",
            environment="litserve",
            workloads=WORKLOADS,
            command=lambda workload, port: [
                *(str(envs.python("litserve")), "-m", f"benchmarks.peers.litserve_{workload}", "--port", str(port)),
            ],
            path=_predict,
            body=_one,
            numbers=_plain,
            settings="one API server, one worker, batches, uvloop, no access log",
        ),
        Peer(
            name="bentoml",
            title="BentoML",
            environment="bentoml",
            workloads=WORKLOADS,
            command=_bentoml_command,
            path=_predict,
            body=_rows,
            numbers=_first_row,
            settings="`bentoml serve`, workers=1, adaptive batching, access log and tracking off",
        ),
        Peer(
            name="triton",
            title="Triton (PyTriton)",
            environment="triton",
            workloads=WORKLOADS,
            command=lambda workload, port: [
                *(str(envs.python("triton")), "-m", "benchmarks.peers.triton", "--model", workload),
                *("--port", str(port)),
            ],
            path=lambda workload: f"/v2/models/{workload}/infer",
            body=_kserve,
            numbers=_kserve_numbers,
            settings="one Python model, dynamic batcher without delay, JSON over HTTP, gRPC and metrics off",
        ),
        Peer(
            name="tiffin",
            title="Tiffin",
            environment="tiffin",
            workloads=WORKLOADS,
            command=lambda workload, port: tiffin_command(f"tiffin_{workload}.py", workload.capitalize(), port),
            path=_predict,
            body=_one,
            numbers=_plain,
            settings="`tiffin serve`, one worker, defaults: validation, deadlines, ids and metrics on",
        ),
    )
}
