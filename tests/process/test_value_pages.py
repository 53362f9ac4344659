"""The pages of values and of clients, done as a reader does it: their blocks run, their commands and errors say what is written."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import PIL.Image
import pytest

import tiffin
from tiffin.testing import TestServer

pd: Any = pytest.importorskip("pandas", reason="pandas is not installed (make test installs it)")

DOCS = Path(__file__).resolve().parents[2] / "docs"
CLIENTS = (DOCS / "clients.md").read_text()
VALUES = (DOCS / "values.md").read_text()
HERE = "http://127.0.0.1:3000"
Wines = Annotated[pd.DataFrame, tiffin.Columns({"alcohol": "float64", "proline": "float64"}, missing=False)]

pytestmark = pytest.mark.timeout(180)


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("digits")
    (folder / "digits.py").write_text(blocks(CLIENTS, "python")[0])
    with TestServer("digits:Digits", app_dir=folder) as server:
        yield f"http://127.0.0.1:{server.port}"


def test_the_clients_blocks_run_one_after_the_other(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = blocks(CLIENTS, "python")[1:]
    assert len(code) == 3
    names: dict[str, Any] = {"__name__": "clients"}
    for block in code:
        exec(compile(block.replace(HERE, url), "clients.md", "exec", dont_inherit=True), names)
    said = capsys.readouterr().out
    assert said.startswith("zero \nor \nmaybe \n")
    assert said.endswith(blocks(CLIENTS, "text")[0])


def test_the_commands_say_what_is_written(url: str, tmp_path: Path) -> None:
    for session in blocks(CLIENTS, "console"):
        for part in session.split("$ ")[1:]:
            line, _, written = part.partition("\n")
            command = f"{sys.executable} -m {line}".replace(HERE, url)
            done = subprocess.run(
                command, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
            )
            said = "\n".join(row.rstrip() for row in (done.stdout + done.stderr).replace(url, HERE).splitlines())
            assert said == written.rstrip("\n"), line


@tiffin.service
class Taker:
    """Takes what the page's two examples take."""

    @tiffin.api(batchable=True, one_row=True)
    def read(self, images: list[PIL.Image.Image]) -> list[int]:
        """Return the widths."""
        return [image.width for image in images]

    @tiffin.api
    def predict(self, wines: Wines) -> int:
        """Return the number of rows."""
        return len(wines)


def test_the_errors_of_the_values_page_are_what_a_client_sees() -> None:
    picture = io.BytesIO()
    PIL.Image.effect_noise((200, 200), 50).save(picture, "JPEG")
    whole, rows = picture.getvalue(), "alcohol,proline\n13,1015\n{},342\n"
    csv = {"content-type": "text/csv"}
    with tiffin.serve(Taker) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        assert client.post("/read", files={"images": whole}).json() == 200
        assert client.post("/predict", content=rows.format(12), headers=csv).json() == 2
        answers = [
            client.post("/read", files={"images": whole[:2000]}),
            client.post("/read", files={"images": b"import os"}),
            client.post("/read", json={"images": "https://example.com/cat.jpg"}),
            client.post("/read", files={"image": whole}),
            client.post("/predict", content=rows.format("dry"), headers=csv),
            client.post("/predict", content="alcohol\n13\n", headers=csv),
        ]
    assert {answer.status_code for answer in answers} == {400}
    said = "".join(answer.json()["error"]["message"] + "\n" for answer in answers)
    number = re.compile(r"\d+ bytes not")
    assert number.sub("", said) == number.sub("", blocks(VALUES, "text")[0])
