"""The code in the pages: every Python block compiles, and the README's first service answers as the README says."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [text for name, text in BLOCK.findall(page.read_text()) if name == language]


PYTHON = [(page, number) for page in PAGES for number in range(len(blocks(page, "python")))]


@pytest.mark.parametrize(
    ("page", "number"), PYTHON, ids=[f"{page.relative_to(ROOT)}:{number}" for page, number in PYTHON]
)
def test_block_compiles(page: Path, number: int) -> None:
    compile(ast.parse(blocks(page, "python")[number]), str(page), "exec")


@pytest.mark.parametrize("number", range(len(blocks(ROOT / "README.md", "python"))))
def test_readme_block_runs(number: int) -> None:
    exec(compile(blocks(ROOT / "README.md", "python")[number], "README.md", "exec"), {"__name__": "readme"})


def test_readme_service_gives_the_readme_answer_in_plain_python() -> None:
    readme = ROOT / "README.md"
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(blocks(readme, "python")[0], "README.md", "exec"), names)
    command, answer = re.findall(r"^\$ (curl .*)\n(.*)$", "\n".join(blocks(readme, "console")), re.MULTILINE)[0]
    words = shlex.split(command)
    body = json.loads(words[words.index("-d") + 1])
    assert names["Iris"]().classify(np.array(body["flowers"])) == json.loads(answer)


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)} -> {target}"
        for page in PAGES
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_the_first_screen_is_small() -> None:
    code = [line for line in blocks(ROOT / "README.md", "python")[0].splitlines() if line.strip()]
    assert len(code) <= 12
