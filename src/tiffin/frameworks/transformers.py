"""Hugging Face transformers in the store: `tiffin.transformers`. Models, tokenizers, whole pipelines: a folder of safetensors.

Owns what is read from such a folder; code in it is never run, nothing is fetched. Only safetensors are loaded unless it is trusted.
"""
# pyright: basic

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiffin.errors import ModelError, TrustError
from tiffin.frameworks.library import library
from tiffin.frameworks.room import Framework, is_a, take_options
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
JSON_BYTES = 33_554_432


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
        return self._written(folder, task)

    def _written(self, folder: Path, task: str, *, code: bool = False) -> Written:
        config = _json(folder / "config.json")
        architecture = next(iter(config.get("architectures") or []), "")
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
        reaching = [] if trusted else reach(folder)
        if reaching:
            raise TrustError(
                f"{stored.ref} is not data alone: {reaching[0]}", hint="tiffin models inspect shows all of it"
            )
        safely: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trusted}
        if stored.manifest.format == "tokenizer":
            return transformers.AutoTokenizer.from_pretrained(folder, **safely)
        weights = {"use_safetensors": None if trusted else True}
        if options.get("dtype") is not None:
            weights["dtype"] = options["dtype"]
        name = str(stored.manifest.options.get("architecture") or "AutoModel")
        cls = getattr(transformers, name, None) or transformers.AutoModel
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

        def run(texts: list[str]) -> Any:
            if loaded.tokenizer is not None and loaded.tokenizer.pad_token is None:
                return list(loaded(texts))
            return list(loaded(texts, batch_size=len(texts)))

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


def reach(folder: Path) -> list[str]:
    """Return what in a Hugging Face folder would run code or pull in another model, as sentences; empty: it is data."""
    found = [f"{name} leads to another model or program" for name in _REACHING if (folder / name).exists()]
    for path in sorted(folder.glob("*.json")):
        document = _json(path)
        left: list[Any] = [document]
        while left:
            one = left.pop()
            if isinstance(one, dict):
                for key, value in one.items():
                    if key in ("auto_map", "custom_pipelines") and value:
                        found.append(f"{path.name} names code of its own ({key})")
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
    if not list(folder.rglob("*.safetensors")) and [
        *folder.rglob("*.bin"),
        *folder.rglob("*.pt"),
        *folder.rglob("*.h5"),
    ]:
        found.append("its weights are pickles, not safetensors")
    return list(dict.fromkeys(found))


def _leads_out(key: str, value: str) -> bool:
    """Say whether a value names a file outside the folder. `_name_or_path` only tells where a model once came from."""
    if key in ("_name_or_path", "name_or_path", "special_tokens_map_file"):
        return False
    return value.startswith(("/", "~", "\\")) or ".." in value.split("/") or "://" in value


def _json(path: Path) -> dict[str, Any]:
    """Return a JSON object, an empty one where there is none."""
    try:
        if path.stat().st_size > JSON_BYTES:
            return {}
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
