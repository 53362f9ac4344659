"""The example with photographs: trained, served, and asked as clients ask."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import PIL.Image
import pytest

from tiffin.codecs.multipart import read_parts
from tiffin.config.parts import FilesConfig
from tiffin.testing.server import TestServer

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "images"

pytestmark = [pytest.mark.torch, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    folder = tmp_path_factory.mktemp("model")
    subprocess.run([sys.executable, "learn.py", str(folder)], cwd=EXAMPLE, check=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def client(model: Path) -> Iterator[httpx.Client]:
    with TestServer("pictures:Pictures", app_dir=EXAMPLE, env={"PICTURES_MODEL": str(model)}) as server:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60, trust_env=False) as client:
            yield client


def test_photographs_are_read(client: httpx.Client, model: Path) -> None:
    photos = sorted((model / "photos").iterdir())
    assert len(photos) == 100

    def read(photo: Path) -> bool:
        answer = client.post("/read", content=photo.read_bytes(), headers={"content-type": "image/jpeg"})
        return bool(answer.json() == int(photo.stem[-1]))

    with ThreadPoolExecutor(8) as pool:
        right = sum(pool.map(read, photos))
    assert right >= 93


def test_a_form_says_the_same_as_the_raw_photograph(client: httpx.Client, model: Path) -> None:
    photo = min((model / "photos").iterdir()).read_bytes()
    raw = client.post("/read", content=photo, headers={"content-type": "image/jpeg"}).json()
    assert client.post("/read", files={"images": ("x.jpg", photo)}).json() == raw
    assert client.post("/read", json={"images": base64.b64encode(photo).decode()}).json() == raw


def test_an_answer_with_a_picture_is_a_form_or_json(client: httpx.Client, model: Path) -> None:
    photo = min((model / "photos").iterdir()).read_bytes()
    answer = client.post("/look", files={"image": photo})
    parts = {part.name: part for part in read_parts(answer.headers["content-type"], answer.content, FilesConfig())}
    assert parts["digit"].data == str(client.post("/read", files={"images": photo}).json()).encode()
    assert PIL.Image.open(io.BytesIO(parts["seen"].data)).size == (16, 16)
    answer = client.post("/look", files={"image": photo}, headers={"accept": "application/json"})
    assert base64.b64decode(answer.json()["seen"]) == bytes(parts["seen"].data)


def test_half_a_photograph_is_refused(client: httpx.Client, model: Path) -> None:
    photo = min((model / "photos").iterdir()).read_bytes()
    answer = client.post("/read", files={"images": photo[: len(photo) // 2]})
    assert answer.status_code == 400
    assert answer.json()["error"]["details"][0]["path"] == "images"
