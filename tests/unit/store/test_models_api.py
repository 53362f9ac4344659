"""`tiffin.models` without a framework: folders, side objects, examples, versions, pickles read but never run, foreign sources."""

from __future__ import annotations

import json
import pickle
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiffin
from tiffin.errors import ConfigError, ModelError, NotFoundError, TrustError
from tiffin.store import inspection, models
from tiffin.store.pickles import read_pickle, read_pickles
from tiffin.store.rooms import names, room


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_models_are_where_tiffin_home_says(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert models.home() == home
    monkeypatch.delenv("TIFFIN_HOME")
    monkeypatch.setenv("HOME", "/nobody")
    assert models.home() == Path("/nobody/.tiffin")


def test_a_model_of_ones_own_files() -> None:
    with tiffin.models.create("mine:v1", labels={"a": "b"}) as draft:
        draft.add("weights.bin", b"w" * 100)
        (draft.files / "more").mkdir()
        (draft.files / "more" / "x.txt").write_text("x")
    found = tiffin.models.get("mine")
    assert (found.ref, found.labels, found.trusted) == ("mine:v1", {"a": "b"}, True)
    assert (found.load() / "more" / "x.txt").read_text() == "x"
    with pytest.raises(RuntimeError), tiffin.models.create("mine:v2") as draft:
        draft.add("weights.bin", b"w")
        raise RuntimeError
    assert [one.version for one in tiffin.models.list("mine")] == ["v1"]


def test_side_objects_come_back_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("a")
    (tmp_path / "file.json").write_text("{}")
    given: dict[str, Any] = {
        "labels": ["a", "b"],
        "map": {"x": 1, "y": None},
        "text": "häßlich",
        "raw": b"\0\1",
        "array": np.arange(6, dtype=np.float32).reshape(2, 3),
        "folder": tmp_path / "folder",
        "file": tmp_path / "file.json",
    }
    model = tiffin.models.save("m", tmp_path / "folder", objects=given)
    for name in ("labels", "map", "text", "raw"):
        assert model.object(name) == given[name]
    assert np.array_equal(model.object("array"), given["array"])
    assert (model.object("folder") / "a.txt").read_text() == "a"
    assert model.object("file").read_text() == "{}"
    with pytest.raises(NotFoundError) as caught:
        model.object("label")
    assert "'labels'" in caught.value.hint


class Custom:
    """Something that only pickle can write."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Custom)

    __hash__ = None  # type: ignore[assignment]


def test_a_side_object_that_only_pickle_can_write_needs_trust(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("f")
    with pytest.raises(ModelError, match="cannot be written without pickle"):
        tiffin.models.save("m", tmp_path / "f", objects={"x": (1, 2)})
    model = tiffin.models.save("m", tmp_path / "f", objects={"x": Custom()}, trusted=True)
    assert model.info.code
    assert model.object("x") == Custom()
    archive = tiffin.models.export(model.ref, tmp_path)
    tiffin.models.delete(model.ref)
    with pytest.raises(TrustError):
        tiffin.models.import_(archive)


def test_an_object_that_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no framework knows how to save") as caught:
        tiffin.models.save("m", Custom())
    assert "trusted=True" in caught.value.hint
    with pytest.raises(TrustError):
        tiffin.models.save("m", Custom(), framework="pickle")
    with pytest.raises(ModelError, match="framework 'sklear' is not known") as caught:
        tiffin.models.save("m", Custom(), framework="sklear")
    assert "'sklearn'" in caught.value.hint
    model = tiffin.models.save("m", Custom(), framework="pickle", trusted=True)
    assert model.load() == Custom()
    with pytest.raises(ModelError, match="option 'devise' does not exist"):
        model.load(devise="cpu")


@pytest.mark.parametrize(
    "example",
    [np.ones((2, 3), np.float32), {"a": np.arange(4), "b": np.zeros((4, 2))}, ["one", "two"], [[1.0, 2.0], [3.0, 4.0]]],
)
def test_examples_come_back(tmp_path: Path, example: Any) -> None:
    (tmp_path / "f").write_text("f")
    found = tiffin.models.save("m", tmp_path / "f", example=example).example
    if isinstance(example, dict):
        assert set(found) == set(example)
        assert all(np.array_equal(found[name], example[name]) for name in example)
    elif isinstance(example[0], str):
        assert found == example
    else:
        assert np.array_equal(found, example)


def test_an_example_of_python_objects_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("f")
    with pytest.raises(ModelError, match="no array of numbers or text"):
        tiffin.models.save("m", tmp_path / "f", example=np.array([Custom()], dtype=object))
    assert tiffin.models.list() == []


def test_every_room_keeps_the_contract() -> None:
    known = {"torch", "lightning", "transformers", "sentence_transformers", "onnx", "keras", "tensorflow", "sklearn"}
    assert known | {"xgboost", "lightgbm", "catboost", "folder", "pickle"} <= set(names())
    for name in names():
        found = room(name)
        assert found.name == name
        assert found.claims(object()) is False
        assert found.detect(Path("/nothing/here")) is None
        assert found.examine(Path("/nothing/here")) == []
        assert found.differences("any", {"numpy": "1.0"}, {"numpy": "1.0"}) == ("", False)


def test_other_versions_of_the_framework_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiffin.models.save("m", Custom(), framework="pickle", trusted=True)
    saved = {"numpy": "1.26.4"}
    object.__setattr__(model, "_stored", model._stored._replace(manifest=_with_versions(model.info, saved)))
    with pytest.warns(models.VersionWarning, match=r"saved with numpy 1\.26\.4, here is 2"):
        model.load()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        object.__setattr__(model, "_stored", model._stored._replace(manifest=_with_versions(model.info, {})))
        model.load()


def _with_versions(info: Any, versions: dict[str, str]) -> Any:
    import msgspec

    return msgspec.structs.replace(info, versions=versions)


def test_versions_that_are_known_to_break_are_an_error() -> None:
    keras = room("keras")
    text, breaks = keras.differences("keras", {"keras": "2.15.0"}, {"keras": "3.15.1"})
    assert breaks
    assert "saved with keras 2.15.0, here is 3.15.1: Keras 2 and Keras 3 do not read each other" in text
    assert not keras.differences("keras", {"keras": "3.10.0"}, {"keras": "3.15.1"})[1]
    torch = room("torch")
    assert torch.differences("export", {"torch": "2.14.0"}, {"torch": "2.13.0+cpu"})[1]
    assert not torch.differences("safetensors", {"torch": "2.14.0"}, {"torch": "2.13.0"})[1]
    assert torch.differences("safetensors", {"torch": "2.13.0"}, {"torch": "2.13.5"}) == ("", False)


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_are_read_as_programs(protocol: int) -> None:
    import collections

    found = read_pickle(pickle.dumps([collections.OrderedDict(a=1), print], protocol=protocol), "x")
    assert {name.replace("__builtin__", "builtins") for name in found.names} >= {
        "collections.OrderedDict",
        "builtins.print",
    }
    assert len(found.dangerous) == 1
    assert found.problem == ""


def test_a_name_that_a_pickle_computes_is_dangerous() -> None:
    program = b"\x80\x04\x8c\x02os\x8c\x06systemq\x00\x30\x30\x8c\x02osh\x00\x93."
    found = read_pickle(program, "x")
    assert found.dangerous == ["os.system"]
    assert read_pickle(b"\x80\x04\x95garbage", "x").problem
    assert read_pickle(b"", "x").names == []


def test_inspect_lists_what_a_folder_would_run(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.pkl").write_bytes(pickle.dumps(print))
    (tmp_path / "m" / "readme.txt").write_text("hello")
    found = inspection.inspect(tmp_path / "m")
    assert found.looked == 2
    assert found.dangerous == ["model.pkl imports builtins.print"]
    assert not found.clean
    (tmp_path / "m" / "model.pkl").unlink()
    assert inspection.inspect(tmp_path / "m").clean
    (tmp_path / "m" / "link").symlink_to("/etc/passwd")
    with pytest.raises(ModelError, match="is a link"):
        inspection.inspect(tmp_path / "m")
    assert read_pickles(tmp_path / "m" / "readme.txt")[0].names == []


def test_import_of_what_is_not_there_or_nobodys(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        tiffin.models.import_(tmp_path / "none")
    (tmp_path / "x.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match="no model that a framework here knows"):
        tiffin.models.import_(tmp_path / "x.bin")
    with pytest.raises(ModelError, match="does not exist"):
        tiffin.models.import_("memory://nothing/here.tar")
    with pytest.raises((ConfigError, ModelError)):
        tiffin.models.import_("gopher://x/y.tar")


def test_a_url_round_trip(tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    (tmp_path / "f").write_text("f")
    model = tiffin.models.save("m", tmp_path / "f")
    place = tiffin.models.export(model.ref, "memory://bucket/models/")
    tiffin.models.delete(model.ref)
    assert tiffin.models.import_(place).info == model.info


def hub(folder: Path) -> types.ModuleType:
    """A hub that has one repository; downloads what the patterns leave."""
    module = types.ModuleType("huggingface_hub")
    errors = types.ModuleType("huggingface_hub.errors")
    errors.HfHubHTTPError = type("HfHubHTTPError", (OSError,), {})  # type: ignore[attr-defined]
    errors.LocalEntryNotFoundError = type("LocalEntryNotFoundError", (OSError,), {})  # type: ignore[attr-defined]

    def snapshot_download(name: str, *, revision: str | None, local_dir: str, ignore_patterns: Any, **_: Any) -> None:
        if name != "team/tiny":
            raise errors.HfHubHTTPError("404 no such repository")
        for path in folder.iterdir():
            if not any(path.match(pattern) for pattern in ignore_patterns or ()):
                (Path(local_dir) / path.name).write_bytes(path.read_bytes())

    module.snapshot_download = snapshot_download  # type: ignore[attr-defined]
    module.errors = errors  # type: ignore[attr-defined]
    return module


def test_the_hub_gives_safetensors_and_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    (repository / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    (repository / "pytorch_model.bin").write_bytes(pickle.dumps(print))
    (repository / "modeling.py").write_text("raise SystemExit")
    fake = hub(repository)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", fake.errors)
    model = tiffin.models.import_("hf://team/tiny@main")
    assert model.name == "tiny"
    assert sorted(entry.path for entry in model.info.files) == ["config.json", "model.safetensors"]
    assert (model.info.code, model.metadata) == (False, {"source": "hf://team/tiny@main"})
    assert "pytorch_model.bin" in {
        e.path for e in tiffin.models.import_("hf://team/tiny", "all", trusted=True).info.files
    }
    with pytest.raises(NotFoundError, match="cannot be had"):
        tiffin.models.import_("hf://team/other")
    with pytest.raises(ModelError, match="not a model of the hub"):
        tiffin.models.import_("hf://../x/y/z")


def test_an_mlflow_model(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
    )
    folder = tmp_path / "flow"
    folder.mkdir()
    onnx.save(helper.make_model(graph), folder / "model.onnx")
    (folder / "MLmodel").write_text(
        "flavors:\n  onnx:\n    data: model.onnx\n  python_function:\n    loader_module: os\n"
    )
    model = tiffin.models.import_(folder, "flow")
    assert (model.info.framework, [entry.path for entry in model.info.files]) == ("onnx", ["model.onnx"])
    assert model.info.signatures["predict"].batch_dim == 0
    for text in ("flavors: {onnx: [1]}", "flavors: 3", "a: b", "[", "flavors: {onnx: {data: [1]}}"):
        (folder / "MLmodel").write_text(text)
        with pytest.raises(ModelError, match="MLmodel"):
            tiffin.models.import_(folder, "flow3")
    (folder / "MLmodel").write_text("flavors: {onnx: {data: model.onnx}}\nsignature: {inputs: '[1]'}\n")
    assert tiffin.models.import_(folder, "flow4").info.signatures["predict"].batch_dim == 0
    (folder / "MLmodel").write_text("flavors:\n  spark: {}\n")
    with pytest.raises(ModelError, match="flavors spark"):
        tiffin.models.import_(folder, "flow2")


def test_labels_and_metadata_that_would_be_lost_are_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("f")
    with pytest.raises(ModelError, match="label 'epoch': 3 is not text") as caught:
        tiffin.models.save("m", tmp_path / "f", labels={"epoch": 3})  # type: ignore[dict-item]
    assert "'3'" in caught.value.hint
    for value in (np.float64(0.5), float("nan"), {1, 2}, Path("x")):
        with pytest.raises(ModelError, match="metadata 'a' is not JSON"):
            tiffin.models.save(
                "m", tmp_path / "f", metadata={"a": value if not isinstance(value, float) else float("nan")}
            )
    assert tiffin.models.list() == []


def test_a_file_that_a_manifest_names_is_one_of_the_model(tmp_path: Path) -> None:
    for name in ("../../../../etc/hostname", "/etc/passwd", "none"):
        with tiffin.models.create(f"m-{name.count('.')}{name[-1]}", options={"file": name}) as draft:
            draft.add("x", b"x")
    for model in tiffin.models.list():
        with pytest.raises(ModelError, match="is no file of this model"):
            model.load()


def test_inspect_says_what_the_manifest_would_import(tmp_path: Path) -> None:
    with tiffin.models.create("m", framework="torch", format="safetensors", options={"class": "evil:Net"}) as draft:
        draft.add("model.safetensors", b"\x02\0\0\0\0\0\0\0{}")
    found = inspection.inspect_stored(tiffin.models.get("m")._stored)
    assert "evil:Net" in found.runs[0]
    assert not found.clean
