"""The reference page of a service: its examples run as a reader would run them, and its tables say what the code says."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

from tiffin.errors import FACTS
from tiffin.web.meanings import MEANINGS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "service.md"


def test_the_examples_run_one_after_the_other(monkeypatch):
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    page = types.ModuleType("service_page")
    monkeypatch.setitem(sys.modules, "service_page", page)
    for number, block in enumerate(blocks):
        exec(compile(block, f"service.md, block {number}", "exec", dont_inherit=True), vars(page))
    assert len(blocks) > 6
    assert sum(block.count("\nassert ") + block.count("    assert ") for block in blocks) > 8


def test_the_table_of_codes_says_what_the_code_says():
    rows = {
        line.split("`")[1]: line
        for line in PAGE.read_text().splitlines()
        if re.match(r"\| `[A-Z_]+` \| \d{3} \|", line)
    }
    for code, facts in FACTS.items():
        again = "yes" if facts.retryable else "no"
        said = f"| `{code}` | {facts.status} | {again} | {facts.grpc} | {facts.exit} | {MEANINGS[code]} |"
        assert rows.pop(code) == said
    assert rows == {}
