"""Models that others made, into the store: a file or folder of a framework, a Hugging Face repository, an MLflow model.

Owns what is taken of each and where its name and facts come from; what the files are is asked of the frameworks' rooms. Nothing is
executed, links are not followed, and a repository is taken as safetensors only unless it is trusted.
"""

# pyright: basic

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from tiffin.errors import ConfigError, ModelError, NotFoundError
from tiffin.store.digests import Progress, silent
from tiffin.store.exchange import allowed
from tiffin.store.manifest import Manifest, Signature, Value
from tiffin.store.names import Ref, check_word
from tiffin.store.rooms import Room, Written, detecting, names, room
from tiffin.store.store import Store, Stored

SKIPPED = frozenset({".git", ".cache", ".gitattributes", ".DS_Store", "__pycache__", ".ipynb_checkpoints"})
# Weights and programs in a repository that loading could execute, or that are there twice in an older form.
_CODE_SUFFIXES = (
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".pkl",
    ".pickle",
    ".joblib",
    ".h5",
    ".msgpack",
    ".py",
    ".ot",
    ".npy",
    ".npz",
)
_MLFLOW_BYTES = 1_048_576


def import_path(
    store: Store, path: Path, ref: Ref | None, trust: str = "", progress: Progress = silent, source: str = ""
) -> Stored:
    """Take a file or folder that a framework knows into the store.

    Args:
        ref: name and version; by default the file's own name. trust: why its code may run here, "" for no reason.
        source: what to say of where it is from, for the metadata.

    Raises:
        ModelError: no framework knows it; a link or device is in it. TrustError: it bears code.
    """
    if path.is_symlink():
        raise ModelError(f"{path} is a link", hint="name the file or folder that it leads to")
    if path.is_dir() and (path / "MLmodel").is_file():
        owner, written, files = _mlflow(path)
        _refuse_links(path, files)
    else:
        found = detecting(path)
        if found is None:
            raise ModelError(
                f"{path} is no model that a framework here knows",
                hint="known: ONNX, safetensors, TorchScript, torch.export, .keras, SavedModel, skops, boosters' files, Hugging "
                f"Face and MLflow folders (frameworks: {', '.join(names())}); any other folder: tiffin.models.save(name, Path)",
            )
        owner, written = found
        files = path
    ref = ref or Ref(_name_of(path))
    manifest = Manifest(
        name=ref.name,
        version=ref.version,
        created="",
        framework=owner.name,
        format=written.format,
        code=written.code,
        options=written.options,
        signatures=written.signatures,
        metadata={"source": source or path.name},
        files=[],
    )
    mark = allowed(manifest, str(path), trust)
    with store.draft() as draft:
        if files.is_dir():
            skip = SKIPPED if trust else SKIPPED | frozenset(_unsafe(files, written))
            draft.copy_folder(files, skip=skip)
        else:
            target = written.options.get("file", files.name)
            draft.copy(str(target), files)
            for extra in written.options.get("external", []):
                draft.copy(extra, files.parent / extra, linked=False)
        return store.commit(draft, manifest, mark, progress)


def import_hub(store: Store, name: str, ref: Ref | None, trust: str = "", progress: Progress = silent) -> Stored:
    """Download a repository of the Hugging Face hub into the store: configuration, tokenizer, safetensors; more only with trust.

    Args:
        name: "owner/model" or "owner/model@revision".

    Raises:
        ConfigError: huggingface_hub is not installed. NotFoundError: there is no such repository. ModelError: as `import_path`.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ModuleNotFoundError:
        raise ConfigError("huggingface_hub is not installed here", hint="pip install 'tiffin[hub]'") from None
    repository, _, revision = name.partition("@")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repository):
        raise ModelError(
            f"{name!r} is not a model of the hub", hint="write hf://owner/model or hf://owner/model@revision"
        )
    ref = ref or Ref(_name_of(Path(repository.rpartition("/")[2])))
    with tempfile.TemporaryDirectory() as folder:
        try:
            snapshot_download(
                repository,
                revision=revision or None,
                local_dir=folder,
                ignore_patterns=None if trust else [f"*{suffix}" for suffix in _CODE_SUFFIXES],
                tqdm_class=None,
            )
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
            raise NotFoundError(
                f"hf://{name} cannot be had: {str(error).splitlines()[0][:300]}",
                hint="check the name, and whether it needs a login (`hf auth login`)",
            ) from error
        return import_path(store, Path(folder), ref, trust, progress, source=f"hf://{name}")


def _refuse_links(folder: Path, path: Path) -> None:
    """Refuse a link on the way from a folder to what is in it."""
    for place in (path, *path.parents):
        if place == folder:
            return
        if place.is_symlink():
            raise ModelError(f"{place} is a link", hint="copy what it leads to: links are not followed")


def _unsafe(folder: Path, written: Written) -> set[str]:
    """Return names of files that are left out of a repository that is not trusted."""
    if written.format not in ("transformers", "sentence_transformers"):
        return set()
    return {path.name for path in folder.rglob("*") if path.suffix in _CODE_SUFFIXES}


def _name_of(path: Path) -> str:
    """Return a model name made of a file's name.

    Raises:
        ModelError: none can be made of it.
    """
    stem = path.name if path.is_dir() else path.name.removesuffix(path.suffix)
    name = re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip(".-_")
    try:
        return check_word(re.sub(r"\.{2,}", ".", name), "model name")
    except ModelError:
        raise ModelError(f"{path.name!r} gives no model name", hint="name it: --name NAME") from None


_FLAVORS = {
    "onnx": ("onnx", "data"),
    "sklearn": ("pickle", "pickled_model"),
    "pytorch": ("torch", "model_data"),
    "tensorflow": ("tensorflow", "saved_model_dir"),
    "keras": ("keras", "data"),
    "xgboost": ("xgboost", "data"),
    "lightgbm": ("lightgbm", "data"),
    "catboost": ("catboost", "data"),
    "transformers": ("transformers", "model_binary"),
    "sentence_transformers": ("sentence_transformers", "data"),
}


def _mlflow(folder: Path) -> tuple[Room, Written, Path]:
    """Read an MLflow model: the first of its flavors that a framework here knows."""
    import yaml

    text = (folder / "MLmodel").read_bytes()
    try:
        if len(text) > _MLFLOW_BYTES or text.count(b"&") > 100:
            raise ModelError(f"{folder}/MLmodel is too large to be one")
        described: Any = yaml.safe_load(text)
        flavors: dict[str, dict[str, Any]] = dict(described["flavors"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelError(f"{folder}/MLmodel cannot be read: {error}") from None
    for flavor, (framework, key) in _FLAVORS.items():
        if flavor not in flavors:
            continue
        facts = flavors[flavor] or {}
        if not isinstance(facts, dict):
            raise ModelError(f"{folder}/MLmodel: flavor {flavor} is no map of facts")
        data = str(facts.get(key) or facts.get("data") or facts.get("model_data") or "")
        path = (folder / data).resolve()
        if not data or not path.is_relative_to(folder.resolve()) or not path.exists():
            raise ModelError(f"{folder}/MLmodel: flavor {flavor} names {data!r}, which is not in the folder")
        owner = room(framework)
        place, written = _inside(owner, path)
        if written is None:
            raise ModelError(f"{folder}/MLmodel: {data!r} is no {flavor} model that is known here")
        signature = _mlflow_signature(described.get("signature"))
        if signature is not None and not written.signatures:
            written = msgspec.structs.replace(written, signatures={"predict": signature})
        return owner, written, place
    raise ModelError(
        f"{folder} has flavors {', '.join(flavors)}: none that a framework here loads",
        hint=f"known are {', '.join(_FLAVORS)}",
    )


def _inside(owner: Room, path: Path) -> tuple[Path, Written | None]:
    """Return the model at a path that an MLflow model names, or as the one file in it."""
    for place in [path, *(sorted(path.iterdir()) if path.is_dir() else [])]:
        written = owner.detect(place)
        if written is not None:
            return place, written
    return path, None


def _mlflow_signature(described: Any) -> Signature | None:
    """Return an MLflow signature of tensors or columns as one of ours, None where it says nothing that can be used."""
    try:
        inputs: list[dict[str, Any]] = [one for one in json.loads(described["inputs"]) if isinstance(one, dict)]
    except (TypeError, KeyError, ValueError, RecursionError):
        return None
    values: list[Value] = []
    columns: dict[str, str] = {}
    for index, one in enumerate(inputs):
        if one.get("type") == "tensor" and isinstance(one.get("tensor-spec"), dict):
            spec: dict[str, Any] = one["tensor-spec"]
            shape = [None if size < 0 else int(size) for size in spec.get("shape", [])]
            values.append(
                Value(name=str(one.get("name", f"input{index}")), dtype=str(spec.get("dtype", "")), shape=shape)
            )
        elif "name" in one:
            columns[str(one["name"])] = {
                "double": "float64",
                "float": "float32",
                "long": "int64",
                "integer": "int32",
            }.get(str(one.get("type")), "object")
    if columns and not values:
        values = [Value(name="rows", kind="table", columns=columns)]
    return Signature(inputs=values, batch_dim=0) if values else None
