"""The one place where pickles are loaded: only of models in the store whose content is marked as trusted.

Owns the check and the calls; nothing else in Tiffin unpickles. What is loaded here runs code that is in the file.
"""
# pyright: basic

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiffin.errors import ModelError, TrustError
from tiffin.frameworks.library import library
from tiffin.frameworks.room import Framework, only_file, take_options
from tiffin.store.pickles import looks_pickled
from tiffin.store.rooms import Written
from tiffin.store.store import Stored

_WRITERS = ("pickle", "joblib", "cloudpickle")


def check(stored: Stored) -> None:
    """Refuse a model without a mark.

    Raises:
        TrustError: it has none.
    """
    if stored.trust is None:
        raise TrustError(
            f"{stored.ref}: loading it runs code that is in its files, and it is not trusted here",
            hint=f"tiffin models inspect {stored.ref} shows what it would run; then tiffin models trust {stored.ref}",
        )


def load_torch(stored: Stored, path: Path, device: str) -> Any:
    """Return a whole module or checkpoint that `torch.save` pickled."""
    check(stored)
    return library("torch").load(path, map_location=device, weights_only=False)


class Pickle(Framework):
    """Any object, pickled by pickle, joblib or cloudpickle; only with `trusted=True`."""

    name = "pickle"
    rank = -10
    distributions = ("cloudpickle", "joblib", "scikit-learn", "numpy")

    def write(self, value: Any, folder: Path, *, example: Any, trusted: bool, options: Mapping[str, Any]) -> Written:
        """Pickle an object.

        Args:
            options: by: "pickle" (default), "joblib" (large arrays), "cloudpickle" (functions and classes of the running program).
        """
        del example
        by = take_options(options, ("by",), "tiffin.models.save(framework='pickle')").get("by", "pickle")
        if by not in _WRITERS:
            raise ModelError(f"by={by!r} does not exist", hint=f"choose {', '.join(_WRITERS)}")
        if not trusted:
            raise TrustError(
                f"a {type(value).__qualname__} can only be saved as a pickle, and loading one runs code that is in it",
                hint="where the file stays yours: trusted=True",
            )
        path = folder / f"object.{'joblib' if by == 'joblib' else 'pkl'}"
        if by == "joblib":
            library("joblib").dump(value, path)
        else:
            with path.open("wb") as file:
                library(by).dump(value, file)
        return Written(format=by, code=True, distributions=self.distributions, options={"file": path.name})

    def detect(self, path: Path) -> Written | None:
        """Know a pickle by its first bytes."""
        if path.is_file() and looks_pickled(path):
            by = "joblib" if path.suffix == ".joblib" else "pickle"
            return Written(format=by, code=True, options={"file": path.name}, distributions=self.distributions)
        return None

    def _read(self, stored: Stored, device: str, options: Mapping[str, Any]) -> Any:
        import pickle

        del device, options
        check(stored)
        path = only_file(stored, (".pkl", ".joblib", ".pickle"))
        if stored.manifest.format == "joblib" or path.suffix == ".joblib":
            return library("joblib").load(path)
        with path.open("rb") as file:
            return pickle.load(file)  # noqa: S301  the mark was checked

    def runner(self, stored: Stored, loaded: Any) -> Any:
        """Call `predict`, or the object itself."""
        call = getattr(loaded, "predict", loaded)
        if not callable(call):
            return super().runner(stored, loaded)
        return lambda **inputs: call(*inputs.values())


ROOM = Pickle()
