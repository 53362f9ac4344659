"""What the rooms of the gradient boosters have in common: a model file that is data, and the class that reads it.

Owns the recording of class and signature; a subclass says how its library writes and reads. Never unpickles. The libraries' C code
reads the trees of a file unchecked, so that a file of somebody else's may crash the process or worse: it needs trust.
"""
# pyright: basic

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tiffin.errors import ModelError, TrustError
from tiffin.frameworks.library import library
from tiffin.frameworks.room import Framework, is_a, only_file, take_options
from tiffin.store.examples import alone, signature_of
from tiffin.store.manifest import Signature, Value
from tiffin.store.rooms import Written
from tiffin.store.store import Stored


class Boosters(Framework):
    """A booster library; see the module.

    Attributes:
        classes: names of the library's classes that are known. suffixes: of its files, the one that is written first.
        plain: the class for a file that says no class.
    """

    rank = 2
    classes: ClassVar[tuple[str, ...]]
    suffixes: ClassVar[tuple[str, ...]]
    plain: ClassVar[str]

    def claims(self, value: object) -> bool:
        """Say whether it is one of the library's models."""
        return is_a(value, *(f"{self.name}:{name}" for name in self.classes))

    def write(self, value: Any, folder: Path, *, example: Any, trusted: bool, options: Mapping[str, Any]) -> Written:
        """Write a trained model in the library's own format."""
        del trusted
        take_options(options, (), f"tiffin.{self.name}.save")
        name = next(one for one in self.classes if is_a(value, f"{self.name}:{one}"))
        path = folder / f"model{self.suffixes[0]}"
        extra = self._store(value, path, name)
        signatures: dict[str, Signature] = {}
        if example is not None:
            example = alone(example)
            output = self.predict(value, example)
            signatures = {"predict": signature_of(example, output, names=["features"], call="predict")}
        elif features := self._features(value):
            inputs = [Value(name="features", dtype="float64", shape=[None, features])]
            signatures = {"predict": Signature(inputs=inputs, batch_dim=0, call="predict")}
        return Written(
            format=self.suffixes[0][1:],
            code=True,
            options={"file": path.name, "class": name, **extra},
            distributions=self.distributions,
            signatures=signatures,
        )

    def detect(self, path: Path) -> Written | None:
        """Know the library's files by suffix and first bytes."""
        if path.suffix not in self.suffixes or not path.is_file():
            return None
        with path.open("rb") as file:
            head = file.read(512)
        if not self._mine(head):
            return None
        options = {"file": path.name, "class": self.plain}
        return Written(format=path.suffix[1:], code=True, options=options, distributions=self.distributions)

    def examine(self, path: Path) -> list[str]:
        """Say that trees are read unchecked."""
        found = self.detect(path)
        return [f"{path.name}: its trees are read unchecked by the library's C code"] if found else []

    def _read(self, stored: Stored, device: str, options: Mapping[str, Any]) -> Any:
        del options
        if stored.trust is None:
            raise TrustError(
                f"{stored.ref}: the trees of the file are read unchecked by {self.name}, and it is not trusted here",
                hint=f"tiffin models trust {stored.ref}, where you know who made it",
            )
        name = str(stored.manifest.options.get("class", self.plain))
        if name not in self.classes:
            raise ModelError(f"{stored.ref}: {self.name} has no class {name!r} that is loaded here")
        cls = getattr(library(self.name), name)
        return self._restore(cls, only_file(stored, self.suffixes), stored.manifest.options, device)

    def runner(self, stored: Stored, loaded: Any) -> Any:
        """Return what predicts from features."""
        del stored
        return lambda **inputs: self.predict(loaded, *inputs.values())

    def signatures(self, stored: Stored) -> dict[str, Signature]:
        """Read the number of features from the model."""
        stored.verify()
        features = self._features(self.read(stored, "cpu", {}))
        inputs = [Value(name="features", dtype="float64", shape=[None, features or None])]
        return {"predict": Signature(inputs=inputs, batch_dim=0, call="predict")}

    def predict(self, model: Any, features: Any) -> Any:
        """Call the model with rows of features."""
        return model.predict(features)

    # -- the library's own -----------------------------------------------------------------------------------------------------

    def _store(self, value: Any, path: Path, name: str) -> dict[str, Any]:
        raise NotImplementedError

    def _restore(self, cls: Any, path: Path, options: Mapping[str, Any], device: str) -> Any:
        raise NotImplementedError

    def _mine(self, head: bytes) -> bool:
        raise NotImplementedError

    def _features(self, value: Any) -> int:
        return int(getattr(value, "n_features_in_", 0) or 0)
