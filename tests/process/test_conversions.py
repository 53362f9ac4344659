"""Models converted: from each framework to each format, the numbers checked; what cannot be is said."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.timeout(240)]

PREPARE = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np
import tiffin
rows = np.random.default_rng(0).random((8, 4)).astype("float32")
what = sys.argv[1]
if what in ("module", "export", "torchscript"):
    import torch
    sys.path.insert(0, sys.argv[2])
    from trained_classes import Network
    torch.manual_seed(0)
    options = {"init": {"hidden": 5}} if what == "module" else {"format": what}
    tiffin.torch.save("m", Network(hidden=5).eval(), example=rows, **options)
elif what == "transformers":
    from trained import bert
    import transformers
    model, tokenizer = bert()
    tiffin.transformers.save("m", model, tokenizer=tokenizer, task="text-classification")
elif what == "sklearn":
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    flowers, kinds = load_iris(return_X_y=True)
    flowers = flowers.astype("float32")
    tiffin.sklearn.save("m", LogisticRegression(max_iter=300).fit(flowers, kinds), example=flowers[::10], call="predict_proba")
elif what == "keras":
    tiffin.tensorflow.setup()
    import keras
    tiffin.keras.save("m", keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)]), example=rows)
made = tiffin.models.convert("m", sys.argv[3], quantize=sys.argv[4] or None)
model = tiffin.models.get(made.ref)
print("RESULT", made.difference, made.agreement, model.info.format, model.info.code, len(made.lines), made.ref)
"""

CASES = [
    ("module", "onnx", ""),
    ("module", "onnx", "int8"),
    ("module", "safetensors", ""),
    ("module", "torchscript", ""),
    ("export", "onnx", ""),
    ("torchscript", "onnx", ""),
    ("transformers", "onnx", "int8"),
    ("sklearn", "onnx", ""),
    ("keras", "onnx", ""),
]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    here = Path(__file__).parent
    return subprocess.run(
        [sys.executable, "-c", PREPARE, arguments[0], str(here), *arguments[1:]],
        cwd=folder,
        env={
            **os.environ,
            "TIFFIN_HOME": str(folder / "home"),
            "PYTHONPATH": f"{here}{os.pathsep}{here.parents[1]}",
            "CUDA_VISIBLE_DEVICES": "",
            "HF_HUB_OFFLINE": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.parametrize(("source", "to", "quantize"), CASES)
def test_a_converted_model_answers_as_the_original(source: str, to: str, quantize: str, tmp_path: Path) -> None:
    for name in ("torch", "onnx", "onnxruntime", "onnxscript", "skl2onnx", "skops", "transformers", "safetensors"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed (make test installs it)")
    if source == "keras":
        for name in ("keras", "tensorflow", "tf2onnx"):
            if importlib.util.find_spec(name) is None:
                pytest.skip(f"{name} is not installed (make test installs it)")
    done = run(tmp_path, source, to, quantize)
    assert done.returncode == 0, done.stderr[-3000:]
    _, difference, agreement, format, code, lines, ref = done.stdout.strip().splitlines()[-1].split()
    assert float(difference) <= (0.2 if quantize else 1e-4)
    assert agreement in ("None", "1.0") or quantize
    assert (format, code, lines) == (to, "False", "2")
    assert ref.startswith(f"m-{to}{f'-{quantize}' if quantize else ''}:")


@pytest.mark.parametrize(
    ("source", "to", "quantize", "reason"),
    [
        ("sklearn", "torchscript", "", "no way from sklearn to torchscript"),
        ("module", "safetensors", "int8", "quantizing works on ONNX"),
        ("module", "tflite", "", "is no target"),
    ],
)
def test_what_cannot_be_converted_is_said(source: str, to: str, quantize: str, reason: str, tmp_path: Path) -> None:
    for name in ("torch", "safetensors", "skops"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed (make test installs it)")
    done = run(tmp_path, source, to, quantize)
    assert done.returncode != 0
    assert reason in done.stderr
