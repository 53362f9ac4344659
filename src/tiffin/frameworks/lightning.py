"""Lightning modules in the store: `tiffin.lightning`. Weights as safetensors, class and hyperparameters recorded.

Owns where the arguments of `__init__` come from; the rest is PyTorch's room. Never loads a trainer's checkpoint without trust.
"""
# pyright: basic

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiffin.frameworks.room import is_a
from tiffin.frameworks.torch_files import Torch
from tiffin.store.rooms import Written

__all__ = ["load", "save"]


class Lightning(Torch):
    """`tiffin.lightning`: see the module."""

    name = "lightning"
    rank = 3
    distributions = ("lightning", "pytorch-lightning", "torch")

    def claims(self, value: object) -> bool:
        """Say whether it is a LightningModule."""
        return is_a(
            value, "lightning.pytorch:LightningModule", "lightning:LightningModule", "pytorch_lightning:LightningModule"
        )

    def write(self, value: Any, folder: Path, *, example: Any, trusted: bool, options: Mapping[str, Any]) -> Written:
        """Write a module; `init` is by default what `save_hyperparameters` has kept. Options as for `tiffin.torch.save`."""
        kept = dict(getattr(value, "hparams", None) or {})
        options = {**options, "init": options.get("init", kept)}
        return super().write(value, folder, example=example, trusted=trusted, options=options)

    def detect(self, path: Path) -> Written | None:
        """Know nothing that PyTorch's room does not know."""
        del path
        return None


ROOM = Lightning()
save, load = ROOM.save, ROOM.load
