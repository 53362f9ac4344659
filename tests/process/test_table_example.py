"""The table example: trained, served by `tiffin serve`, called with every media type; the answers are the model's own."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

import tiffin
from tiffin.testing.server import TestServer

pd: Any = pytest.importorskip("pandas", reason="pandas is not installed (make test installs it)")
pa: Any = pytest.importorskip("pyarrow", reason="pyarrow is not installed (make test installs it)")
pytest.importorskip("skops", reason="skops is not installed (make test installs it)")

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "table"


@pytest.mark.timeout(240)
def test_a_table_model_is_trained_served_and_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path / "home"))
    folder = tmp_path / "table"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("model", "__pycache__"))
    command = [sys.executable, "train_wine.py"]
    trained = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.startswith("trained on 138 wines; ")

    text = (folder / "model" / "held_back.csv").read_bytes()
    wines = pd.read_csv(io.BytesIO(text))
    model = tiffin.models.load("wine")
    cultivars = model.predict(wines).tolist()
    sure = model.predict_proba(wines).max(1)
    arrow = io.BytesIO()
    with pa.ipc.new_stream(arrow, (table := pa.Table.from_pandas(wines)).schema) as writer:
        writer.write_table(table)

    with (
        TestServer("wine:Wine", app_dir=folder, options=["--workers", "1"], start_s=100) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as client,
    ):

        def answer(content: bytes, media: str, accept: str = "application/json") -> bytes:
            headers = {"content-type": media, "accept": accept}
            reply = client.post("/predict", content=content, headers=headers, timeout=60)
            assert reply.status_code == 200, reply.text
            assert reply.headers["content-type"].partition(";")[0] == accept
            return reply.content

        def check(found: Any) -> None:
            assert list(found.columns) == ["cultivar", "probability"]
            assert found["cultivar"].tolist() == cultivars
            assert found["probability"].to_numpy() == pytest.approx(sure, abs=1e-12)

        rows = pd.Series({"wines": wines.to_dict("records")}).to_json(double_precision=15).encode()
        columns = pd.Series({"wines": wines.to_dict("list")}).to_json(double_precision=15).encode()
        for content in (rows, columns):
            check(pd.read_json(io.BytesIO(answer(content, "application/json")), precise_float=True))
        check(pd.read_json(io.BytesIO(answer(text, "text/csv")), precise_float=True))
        check(
            pd.read_json(io.BytesIO(answer(wines.to_parquet(), "application/vnd.apache.parquet")), precise_float=True)
        )
        stream = "application/vnd.apache.arrow.stream"
        check(pa.ipc.open_stream(answer(arrow.getvalue(), stream, stream)).read_all().to_pandas())
        check(pd.read_csv(io.BytesIO(answer(text, "text/csv", "text/csv"))))
        check(pd.read_parquet(io.BytesIO(answer(text, "text/csv", "application/vnd.apache.parquet"))))

        gap = client.post("/predict", json={"wines": [{**wines.iloc[0].to_dict(), "hue": None}]})
        assert gap.status_code == 400
        assert gap.json()["error"]["details"] == [{"path": "wines[0].hue", "reason": "expected float64, got null"}]
        wrong = client.post(
            "/predict", content=text.replace(b"proline", b"prolin"), headers={"content-type": "text/csv"}
        )
        assert wrong.status_code == 400
        assert wrong.json()["error"]["details"] == [
            {"path": "wines.proline", "reason": "required, but missing"},
            {"path": "wines.prolin", "reason": "unknown column"},
        ]
