"""A made-up HTTP server on 127.0.0.1 for what a real one does too rarely: refusals, resets, drips, forms."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers with the next of the server's answers; /schema.json is the server's."""

    protocol_version = "HTTP/1.1"
    server: StandInServer
    body = b""

    def do_GET(self) -> None:
        self.say(200, self.server.schema)

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.seen.append((self.path, dict(self.headers), self.body))
        self.server.answers.pop(0)(self)

    def say(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {
            "content-type": "application/json",
            "content-length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def reset(self) -> None:
        """Close the connection without a word."""
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class StandInServer(ThreadingHTTPServer):
    daemon_threads = True
    schema: dict[str, Any]
    answers: list[Answer]
    seen: list[tuple[str, dict[str, str], bytes]]


class StandIn:
    """``with StandIn(schema, answer, …) as server: server.url``; `server.seen` has (path, headers, body) of what came."""

    def __init__(self, schema: dict[str, Any], *answers: Answer) -> None:
        self.http = StandInServer(("127.0.0.1", 0), Handler)
        self.http.schema, self.http.answers, self.http.seen = schema, list(answers), []
        self.seen = self.http.seen
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.shutdown()
        self.thread.join(10)
        self.http.server_close()
