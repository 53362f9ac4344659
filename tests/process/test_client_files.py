"""The clients' files and tables against a server that takes and gives them."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tiffin
from tiffin.testing import TestServer

FILES = importlib.util.find_spec("tiffin.codecs.files") is not None and importlib.util.find_spec("PIL") is not None
TABLES = importlib.util.find_spec("tiffin.codecs.tables") is not None and importlib.util.find_spec("pandas") is not None

SERVICE = """
from pathlib import Path
import tiffin
from PIL import Image

@tiffin.service
class Pictures:
    @tiffin.api
    def size(self, image: Image.Image, note: str | None = None, times: int = 1) -> dict[str, int]:
        return {"width": image.width * times, "height": image.height * times, "note": len(note or "")}

    @tiffin.api
    def turn(self, image: Image.Image, /) -> Image.Image:
        return image.rotate(180)

    @tiffin.api
    def turn_all(self, images: list[Image.Image]) -> list[Image.Image]:
        return [image.rotate(180) for image in images]

    @tiffin.api
    def measure(self, path: Path, more: bytes = b"") -> list[int]:
        return [path.stat().st_size, len(more)]
"""

TABLE_SERVICE = """
import pandas as pd
import tiffin

@tiffin.service
class Tables:
    @tiffin.api
    def same(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame

    @tiffin.api
    def scaled(self, frame: pd.DataFrame, by: float) -> pd.DataFrame:
        return frame.assign(a=frame["a"] * by)
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "pictures_service.py").write_text(SERVICE)
    with TestServer("pictures_service:Pictures", app_dir=folder) as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture
def picture(tmp_path: Path) -> Any:
    image = importlib.import_module("PIL.Image").new("RGB", (40, 30), "red")
    image.putpixel((0, 0), (0, 0, 255))
    image.save(tmp_path / "a.png")
    return image


files = pytest.mark.skipif(not FILES, reason="this Tiffin serves no files, or Pillow is not installed")


@files
def test_pictures_go_by_path_as_an_open_file_as_bytes_and_as_they_are(url, picture, tmp_path):
    path = tmp_path / "a.png"
    with tiffin.SyncHTTPClient(url) as client, path.open("rb") as file:
        size = {"width": 80, "height": 60, "note": 4}
        assert client.size(image=path, note="null", times=2) == size
        assert (
            client.size(file, "null", 2)
            == client.size(path.read_bytes(), "null", 2)
            == client.size(picture, "null", 2)
            == size
        )
        assert client.size(picture, note=None)["note"] == 0


@files
def test_pictures_come_as_bytes_or_as_pictures(url, picture):
    image = importlib.import_module("PIL.Image")
    with tiffin.SyncHTTPClient(url) as client:
        found = client.turn(picture)
        assert image.open(io.BytesIO(found)).getpixel((39, 29)) == (0, 0, 255)
        assert client.with_options(pictures=True).turn(picture).getpixel((39, 29)) == (0, 0, 255)
        many = client.turn_all([picture, picture])
        assert [image.open(io.BytesIO(one)).getpixel((39, 29)) for one in many] == [(0, 0, 255)] * 2
        assert client.turn_all([]) == []


@files
def test_large_files_go_from_both_clients(url, tmp_path):
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(5_000_001))

    async def run() -> list[int]:
        async with tiffin.AsyncHTTPClient(url) as client:
            found: list[int] = await client.measure(path, more=b"12")
            return found

    with tiffin.SyncHTTPClient(url) as client:
        assert client.measure(path) == [5_000_001, 0]
    assert asyncio.run(run()) == [5_000_001, 2]


@files
def test_files_from_a_shell(url, picture, tmp_path):
    def call(*arguments: str) -> bytes:
        done = subprocess.run(
            [sys.executable, "-m", "tiffin", "call", url, *arguments],
            cwd=tmp_path,
            capture_output=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert (
        call("size", "--file", "image=@a.png", "-F", "note=ab", "-F", "times=3")
        == b'{"width":120,"height":90,"note":2}\n'
    )
    call("turn", "-f", "image=@a.png", "-o", "b.png")
    assert importlib.import_module("PIL.Image").open(tmp_path / "b.png").getpixel((39, 29)) == (0, 0, 255)


@pytest.mark.skipif(not TABLES, reason="this Tiffin serves no tables, or pandas is not installed")
def test_tables_go_and_come(tmp_path):
    pd = importlib.import_module("pandas")
    frame = pd.DataFrame(
        {"a": [1, 2], "b": [0.1, None], "c": ["x", None], "t": pd.to_datetime(["2026-01-01", "2026-01-02"])}
    )
    (tmp_path / "tables_service.py").write_text(TABLE_SERVICE)
    with TestServer("tables_service:Tables", app_dir=tmp_path) as server:
        with tiffin.SyncHTTPClient(f"http://127.0.0.1:{server.port}") as client:
            if importlib.util.find_spec("pyarrow") is not None:
                assert client.same(frame).equals(frame)
            assert client.same([{"a": 1}]).to_dict("records") == [{"a": 1}]
            assert client.scaled(frame[["a", "b"]], by=2.0)["a"].tolist() == [2, 4]
