"""Hugging Face transformers in the store: `tiffin.transformers`. Models, tokenizers, whole pipelines: a folder of safetensors.

Owns what is read from such a folder; code in it is never run, nothing is fetched. Only safetensors are loaded unless it is trusted.
"""
# pyright: basic

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiffin.errors import ModelError
from tiffin.frameworks import chat_templates
from tiffin.frameworks.library import library
from tiffin.frameworks.room import Framework, is_a, refuse_code, take_options
from tiffin.store.manifest import Signature, Value
from tiffin.store.rooms import Written
from tiffin.store.store import Stored

__all__ = ["load", "save"]
_TASKS = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForMaskedLM": "fill-mask",
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
    "ForQuestionAnswering": "question-answering",
}
_TEXT_TASKS = (
    "text-classification",
    "sentiment-analysis",
    "token-classification",
    "fill-mask",
    "feature-extraction",
    "text-generation",
)
# Files by which one folder pulls in another, or brings programs along.
_REACHING = ("adapter_config.json", "custom_generate")
_BATCH = 64
JSON_BYTES = 268_435_456
# By these a configuration has kernels fetched and run.
_KERNELS = ("attn_implementation", "experts_implementation", "kernel_config", "attention_implementation")


class Transformers(Framework):
    """`tiffin.transformers`: see the module."""

    name = "transformers"
    rank = 4
    distributions = ("transformers", "tokenizers", "torch")
    reading = ("task", "dtype")

    def claims(self, value: object) -> bool:
        """Say whether it is a model, a tokenizer, a processor or a pipeline."""
        return is_a(
            value,
            "transformers:PreTrainedModel",
            "transformers:PreTrainedTokenizerBase",
            "transformers:Pipeline",
            "transformers:FeatureExtractionMixin",
        )

    def write(self, value: Any, folder: Path, *, example: Any, trusted: bool, options: Mapping[str, Any]) -> Written:
        """Write a model, tokenizer or pipeline.

        Args:
            options: tokenizer: to write beside a model. task: what a pipeline of them does, "text-classification", ….
        """
        del example, trusted
        quiet()
        given = take_options(options, ("tokenizer", "task"), "tiffin.transformers.save")
        if is_a(value, "transformers:PreTrainedTokenizerBase", "transformers:FeatureExtractionMixin"):
            value.save_pretrained(folder)
            return Written(format="tokenizer", distributions=self.distributions)
        task = given.get("task", "")
        if is_a(value, "transformers:Pipeline"):
            task = task or value.task
            value.model.save_pretrained(folder, safe_serialization=True)
            for part in (
                value.tokenizer,
                getattr(value, "image_processor", None),
                getattr(value, "feature_extractor", None),
            ):
                if part is not None:
                    part.save_pretrained(folder)
        else:
            value.save_pretrained(folder, safe_serialization=True)
            if given.get("tokenizer") is not None:
                given["tokenizer"].save_pretrained(folder)
        return self._written(folder, task, model=getattr(value, "model", value) if task else value)

    def _written(self, folder: Path, task: str, *, code: bool = False, model: Any = None) -> Written:
        config = _json(folder / "config.json")
        architecture = str(next(iter(config.get("architectures") or []), ""))
        if model is not None:
            architecture = _own_class(model)
        has_tokenizer = (folder / "tokenizer_config.json").is_file()
        if not task and has_tokenizer:
            task = next((one for end, one in _TASKS.items() if architecture.endswith(end)), "")
        signatures: dict[str, Signature] = {}
        if task in _TEXT_TASKS and has_tokenizer:
            inputs = [Value(name="texts", kind="text")]
            signatures = {
                "predict": Signature(inputs=inputs, outputs=[Value(name="output", kind="json")], batch_dim=0, call=task)
            }
        return Written(
            format="transformers",
            code=code,
            options={"architecture": architecture, "task": task},
            distributions=self.distributions,
            signatures=signatures,
        )

    def detect(self, path: Path) -> Written | None:
        """Know a Hugging Face folder by its config.json."""
        if not (path / "config.json").is_file() or "model_type" not in _json(path / "config.json"):
            return None
        safe = bool(list(path.glob("*.safetensors")))
        return self._written(path, "", code=not safe or bool(reach(path)))

    def examine(self, path: Path) -> list[str]:
        """Look into the JSON files of a folder."""
        return reach(path) if (path / "config.json").is_file() else []

    def _read(self, stored: Stored, device: str, options: Mapping[str, Any]) -> Any:
        transformers = library("transformers")
        quiet()
        folder = stored.folder
        trusted = stored.trust is not None and stored.manifest.code
        refuse_code(stored, [] if trusted else reach(folder))
        safely: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trusted}
        if stored.manifest.format == "tokenizer":
            return transformers.AutoTokenizer.from_pretrained(folder, **safely)
        weights = {"use_safetensors": None if trusted else True}
        if options.get("dtype") is not None:
            weights["dtype"] = options["dtype"]
        name = str(stored.manifest.options.get("architecture") or "AutoModel")
        cls: Any = getattr(transformers, name, None)
        if not hasattr(cls, "from_pretrained"):
            raise ModelError(f"{stored.ref}: transformers {transformers.__version__} has no model {name!r}")
        try:
            model = cls.from_pretrained(folder, **safely, **weights).to(device).eval()
        except OSError as error:
            raise ModelError(
                f"{stored.ref}: {str(error).splitlines()[0]}", hint="only safetensors are loaded without trust"
            ) from error
        task = options.get("task", stored.manifest.options.get("task"))
        if not task:
            return model
        tokenizer = None
        if (folder / "tokenizer_config.json").is_file():
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **safely)
        extra = {}
        if (folder / "preprocessor_config.json").is_file():
            extra["image_processor"] = transformers.AutoImageProcessor.from_pretrained(folder, **safely)
        return transformers.pipeline(task, model=model, tokenizer=tokenizer, device=model.device, **extra)

    def runner(self, stored: Stored, loaded: Any) -> Any:
        """Return what calls the pipeline with a list of texts, all of them as one batch."""
        if not is_a(loaded, "transformers:Pipeline"):
            return super().runner(stored, loaded)

        task = loaded.task
        extra: dict[str, Any] = {}
        if task in ("text-classification", "sentiment-analysis"):
            extra["truncation"] = (
                True  # a text that is longer than the model's positions is cut, as the library's users do
            )
        if loaded.tokenizer is None or loaded.tokenizer.pad_token is not None:
            extra["batch_size"] = _BATCH

        def run(texts: list[str]) -> Any:
            found = list(loaded(texts, **extra))
            # One text with one mask: the library leaves out the list around its guesses.
            return (
                [found] if task == "fill-mask" and len(texts) == 1 and found and isinstance(found[0], dict) else found
            )

        return run

    def _breaks(self, format: str, name: str, then: tuple[int, ...], now: tuple[int, ...]) -> str:
        del format
        if name == "transformers" and then[:1] > now[:1]:
            return "an older transformers does not read what a newer one writes"
        return ""


ROOM = Transformers()
save, load = ROOM.save, ROOM.load


def quiet() -> None:
    """Keep the library's progress bars out of logs and pipes."""
    if not sys.stderr.isatty():
        library("transformers").utils.logging.disable_progress_bar()


def _own_class(model: Any) -> str:
    """Return the library's class that a model is, or is derived from.

    Raises:
        ModelError: a class of the user's own changes what it is: another process would not have it.
    """
    transformers = library("transformers")
    for cls in type(model).__mro__:
        if getattr(transformers, cls.__name__, None) is cls:
            if cls is not type(model) and "forward" in vars(type(model)):
                break
            return str(cls.__name__)
    raise ModelError(
        f"{type(model).__qualname__} is no class of transformers, and would be loaded as another one",
        hint="save its weights: tiffin.torch.save(name, model, init={…}), and load them with cls=…",
    )


def reach(folder: Path) -> list[str]:
    """Return what in a Hugging Face folder would run code or pull in another model, as sentences; empty: it is data."""
    found = [f"{name} leads to another model or program" for name in _REACHING if (folder / name).exists()]
    for path in sorted(folder.glob("*.json")):
        document = _document(path)
        if document is None:
            found.append(f"{path.name} is too large or no JSON, and cannot be looked into")
        if path.name.endswith(".index.json"):
            found += _shards(path, folder, document)
        left: list[Any] = [document]
        while left:
            one = left.pop()
            if isinstance(one, dict):
                for key, value in one.items():
                    if key in ("auto_map", "custom_pipelines") and value:
                        found.append(f"{path.name} names code of its own ({key})")
                    elif key.endswith(_KERNELS) and "/" in str(value):
                        found.append(f"{path.name} would fetch {str(value)[:80]!r} as its {key}")
                    elif (
                        key.endswith(("_file", "_path", "backbone"))
                        and isinstance(value, str)
                        and _leads_out(key, value)
                    ):
                        found.append(f"{path.name} names {value[:80]!r} as its {key}")
                    else:
                        left.append(value)
            elif isinstance(one, list):
                left.extend(one)
    for template in _templates(folder):
        found += chat_templates.reach(template)
    if not list(folder.rglob("*.safetensors")) and [
        *folder.rglob("*.bin"),
        *folder.rglob("*.pt"),
        *folder.rglob("*.h5"),
    ]:
        found.append("its weights are pickles, not safetensors")
    return list(dict.fromkeys(found))


def _templates(folder: Path) -> list[str]:
    """Return the chat templates of a folder, wherever the library looks for them."""
    found: list[Any] = []
    for name in ("tokenizer_config.json", "chat_template.json", "processor_config.json"):
        value = _json(folder / name).get("chat_template")
        found += list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else [value]
    texts = [one.get("template") if isinstance(one, dict) else one for one in found]
    files = [*folder.glob("*.jinja"), *folder.glob("additional_chat_templates/*.jinja")]
    texts += [path.read_text("utf-8", "replace")[:1_000_000] for path in files]
    return [text for text in texts if isinstance(text, str)]


def _shards(path: Path, folder: Path, document: Any) -> list[str]:
    """Return the shards that an index names and that are no plain safetensors file beside it."""
    names = document.get("weight_map", {}) if isinstance(document, dict) else {}
    if not isinstance(names, dict):
        return [f"{path.name} has no map of weights"]
    return [
        f"{path.name} names {str(name)[:80]!r}, which is no safetensors file beside it"
        for name in dict.fromkeys(map(str, names.values()))
        if not re.fullmatch(r"[\w.-]+\.safetensors", name) or not (folder / name).is_file()
    ]


def _leads_out(key: str, value: str) -> bool:
    """Say whether a value names a file outside the folder. `_name_or_path` only tells where a model once came from."""
    if key in ("_name_or_path", "name_or_path", "special_tokens_map_file"):
        return False
    return value.startswith(("/", "~", "\\")) or ".." in value.split("/") or "://" in value


def _json(path: Path) -> dict[str, Any]:
    """Return a JSON object, an empty one where there is none."""
    found = _document(path)
    return found if isinstance(found, dict) else {}


def _document(path: Path) -> Any:
    """Return what a JSON file says, None where it is absent, too large or none."""
    try:
        if path.stat().st_size > JSON_BYTES:
            return None
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
