"""The demo, as CI sees it: a real network, real images, answers compared with the truth."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "examples" / "digits" / "demo.py"


@pytest.mark.torch
@pytest.mark.timeout(180)
def test_the_demo_answers_well() -> None:
    run = subprocess.run(
        [sys.executable, str(DEMO)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=170
    )
    assert run.returncode == 0, run.stdout + run.stderr
    accuracy = re.search(r"^accuracy (\d+\.\d) % on 200 held-back images$", run.stdout, re.MULTILINE)
    assert accuracy is not None
    assert float(accuracy[1]) >= 95
    batch = re.search(r"^mean batch (\d+\.\d) rows$", run.stdout, re.MULTILINE)
    assert batch is not None
    assert float(batch[1]) > 1
    assert re.search(r"^device (cpu|cuda:0) ", run.stdout, re.MULTILINE)
    assert re.search(r"^docs http://127\.0\.0\.1:\d+/docs$", run.stdout, re.MULTILINE)
