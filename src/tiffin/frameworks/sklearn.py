"""scikit-learn estimators in the store: `tiffin.sklearn`. Written by skops, whose files name every type that loading would make.

Owns writing and reading; types that skops does not list as safe need trust on another machine: those of others, and scikit-learn's
own trees, whose arrays its C code reads unchecked. Never unpickles.
"""
# pyright: basic

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiffin.errors import ModelError, TrustError
from tiffin.frameworks.library import library
from tiffin.frameworks.room import Framework, is_a, only_file, take_options
from tiffin.store.examples import alone, signature_of
from tiffin.store.manifest import Signature, Value
from tiffin.store.rooms import Written
from tiffin.store.store import Stored
from tiffin.store.zips import checked_zip, is_zip, read_member

__all__ = ["load", "save"]
CALLS = ("predict", "predict_proba", "decision_function", "transform")


class SkLearn(Framework):
    """`tiffin.sklearn`: see the module."""

    name = "sklearn"
    distributions = ("scikit-learn", "skops", "numpy")

    def claims(self, value: object) -> bool:
        """Say whether it is an estimator, a transformer, a pipeline."""
        return is_a(value, "sklearn.base:BaseEstimator")

    def write(self, value: Any, folder: Path, *, example: Any, trusted: bool, options: Mapping[str, Any]) -> Written:
        """Write an estimator.

        Args:
            options: call: the method that serving without code calls; by default the first of predict, predict_proba,
                decision_function, transform that it has.
        """
        given = take_options(options, ("call",), "tiffin.sklearn.save")
        files = library("skops.io")
        path = folder / "model.skops"
        files.dump(value, path)
        unknown = files.get_untrusted_types(file=path)
        foreign = [name for name in unknown if not name.startswith("sklearn.")]
        if foreign and not trusted:
            raise TrustError(
                f"this estimator holds types that are not scikit-learn's: {', '.join(sorted(foreign)[:5])}",
                hint="where they are your own: trusted=True; loading imports them",
            )
        call = given.get("call") or next((name for name in CALLS if hasattr(value, name)), "")
        if call and not hasattr(value, call):
            raise ModelError(f"{type(value).__qualname__} has no method {call!r}")
        signatures: dict[str, Signature] = {}
        if example is not None and call:
            names = ["features"]
            example = alone(example)
            signatures = {call: signature_of(example, getattr(value, call)(example), names=names, call=call)}
        elif call and getattr(value, "n_features_in_", 0):
            inputs = [_features(value)]
            signatures = {call: Signature(inputs=inputs, batch_dim=0, call=call)}
        return Written(
            format="skops",
            code=bool(unknown) or self._opens(path),
            options={"file": path.name, "call": call},
            distributions=self.distributions,
            signatures=signatures,
        )

    def detect(self, path: Path) -> Written | None:
        """Know a .skops file."""
        if path.suffix != ".skops" or not path.is_file():
            return None
        self._check(path)
        unknown = library("skops.io").get_untrusted_types(file=path)
        code = bool(unknown) or self._opens(path)
        return Written(format="skops", code=code, options={"file": path.name}, distributions=self.distributions)

    def _opens(self, path: Path) -> bool:
        """Say whether a vectorizer in the file takes the names of files as its input."""
        with checked_zip(path) as archive:
            schema = read_member(archive, "schema.json").decode("utf-8", "replace")
        return any(text in schema for text in ('\\"filename\\"', '\\"file\\"', "'filename'"))

    def _check(self, path: Path) -> None:
        if not is_zip(path):
            raise ModelError(f"{path.name} is no skops file")
        with checked_zip(path) as archive:
            try:
                json.loads(read_member(archive, "schema.json"))
            except (KeyError, ValueError, RecursionError) as error:
                raise ModelError(f"{path.name} is no skops file: {error}") from error

    def examine(self, path: Path) -> list[str]:
        """List the types of a skops file that are not scikit-learn's."""
        if path.suffix != ".skops":
            return []
        self._check(path)
        found = [f"{path.name} makes objects of {name}" for name in library("skops.io").get_untrusted_types(file=path)]
        return [*found, f"{path.name} opens files that a caller names"] if self._opens(path) else found

    def _read(self, stored: Stored, device: str, options: Mapping[str, Any]) -> Any:
        del device, options
        path = only_file(stored, (".skops",))
        self._check(path)
        files = library("skops.io")
        unknown = files.get_untrusted_types(file=path)
        if unknown and (stored.trust is None or not stored.manifest.code):
            raise TrustError(
                f"{stored.ref} would make objects of {', '.join(sorted(unknown)[:5])}",
                hint=f"tiffin models inspect {stored.ref}; then tiffin models trust {stored.ref}",
            )
        if self._opens(path) and (stored.trust is None or not stored.manifest.code):
            raise TrustError(
                f"{stored.ref} opens files that a caller names (input='filename')",
                hint="tiffin models trust, if it is meant",
            )
        return files.load(path, trusted=unknown)

    def signatures(self, stored: Stored) -> dict[str, Signature]:
        """Read the number of features from the estimator."""
        stored.verify()
        loaded = self.read(stored, "cpu", {})
        call = next((name for name in CALLS if hasattr(loaded, name)), "")
        features = int(getattr(loaded, "n_features_in_", 0))
        if not call or not features:
            return {}
        inputs = [_features(loaded)]
        return {call: Signature(inputs=inputs, batch_dim=0, call=call)}

    def runner(self, stored: Stored, loaded: Any) -> Any:
        """Return what calls the estimator's method with its one input."""
        recorded = stored.manifest.signatures or self.signatures(stored)
        call = getattr(loaded, next(iter(recorded.values())).call)

        def run(**inputs: Any) -> Any:
            found = call(*inputs.values())
            return found.toarray() if hasattr(found, "toarray") else found  # a sparse matrix

        return run


ROOM = SkLearn()
save, load = ROOM.save, ROOM.load


def _features(estimator: Any) -> Value:
    """Return the input of an estimator that was trained on a matrix, or on a table whose columns it remembers."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        return Value(name="features", kind="table", columns=dict.fromkeys(map(str, names), ""))
    return Value(name="features", dtype="float64", shape=[None, int(estimator.n_features_in_)])
