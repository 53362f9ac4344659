"""Hostile models, and what is done with them under an audit hook: `python hostile.py FOLDER` prints what happened.

Every model touches a canary when its code runs. The program imports, lists, gets, inspects and loads each of them without trust;
the hook notes every event that would be a stranger's code at work.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
CANARY = FOLDER / "canary"
SECRET = FOLDER / "secret.txt"
EVENTS: list[str] = []
OWN_PICKLES = ("numpy", "torch", "collections", "_codecs")


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Note what foreign code would do."""
    if event == "pickle.find_class" and not str(arguments[0]).startswith(OWN_PICKLES):
        EVENTS.append(f"{event} {arguments[0]}.{arguments[1]}")
    elif event in ("os.system", "os.exec", "os.posix_spawn", "pty.spawn", "os.startfile"):
        EVENTS.append(f"{event} {arguments[0]}")
    elif event == "subprocess.Popen" and str(CANARY) in str(arguments[1]):
        EVENTS.append(f"{event} {arguments[1]}")
    elif event == "open" and str(arguments[0]) in (str(CANARY), str(SECRET)):
        EVENTS.append(f"{event} {arguments[0]}")


class Touch:
    """Unpickling it touches the canary."""

    def __reduce__(self) -> Any:
        return os.system, (f"touch {CANARY}",)


def pickles() -> None:
    import cloudpickle
    import joblib

    (FOLDER / "plain.pkl").write_bytes(pickle.dumps({"model": Touch()}))
    for protocol in range(6):
        (FOLDER / f"protocol{protocol}.pkl").write_bytes(pickle.dumps(Touch(), protocol=protocol))
    (FOLDER / "cloud.pkl").write_bytes(cloudpickle.dumps(Touch()))
    joblib.dump({"a": Touch()}, FOLDER / "jobs.joblib")


def torch_files() -> None:
    import torch

    torch.save({"a": torch.zeros(2), "b": Touch()}, FOLDER / "checkpoint.pt")
    torch.save(torch.nn.Linear(2, 2), FOLDER / "module.pt")
    torch.save({"a": Touch()}, FOLDER / "legacy.pth", _use_new_zipfile_serialization=False)
    import safetensors.torch

    safetensors.torch.save_file({"w": torch.zeros(2)}, FOLDER / "good.safetensors")
    net = torch.nn.Linear(2, 2).eval()
    program = torch.export.export(net, (torch.zeros(3, 2),), dynamic_shapes=({0: torch.export.Dim("rows")},))
    torch.export.save(program, FOLDER / "good.pt2")
    source = FOLDER / "good.pt2"
    expression = f"__import__('os').system('touch {CANARY}')"

    def evil(name: str, content: bytes) -> bytes:
        if name.endswith(".json") and b"expr_str" in content:
            document = json.loads(content)
            replace_keys(document, "expr_str", expression)
            return json.dumps(document).encode()
        return content

    rewritten(source, FOLDER / "expression.pt2", evil)

    def pickled(name: str, content: bytes) -> bytes:
        if name.endswith(".json") and b"use_pickle" in content:
            return content.replace(b'"use_pickle": false', b'"use_pickle": true').replace(
                b'"use_pickle":false', b'"use_pickle":true'
            )
        if "weights/" in name and not name.endswith(".json"):
            return pickle.dumps(Touch())
        return content

    rewritten(source, FOLDER / "weights.pt2", pickled)

    class Writes(torch.nn.Module):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return rows

    def saving(name: str, content: bytes) -> bytes:
        if name.endswith("code/__torch__.py"):
            return content.replace(b"return", b'ops.aten.save((1, 2), "x")\n    return', 1)
        return content

    with contextlib.suppress(Exception):
        torch.jit.save(torch.jit.script(Writes()), str(FOLDER / "plain.ts"))
        rewritten(FOLDER / "plain.ts", FOLDER / "saves.ts", saving)
    with zipfile.ZipFile(FOLDER / "old.pt2", "w") as archive:
        archive.writestr("version", "8.0")
        archive.writestr("serialized_exported_program.json", "{}")
        for name in ("state_dict", "constants", "example_inputs"):
            archive.writestr(f"serialized_{name}.pt", pickle.dumps(Touch()))

    class Reads(torch.nn.Module):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return rows + torch.from_file(PATH, size=1, dtype=torch.uint8).sum()

    global PATH
    PATH = str(SECRET)
    with contextlib.suppress(Exception):
        import warnings

        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(Reads(), (torch.zeros(2),)), str(FOLDER / "reads.ts"))


PATH = ""


def rewritten(source: Path, target: Path, change: Any) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, change(info.filename, old.read(info)))


def replace_keys(document: Any, key: str, value: str) -> None:
    if isinstance(document, dict):
        for name in document:
            if name == key:
                document[name] = value
            else:
                replace_keys(document[name], key, value)
    elif isinstance(document, list):
        for one in document:
            replace_keys(one, key, value)


def keras_files() -> None:
    import keras

    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])
    model.save(FOLDER / "good.keras")
    source = FOLDER / "good.keras"

    def layer(given: dict[str, Any]) -> Any:
        def change(name: str, content: bytes) -> bytes:
            if name != "config.json":
                return content
            document = json.loads(content)
            document["config"]["layers"].append(given)
            return json.dumps(document).encode()

        return change

    gadgets: dict[str, dict[str, Any]] = {
        "lambda": {
            "module": "keras.layers",
            "class_name": "Lambda",
            "config": {"function": {"class_name": "__lambda__"}},
        },
        "gadget": {"module": "os", "class_name": "system", "config": f"touch {CANARY}", "registered_name": None},
        "function": {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "eval"},
        "utils": {
            "module": "keras.utils",
            "class_name": "get_file",
            "config": {"fname": str(CANARY), "origin": "http://127.0.0.1:9/x"},
        },
        "unsafe": {"module": "keras.config", "class_name": "enable_unsafe_deserialization", "config": {}},
        "lookup": {
            "module": "keras.layers",
            "class_name": "StringLookup",
            "config": {"name": "l", "vocabulary": str(SECRET)},
        },
        "tfsm": {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": str(FOLDER)}},
    }
    for name, given in gadgets.items():
        rewritten(source, FOLDER / f"{name}.keras", layer(given))
    import h5py

    for kind in ("external", "virtual", "link"):
        with h5py.File(FOLDER / "w.h5", "w") as file:
            if kind == "external":
                file.create_dataset("w", (4,), "u1", external=[(str(SECRET), 0, 4)])
            elif kind == "virtual":
                layout = h5py.VirtualLayout((4,), "u1")
                layout[:] = h5py.VirtualSource(str(SECRET), "x", shape=(4,))
                file.create_virtual_dataset("w", layout)
            else:
                file["w"] = h5py.ExternalLink(str(SECRET), "x")
        weights = (FOLDER / "w.h5").read_bytes()
        rewritten(
            source, FOLDER / f"{kind}.keras", lambda name, content, w=weights: w if name.endswith(".h5") else content
        )
    shutil.move(FOLDER / "w.h5", FOLDER / "old.h5")


def onnx_files() -> None:
    import onnx
    from onnx import TensorProto, helper

    (FOLDER / "deep").mkdir()
    (FOLDER / "deep/inside").mkdir()
    (FOLDER / "outside.bin").write_bytes(b"\0" * 16)
    (FOLDER / "deep/link.bin").symlink_to(FOLDER / "outside.bin")
    (FOLDER / "deep/folder").symlink_to(FOLDER)
    os.link(FOLDER / "outside.bin", FOLDER / "deep/hard.bin")
    places = {
        "up": "../outside.bin",
        "absolute": str(FOLDER / "outside.bin"),
        "around": "inside/../../outside.bin",
        "symlink": "link.bin",
        "parent": "folder/outside.bin",
        "hardlink": "hard.bin",
        "missing": "none.bin",
        "empty": "",
        "base": "base",
    }
    for name, place in places.items():
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value="link.bin" if name == "base" else place)
        if name == "base":
            tensor.external_data.add(key="base_dir", value="")
        where = helper.make_node("Constant", [], ["c"], value=tensor) if name == "around" else None
        nodes = [helper.make_node("Add", ["x", "w" if where is None else "c"], ["y"])]
        graph = helper.make_graph(
            [*([where] if where else []), *nodes],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
            [] if where else [tensor],
        )
        onnx.save(helper.make_model(graph), FOLDER / "deep" / f"{name}.onnx")


def folders() -> None:
    configs: dict[str, dict[str, Any]] = {
        "auto-map": {"auto_map": {"AutoModel": "evil.Model"}},
        "other-model": {"tokenizer_file": "/etc/passwd"},
        "pickled": {},
    }
    for name, config in configs.items():
        folder = FOLDER / name
        folder.mkdir()
        (folder / "config.json").write_text(
            json.dumps({"model_type": "bert", "architectures": ["BertModel"], **config})
        )
        (folder / "evil.py").write_text(f"import os; os.system('touch {CANARY}')")
        if name == "pickled":
            (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Touch()))
        else:
            (folder / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    encoder = FOLDER / "encoder"
    shutil.copytree(FOLDER / "other-model", encoder)
    (encoder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (encoder / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": "evil.Model"}]))
    safe = {"model.safetensors": b"\x02\0\0\0\0\0\0\0{}"}
    others: dict[str, dict[str, Any]] = {
        "kernels": {"config.json": {"model_type": "bert", "attn_implementation": "evil/kernel"}},
        "shards": {
            "config.json": {"model_type": "bert"},
            "model.safetensors.index.json": {"weight_map": {"w": "../other-model/model.safetensors"}},
        },
        "padded": {"config.json": {"model_type": "bert"}, "tokenizer_config.json": {"auto_map": {"a": "b.C"}}},
    }
    for name, contents in others.items():
        (FOLDER / name).mkdir()
        for file, document in contents.items():
            text = json.dumps(document)
            (FOLDER / name / file).write_text(text + " " * (300_000_000 if file == "tokenizer_config.json" else 0))
        for file, content in safe.items():
            (FOLDER / name / file).write_bytes(content)
    saved = FOLDER / "saved"
    saved.mkdir()
    (saved / "saved_model.pb").write_bytes(b"\x08\x01\x12\x0a\x0a\x08WriteFile")
    skops = FOLDER / "evil.skops"
    with zipfile.ZipFile(skops, "w") as archive:
        archive.writestr(
            "schema.json",
            json.dumps(
                {
                    "__class__": "system",
                    "__module__": "os",
                    "__loader__": "TypeNode",
                    "__id__": 1,
                    "protocol": 2,
                    "_skops_version": "0.16",
                }
            ),
        )
    mlflow = FOLDER / "flow"
    mlflow.mkdir()
    (mlflow / "MLmodel").write_text("flavors:\n  sklearn:\n    pickled_model: model.pkl\n")
    (mlflow / "model.pkl").write_bytes(pickle.dumps(Touch()))
    for name, text in {
        "flow-up": "flavors:\n  onnx:\n    data: ../deep\n",
        "flow-yaml": f"flavors: !!python/object/apply:os.system ['touch {CANARY}']\n",
    }.items():
        (FOLDER / name).mkdir()
        (FOLDER / name / "MLmodel").write_text(text)


def imports() -> dict[str, str]:
    """Try every file and folder without trust; return what was said of each."""
    from tiffin.errors import TiffinError
    from tiffin.store import inspection, models

    said: dict[str, str] = {}
    for path in sorted([*FOLDER.iterdir(), *(FOLDER / "deep").iterdir()]):
        if path.name in (
            "home",
            "deep",
            "inside",
            "folder",
            "secret.txt",
            "outside.bin",
            "link.bin",
            "hard.bin",
            "events",
        ):
            continue
        with contextlib.suppress(TiffinError):
            inspection.inspect(path)
        name = path.name.lower().replace(".", "-")
        try:
            model = models.import_(path, name)
            models.get(name)
            models.list()
            model.load(device="cpu")
            said[path.name] = "loaded"
        except TiffinError as error:
            said[path.name] = f"{type(error).__name__}: {error}"
    return said


def written() -> dict[str, str]:
    """Put the same files into the store under a manifest that says they are data, as a hostile archive would, and load them."""
    import msgspec

    from tiffin.errors import TiffinError
    from tiffin.store import exchange, models
    from tiffin.store.manifest import Manifest, encode

    said: dict[str, str] = {}
    lies = [
        ("plain.pkl", "pickle", "pickle"),
        ("plain.pkl", "sklearn", "skops"),
        ("evil.skops", "sklearn", "skops"),
        ("checkpoint.pt", "torch", "checkpoint"),
        ("module.pt", "torch", "module"),
        ("plain.pkl", "torch", "checkpoint"),
        ("expression.pt2", "torch", "export"),
        ("weights.pt2", "torch", "export"),
        ("old.pt2", "torch", "export"),
        ("plain.pkl", "torch", "torchscript"),
        ("reads.ts", "torch", "torchscript"),
        ("plain.pkl", "torch", "safetensors"),
        ("lambda.keras", "keras", "keras"),
        ("gadget.keras", "keras", "keras"),
        ("function.keras", "keras", "keras"),
        ("utils.keras", "keras", "keras"),
        ("unsafe.keras", "keras", "keras"),
        ("lookup.keras", "keras", "keras"),
        ("tfsm.keras", "keras", "keras"),
        ("external.keras", "keras", "keras"),
        ("virtual.keras", "keras", "keras"),
        ("link.keras", "keras", "keras"),
        ("old.h5", "keras", "hdf5"),
        ("deep/up.onnx", "onnx", "onnx"),
        ("deep/absolute.onnx", "onnx", "onnx"),
        ("deep/around.onnx", "onnx", "onnx"),
        ("plain.pkl", "xgboost", "ubj"),
        ("plain.pkl", "lightgbm", "txt"),
        ("plain.pkl", "catboost", "cbm"),
    ]
    for index, (name, framework, format) in enumerate(lies):
        path = FOLDER / name
        if not path.exists():
            continue
        suffix = {"xgboost": ".ubj", "lightgbm": ".txt", "catboost": ".cbm"}.get(framework, path.suffix)
        file = f"file{suffix}"
        made = models.store()
        with made.draft() as draft:
            draft.copy(file, path)
            manifest = Manifest(
                name=f"lie{index}",
                version="v1",
                created="",
                framework=framework,
                format=format,
                files=[],
                options={"file": file},
            )
            stored = made.commit(draft, manifest)
        archive = exchange.export(stored, str(FOLDER / "events" / f"{index}.tar"))
        models.delete(stored.ref)
        try:
            models.import_(archive)
            models.load(stored.ref, device="cpu")
            said[f"{framework}/{format} {name}"] = "loaded"
        except TiffinError as error:
            said[f"{framework}/{format} {name}"] = f"{type(error).__name__}: {error}"
        except Exception as error:
            said[f"{framework}/{format} {name}"] = f"refused by the library: {type(error).__name__}: {error}"[:200]
    manifest = Manifest(
        name="class", version="v1", created="", framework="torch", format="safetensors", files=[],
        options={"file": "m.safetensors", "class": "subprocess:Popen", "init": {"args": ["touch", str(CANARY)]}},
    )  # fmt: skip
    with models.store().draft() as draft:
        draft.add("m.safetensors", b"\x02\0\0\0\0\0\0\0{}")
        models.store().commit(draft, manifest)
    try:
        models.load("class", device="cpu")
        said["class by import path"] = "loaded"
    except TiffinError as error:
        said["class by import path"] = f"{type(error).__name__}: {error}"
    del msgspec, encode
    return said


if __name__ == "__main__":
    SECRET.write_text("secret")
    (FOLDER / "events").mkdir()
    with contextlib.redirect_stdout(io.StringIO()):
        pickles()
        torch_files()
        keras_files()
        onnx_files()
        folders()
        CANARY.unlink(missing_ok=True)
        sys.addaudithook(watch)
        outcome = {"imports": imports(), "written": written(), "events": EVENTS, "canary": CANARY.exists()}
    print(json.dumps(outcome))
