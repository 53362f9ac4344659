"""The near side of `fetch_world`: starts it, tells it what to do, and sees to it that no canary saw a connection."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.fetch_world import INNER, PUBLIC

ROOT = Path(__file__).parents[2]
UNSHARE = ["unshare", "--net", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


class World:
    """The other side of `fetch_world`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def tell(self, order: dict[str, Any]) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self.read()

    def read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the world ended"
        return json.loads(line)

    def fetch(
        self, *urls: str, trusts: bool = True, concurrency: int = 8, deadline_s: float = 30, **settings: Any
    ) -> Any:
        """Fetch; no canary sees a connection, and no reason names an address or what a server said."""
        order = {
            "urls": urls,
            "trusts": trusts,
            "concurrency": concurrency,
            "deadline_s": deadline_s,
            "settings": settings,
        }
        report = self.tell(order)
        assert set(report["connections"]) <= set(PUBLIC), report["connections"]
        assert report["leaks"] == 0  # of all fetches so far: a connection may be counted late
        for outcome in report["outcomes"]:
            if "refused" in outcome:
                assert outcome["code"] == "INVALID_INPUT"
                assert outcome["details"][0]["path"] == "image"
                told = json.dumps(outcome)
                assert not [word for word in (*PUBLIC, *INNER[:-5], "secret", "Errno") if word in told]
        return report

    def refused(self, *urls: str, **options: Any) -> list[str]:
        """Return the reasons why all of these are refused."""
        outcomes = self.fetch(*urls, **options)["outcomes"]
        assert [url for url, outcome in zip(urls, outcomes, strict=True) if "refused" not in outcome] == []
        return [outcome["details"][0]["reason"] for outcome in outcomes]


def made_world() -> Iterator[World]:
    """Make a world for a fixture of a module."""
    if not (shutil.which("unshare") and shutil.which("ip")):
        pytest.skip("unshare (util-linux) or ip (iproute2) is not installed")
    if subprocess.run([*UNSHARE, "ip", "link", "set", "lo", "up"], capture_output=True, check=False).returncode:
        pytest.skip("this process may not make a network namespace (unshare --net --mount)")
    environ = {
        **os.environ,
        "http_proxy": "http://127.0.0.1:80",
        "HTTPS_PROXY": "http://127.0.0.1:80",
        "ALL_PROXY": "http://127.0.0.1:80",
    }
    with subprocess.Popen(
        [*UNSHARE, sys.executable, "-m", "tests.process.fetch_world"],
        cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            world = World(process)
            assert world.read() == "ready"
            yield world
            world.fetch()
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(20) == 0
        finally:
            process.kill()
