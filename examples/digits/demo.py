"""The whole road in one command: train, serve, post 200 held-back images over HTTP, compare with the truth.

On a terminal the service stays up until Ctrl-C; in a pipe or in CI the program ends, non-zero if the answers are not good enough.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
HOST = "127.0.0.1"
CONNECTIONS = 32
START_LIMIT_S = 60.0
MIN_ACCURACY = 0.95


def free_port() -> int:
    """Return Tiffin's own port, or any free one where that is taken."""
    for port in (3000, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SystemExit("error: no free port on 127.0.0.1")


def call(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None) -> bytes:
    """Return the body of a 200, or stop with what the server said."""
    connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    response = connection.getresponse()
    data = response.read()
    if response.status != 200:
        raise SystemExit(f"error: {method} {path} answered {response.status}: {data.decode(errors='replace')}")
    return data


def wait_until_ready(server: subprocess.Popen[bytes], port: int) -> None:
    limit = time.monotonic() + START_LIMIT_S
    while time.monotonic() < limit:
        if server.poll() is not None:
            raise SystemExit(f"error: tiffin serve ended with status {server.returncode}")
        connection = http.client.HTTPConnection(HOST, port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise SystemExit(f"error: the service was not ready after {START_LIMIT_S:.0f} s")


def post_all(port: int, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Post each image as a call of its own, from many connections at once.

    Returns:
        The digits found, int64 [n], and each call's time in seconds, float64 [n].
    """
    bodies = [json.dumps({"images": [image.tolist()]}).encode() for image in images]
    found, seconds = np.zeros(len(images), np.int64), np.zeros(len(images))
    together = threading.Barrier(CONNECTIONS)

    def post_some(first: int) -> None:
        connection = http.client.HTTPConnection(HOST, port, timeout=30)
        connection.connect()
        together.wait()
        for i in range(first, len(bodies), CONNECTIONS):
            started = time.perf_counter()
            answer = json.loads(call(connection, "POST", "/predict", bodies[i]))
            seconds[i] = time.perf_counter() - started
            found[i] = answer[0]
        connection.close()

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(post_some, range(CONNECTIONS)))
    return found, seconds


def mean_batch(metrics: str) -> float:
    """Return rows per batch of `predict`, from the text of /metrics."""

    def total(name: str) -> float:
        lines = re.findall(rf'^{name}{{[^}}]*method="predict"[^}}]*}} (\S+)$', metrics, re.MULTILINE)
        return sum(float(value) for value in lines)

    return total("tiffin_batch_rows_sum") / max(total("tiffin_batch_rows_count"), 1)


def show(port: int) -> bool:
    """Print what the service does with the held-back images; True if it does well."""
    held_back = np.load(HERE / "model" / "held_back.npz")
    found, seconds = post_all(port, held_back["images"])
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    about: dict[str, Any] = json.loads(call(connection, "POST", "/about", b"{}"))
    batch = mean_batch(call(connection, "GET", "/metrics").decode())
    accuracy = float((found == held_back["labels"]).mean())
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    print(f"accuracy {accuracy * 100:.1f} % on {len(found)} held-back images")
    print(f"device {about['device']} (PyTorch {about['torch']})")
    print(f"p50 {p50:.1f} ms, p99 {p99:.1f} ms over {CONNECTIONS} connections")
    print(f"mean batch {batch:.1f} rows")
    print(f"docs http://{HOST}:{port}/docs", flush=True)
    return accuracy >= MIN_ACCURACY and batch > 1


def wait_for_ctrl_c(server: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        server.wait()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(timeout=30)  # the terminal has sent Ctrl-C to the server too: it drains


def stop(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        server.terminate()
    try:
        server.wait(timeout=30)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def main() -> int:
    """Return 0 when the service answered well."""
    subprocess.run([sys.executable, str(HERE / "train.py")], check=True)
    port = free_port()
    tiffin = Path(sysconfig.get_path("scripts")) / "tiffin"
    server = subprocess.Popen([str(tiffin), "serve", "service:Digits", "--port", str(port)], cwd=HERE)
    try:
        wait_until_ready(server, port)
        good = show(port)
        if good and sys.stdin.isatty() and sys.stdout.isatty():
            print("Serving until Ctrl-C.", flush=True)
            wait_for_ctrl_c(server)
    finally:
        stop(server)
    if not good:
        print(f"error: expected an accuracy of {MIN_ACCURACY:.0%} and more than one row a batch", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
