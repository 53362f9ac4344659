"""The eight files of docs/architecture.md are those that a real call passes, in that order."""

from __future__ import annotations

import re
import time
from pathlib import Path

from tiffin.testing import TestServer

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "architecture.md"

# Runs at the start of every process: notes when which file of Tiffin's runs.
TRACER = """
import os, sys, threading, time
log = os.open(os.environ["LIFE_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def note(frame, event, _argument, last=[""]):
    if event == "call":
        name = frame.f_code.co_filename
        if "/tiffin/" in name and name != last[0]:
            last[0] = name
            os.write(log, f"{time.monotonic_ns()} {name}\\n".encode())
sys.setprofile(note)
threading.setprofile(note)
"""


def test_a_real_call_passes_the_eight_files_in_order(tmp_path: Path) -> None:
    listed = re.findall(r"^\d\. `([a-z_]+/[a-z_]+\.py)`", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(listed) == 8, listed
    (tmp_path / "sitecustomize.py").write_text(TRACER)
    log = tmp_path / "log"
    env = {"LIFE_LOG": str(log), "PYTHONPATH": str(tmp_path)}
    with TestServer("services.py:Faulty", app_dir=HERE, env=env) as server:
        server.post("/double", {"x": 1})
        time.sleep(0.2)
        began = time.monotonic_ns()
        assert server.post("/double", {"x": 2}) == (200, 4.0)
    events = sorted((int(when), name) for when, name in (line.split(" ", 1) for line in log.read_text().splitlines()))
    passed = ["/".join(Path(name).parts[-2:]) for when, name in events if when > began]
    at = 0
    for file in listed:
        assert file in passed[at:], f"after {listed[: listed.index(file)]} the call did not pass {file}"
        at = passed.index(file, at)
