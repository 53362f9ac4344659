"""A small closed-loop load: threads with kept connections, every answer noted."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self


class Load:
    """Sends the same kind of call from many connections until the block ends.

    Args:
        port: of the server. path: of the method. connections: threads.
        make: call number → JSON content and the answer that is right.

    Attributes:
        outcomes: how often each outcome came: "ok", "wrong", an error code, or the name of a connection's exception.
        problems: the first few outcomes that were not "ok", with what came.
    """

    def __init__(
        self, port: int, path: str, connections: int, make: Callable[[int], tuple[Any, Any]], *, reconnect: bool = False
    ) -> None:
        self._port = port
        self._path = path
        self._make = make
        self._reconnect = reconnect
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(connections)]
        self.outcomes: Counter[str] = Counter()
        self.problems: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self._stop.is_set():
            content, right = self._make(number)
            try:
                connection.request("POST", self._path, json.dumps(content), {"content-type": "application/json"})
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException) as error:
                self._note(type(error).__name__, repr(error))
                connection.close()
                if not self._reconnect:
                    return
                continue
            if response.status == 200:
                self._note("ok" if answer == right else "wrong", f"{content} → {answer}")
            else:
                self._note(answer["error"]["code"], answer["error"]["message"])
        connection.close()

    def _note(self, outcome: str, detail: str) -> None:
        with self._lock:
            self.outcomes[outcome] += 1
            if outcome != "ok" and len(self.problems) < 5:
                self.problems.append(f"{outcome}: {detail}")
