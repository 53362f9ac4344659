"""A Tiffin server within the world of `fetch_world`, and clients that call it: what its orders with "server" do."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from tiffin.testing.server import TestServer


class Serving:
    """One server at a time.

    Args:
        gate: opens the way for what waits at /gate.
    """

    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate
        self.server: TestServer | None = None
        self.begun: list[tuple[threading.Thread, dict[str, Any]]] = []

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Start ({"env"}), ask and wait ({"requests"}), ask without waiting, open the gate and collect, stop."""
        what = order["server"]
        if what == "start":
            self.stop()
            self.gate.clear()
            self.server = TestServer("fetch_services.py:Pictures", app_dir=Path(__file__).parent, env=order["env"])
            self.server.__enter__()
            return {"pids": self.server.worker_pids()}
        if what == "ask":
            return {"answers": self.collect(self.begin(order["requests"]))}
        if what == "begin":
            self.begun += self.begin(order["requests"])
            return {}
        if what == "open":
            self.gate.set()
            begun, self.begun = self.begun, []
            return {"answers": self.collect(begun), "pids": self.server.worker_pids() if self.server else []}
        if what == "look":
            return {"answered": sum(1 for _thread, answer in self.begun if answer)}
        self.stop()
        return {}

    def begin(self, requests: list[dict[str, str]]) -> list[tuple[threading.Thread, dict[str, Any]]]:
        begun: list[tuple[threading.Thread, dict[str, Any]]] = []
        for request in requests:
            answer: dict[str, Any] = {}
            thread = threading.Thread(target=self.request, args=(request, answer), daemon=True)
            thread.start()
            begun.append((thread, answer))
        return begun

    def request(self, request: dict[str, str], answer: dict[str, Any]) -> None:
        assert self.server is not None
        started = time.monotonic()
        status, _headers, body = self.server.request(
            "POST", request["path"], bytes.fromhex(request["body"]), {"content-type": request["type"]}
        )
        answer.update(status=status, body=body.decode("latin-1"), seconds=time.monotonic() - started)

    def collect(self, begun: list[tuple[threading.Thread, dict[str, Any]]]) -> list[dict[str, Any]]:
        for thread, _answer in begun:
            thread.join(60)
        return [answer for _thread, answer in begun]

    def stop(self) -> None:
        """Stop the server if there is one."""
        server, self.server = self.server, None
        if server is not None:
            self.gate.set()
            server.__exit__(None, None, None)
