"""The code in the pages: every Python block compiles, and what the pages say of their services and of settings is so."""

from __future__ import annotations

import ast
import json
import re
import shlex
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiffin
from tiffin.codecs.csv_table import MAX_CELLS
from tiffin.codecs.table_bytes import MAX_COLUMNS
from tiffin.config.parts import FetchConfig, FilesConfig, HttpConfig

ROOT = Path(__file__).resolve().parents[2]
VALUES, CLIENTS = ROOT / "docs" / "values.md", ROOT / "docs" / "clients.md"
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


def test_the_service_of_the_values_page_answers_in_plain_python() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed (make test installs it)")
    names: dict[str, Any] = {"__name__": "values"}
    for block in blocks(VALUES, "python"):
        exec(compile(block, "values.md", "exec", dont_inherit=True), names)
    wines = names["pd"].DataFrame({"alcohol": [13.1, 12.9], "hue": [1.0, 0.9]})
    assert names["Wine"]().predict(wines)["strong"].tolist() == [True, False]


def test_the_service_of_the_clients_page_answers_in_plain_python(monkeypatch: pytest.MonkeyPatch) -> None:
    names = vars(page := types.ModuleType("clients_page"))
    monkeypatch.setitem(sys.modules, "clients_page", page)
    exec(compile(blocks(CLIENTS, "python")[0], "clients.md", "exec", dont_inherit=True), names)
    assert names["Digits"]().predict(np.eye(64)[:3]).tolist() == [0, 1, 2]


@pytest.mark.parametrize("page", [VALUES, CLIENTS], ids=lambda page: page.name)
def test_what_a_page_imports_from_tiffin_is_there(page: Path) -> None:
    said = {
        node.attr
        for block in blocks(page, "python")
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tiffin"
    }
    said |= set(re.findall(r"`tiffin\.(\w+)", page.read_text()))
    assert len(said) > 3
    assert said - set(tiffin.__all__) == set()


def test_the_limits_that_the_values_page_names_have_the_values_that_it_names() -> None:
    text = VALUES.read_text()
    files, http = FilesConfig(), HttpConfig()
    assert f"`http.max_body_bytes` ({http.max_body_bytes // 2**20} MiB)" in text
    assert f"{files.max_parts:,} parts, {files.max_part_header_bytes // 1024} KiB of part headers" in text
    assert f"{files.max_field_bytes // 2**20} MiB for a field" in text
    assert f"{files.max_pixels:,} pixels, {files.max_frames} frame" in text
    assert f"{files.max_image_metadata_bytes // 2**20} MiB of metadata" in text
    assert f"({', '.join(name.upper() if name != 'webp' else 'WebP' for name in files.image_formats)})" in text
    assert f"{MAX_COLUMNS:,} flat columns, {MAX_CELLS // 10**6} million cells" in text
    assert not FetchConfig().enabled
