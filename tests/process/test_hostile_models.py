"""Cases S-MODEL: models that a stranger made are imported, listed, shown, inspected and loaded, and none of their code runs.

One process does it all under an audit hook (`hostile.py`); each test looks at one family in what it reports.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
pytestmark = [pytest.mark.torch, pytest.mark.tensorflow, pytest.mark.timeout(240)]


OPTIMIZED = [pytest.param(flag, marks=pytest.mark.long) for flag in ("-O", "-OO")]  # compiles all of the libraries anew


@pytest.fixture(scope="module", params=["", *OPTIMIZED])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """S-MODEL-08: the same under `python -O` and `-OO`."""
    for name in ("torch", "keras", "onnx", "skops", "xgboost", "lightgbm", "catboost", "joblib", "cloudpickle"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    folder = tmp_path_factory.mktemp("hostile")
    done = subprocess.run(
        [sys.executable, *filter(None, [request.param]), str(HERE / "hostile.py"), str(folder)],
        env={
            **os.environ,
            "TIFFIN_HOME": str(folder / "home"),
            "HF_HUB_OFFLINE": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "",
        },
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_no_foreign_code_ran(report: dict[str, Any]) -> None:
    assert report["events"] == []
    assert report["canary"] is False


def test_what_is_data_loads_without_trust(report: dict[str, Any]) -> None:
    assert {name for name, said in report["imports"].items() if said == "loaded"} == {"good.keras", "good.safetensors"}
    assert [name for name, said in report["written"].items() if said == "loaded"] == []


PICKLES = [
    "plain.pkl",
    "cloud.pkl",
    "jobs.joblib",
    *(f"protocol{number}.pkl" for number in range(6)),
    "flow",
    "pickled",
]


@pytest.mark.parametrize("name", PICKLES)
def test_s_model_01_pickles_need_trust(report: dict[str, Any], name: str) -> None:
    assert report["imports"][name].startswith("TrustError")


@pytest.mark.parametrize(
    "name",
    [
        "checkpoint.pt",
        "module.pt",
        "legacy.pth",
        "expression.pt2",
        "weights.pt2",
        "old.pt2",
        "good.pt2",
        "reads.ts",
        "plain.ts",
    ],
)
def test_s_model_02_no_fall_back_from_a_safe_load(report: dict[str, Any], name: str) -> None:
    assert report["imports"][name].startswith("TrustError")
    written = {key: said for key, said in report["written"].items() if key.endswith(f" {name}")}
    assert all("Error" in said for said in written.values())


KERAS = ["lambda", "gadget", "utils", "unsafe", "lookup", "tfsm", "external", "virtual", "link"]


@pytest.mark.parametrize("name", KERAS)
def test_s_model_04_keras_gadgets(report: dict[str, Any], name: str) -> None:
    assert report["imports"][f"{name}.keras"].startswith("TrustError")
    assert "Error" in report["written"][f"keras/keras {name}.keras"]


def test_s_model_04_functions_and_the_old_format(report: dict[str, Any]) -> None:
    assert "custom_objects" in report["imports"]["function.keras"]
    assert report["imports"]["old.h5"].startswith("TrustError")
    assert report["written"]["keras/hdf5 old.h5"].startswith("TrustError")


ONNX = ["up", "absolute", "around", "symlink", "parent", "hardlink", "missing", "empty", "base"]


@pytest.mark.parametrize("name", ONNX)
def test_s_model_05_onnx_weights_outside(report: dict[str, Any], name: str) -> None:
    assert report["imports"][f"{name}.onnx"].startswith("ModelError")


@pytest.mark.parametrize(
    "name", ["auto-map", "other-model", "encoder", "saved", "evil.skops", "kernels", "shards", "padded"]
)
def test_s_model_07_folders_that_name_code_or_other_models(report: dict[str, Any], name: str) -> None:
    assert report["imports"][name].startswith("TrustError")


@pytest.mark.parametrize("name", ["flow-up", "flow-yaml"])
def test_mlflow_folders_that_lead_out_or_run_yaml(report: dict[str, Any], name: str) -> None:
    assert report["imports"][name].startswith("ModelError")


def test_a_manifest_that_lies_about_its_format_is_found_out(report: dict[str, Any]) -> None:
    assert len(report["written"]) > 25
    assert [said for said in report["written"].values() if not said.startswith(("ModelError", "TrustError"))] == []
