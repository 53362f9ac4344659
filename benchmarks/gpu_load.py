"""Closed-loop load with binary bodies from several processes, in plain Python, so that a GPU machine needs no load generator.

Every connection sends one prepared request again and again and reads the whole answer. Latencies in seconds.
"""

from __future__ import annotations

import multiprocessing
import queue
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figures:
    """What the load saw: answers with 200 per second, quantiles, everything else as errors, the generator's own CPU share."""

    calls_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    client_cores: float


def run(port: int, path: str, body: bytes, connections: int, seconds: float, processes: int) -> Figures:
    """Send load until the time is over.

    Args:
        port, path: of the server on this machine. body: a `.npy` file's bytes. connections: all together.
        seconds: how long, after a quarter of it to warm up. processes: that share the connections.
    """
    head = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-npy\r\naccept: application/x-npy\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    shares = [connections // processes + (number < connections % processes) for number in range(processes)]
    children = [
        context.Process(target=_child, args=(port, head.encode() + body, share, seconds, results))
        for share in shares
        if share
    ]
    for child in children:
        child.start()
    parts = [_result(results, children) for _ in children]
    for child in children:
        child.join()
    latencies = sorted(latency for part in parts for latency in part["latencies"])
    if not latencies:
        raise RuntimeError(f"no call was answered; {sum(part['errors'] for part in parts)} failed")
    return Figures(
        calls_per_s=len(latencies) / seconds,
        p50_ms=1e3 * latencies[len(latencies) // 2],
        p99_ms=1e3 * latencies[int(len(latencies) * 0.99)],
        errors=sum(part["errors"] for part in parts),
        client_cores=sum(part["cpu_s"] for part in parts) / (seconds * 1.25),
    )


def _result(results: Any, children: list[Any]) -> dict[str, Any]:
    """Wait for one process's part; one that died says nothing more."""
    while True:
        try:
            found: dict[str, Any] = results.get(timeout=1)
        except queue.Empty:
            if any(child.exitcode for child in children):
                raise RuntimeError("a process of the load generator died; see above") from None
        else:
            return found


def _child(port: int, request: bytes, connections: int, seconds: float, results: Any) -> None:
    """Run a share of the connections, a thread for each."""
    latencies: list[float] = []
    errors: list[int] = []
    cpu = time.process_time()
    begin = time.perf_counter() + seconds / 4
    end = begin + seconds
    threads = [
        threading.Thread(target=_connection, args=(port, request, begin, end, latencies, errors))
        for _ in range(connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put({"latencies": latencies, "errors": len(errors), "cpu_s": time.process_time() - cpu})


def _connection(port: int, request: bytes, begin: float, end: float, latencies: list[float], errors: list[int]) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=120) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            sent = time.perf_counter()
            if sent >= end:
                return
            sock.sendall(request)
            right = _answer(sock)
            now = time.perf_counter()
            if begin <= now <= end:
                if right:
                    latencies.append(now - sent)
                else:
                    errors.append(1)


def _answer(sock: socket.socket) -> bool:
    """Read one answer; tell whether it was a 200."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(65_536)
        if not part:
            raise ConnectionError("the server closed the connection in the middle of an answer")
        data += part
    head, rest = data.split(b"\r\n\r\n", 1)
    fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
    left = int(fields[b"content-length"]) - len(rest)
    while left > 0:
        left -= len(sock.recv(left))
    return head.startswith(b"HTTP/1.1 200")
