"""Sentence encoders in the store: `tiffin.sentence_transformers`.

Owns the check of which parts such a folder names; loads nothing but the library's own parts and safetensors unless it is trusted.
"""
# pyright: basic

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiffin.errors import ModelError
from tiffin.frameworks import transformers as hub
from tiffin.frameworks.library import library
from tiffin.frameworks.room import Framework, is_a, refuse_code, take_options
from tiffin.store.manifest import Signature, Value
from tiffin.store.rooms import Written
from tiffin.store.store import Stored

__all__ = ["load", "save"]
_CPU_BATCH = 8  # measured: 110 texts/s where one batch of 32 gives 67, MiniLM on one core


class SentenceTransformers(Framework):
    """`tiffin.sentence_transformers`: see the module."""

    name = "sentence_transformers"
    rank = 5
    distributions = ("sentence-transformers", "transformers", "tokenizers", "torch")

    def claims(self, value: object) -> bool:
        """Say whether it is a SentenceTransformer."""
        return is_a(value, "sentence_transformers:SentenceTransformer")

    def write(self, value: Any, folder: Path, *, example: Any, trusted: bool, options: Mapping[str, Any]) -> Written:
        """Write an encoder."""
        del example, trusted
        take_options(options, (), "tiffin.sentence_transformers.save")
        hub.quiet()
        value.save_pretrained(str(folder), safe_serialization=True, create_model_card=False)
        return self._written(folder, code=False)

    def detect(self, path: Path) -> Written | None:
        """Know the folder of an encoder by its modules.json."""
        if not (path / "modules.json").is_file():
            return None
        return self._written(path, code=bool(reach(path)))

    def _written(self, folder: Path, *, code: bool) -> Written:
        size = None
        for name in ("1_Pooling/config.json", "config.json"):
            config = hub._json(folder / name)
            size = size or config.get("word_embedding_dimension") or config.get("hidden_size")
        return Written(
            format="sentence_transformers",
            code=code,
            distributions=self.distributions,
            signatures={
                "encode": Signature(
                    inputs=[Value(name="texts", kind="text")],
                    outputs=[Value(name="embeddings", dtype="float32", shape=[None, size])],
                    batch_dim=0,
                    call="encode",
                )
            },
        )

    def examine(self, path: Path) -> list[str]:
        """Look into the JSON files of an encoder's folder."""
        return reach(path) if (path / "modules.json").is_file() else []

    def _read(self, stored: Stored, device: str, options: Mapping[str, Any]) -> Any:
        del options
        trusted = stored.trust is not None and stored.manifest.code
        refuse_code(stored, [] if trusted else reach(stored.folder))
        hub.quiet()
        made = library("sentence_transformers").SentenceTransformer(
            str(stored.folder),
            device=device,
            local_files_only=True,
            trust_remote_code=trusted,
            model_kwargs={} if trusted else {"use_safetensors": True},
        )
        return made.eval()

    def runner(self, stored: Stored, loaded: Any) -> Any:
        """Return what encodes a list of texts, all of them as one batch: float32 [texts, size]."""
        del stored

        cpu = loaded.device.type == "cpu"

        def run(texts: list[str]) -> Any:
            # The library sorts by length and pads each of its batches: on a CPU small ones cost less padding than they lose.
            size = _CPU_BATCH if cpu else len(texts)
            return loaded.encode(texts, batch_size=size, show_progress_bar=False, convert_to_numpy=True)

        return run


ROOM = SentenceTransformers()
save, load = ROOM.save, ROOM.load


def reach(folder: Path) -> list[str]:
    """Return what in an encoder's folder would run code or pull in another model, as sentences; empty: it is data."""
    found = hub.reach(folder)
    try:
        parts = json.loads((folder / "modules.json").read_bytes())
        named = [(str(part["type"]), str(part.get("path", ""))) for part in parts]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelError(f"modules.json cannot be read: {error}") from error
    for kind, place in named:
        if not kind.startswith("sentence_transformers."):
            found.append(f"modules.json would import {kind}")
        if place.startswith(("/", "~")) or ".." in place.split("/"):
            found.append(f"modules.json names the folder {place!r}")
        elif place:
            found += [f"{place}/{one}" for one in hub.reach(folder / place) if "weights" not in one]
    return list(dict.fromkeys(found))
