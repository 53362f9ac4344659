"""What all frameworks' rooms have in common: saving and loading by name, versions compared, arguments checked.

Owns the defaults of `tiffin.store.rooms.Room`; never imports a framework.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tiffin.errors import ModelError, SpecError, TiffinError, TrustError
from tiffin.gpu.device import device as own_device
from tiffin.store import models
from tiffin.store.manifest import Signature
from tiffin.store.model import Model
from tiffin.store.names import nearest
from tiffin.store.rooms import Written
from tiffin.store.store import Stored


class Framework:
    """One framework; a subclass says what is its own, an instance is the entry point.

    Attributes:
        name: of the room. rank: the higher one wins where two claim an object or a file.
        distributions: whose versions are recorded. reading: names of `load`'s own options.
    """

    name: ClassVar[str]
    rank: ClassVar[int] = 0
    distributions: ClassVar[tuple[str, ...]] = ()
    reading: ClassVar[tuple[str, ...]] = ()

    def save(self, name: str, value: Any, **options: Any) -> Model:
        """Save an object of this framework; arguments as for `tiffin.models.save`, and the framework's own."""
        return models.save(name, value, framework=self.name, **options)

    def load(self, ref: str, *, device: str | None = None, **options: Any) -> Any:
        """Load a model of this framework on a device ("cpu", "cuda:0"; by default this process's own).

        Raises:
            ModelError: it is another framework's. The rest as for `tiffin.models.load`.
        """
        model = models.get(ref)
        if model.info.framework != self.name:
            other = model.info.framework
            raise ModelError(
                f"{model.ref} is a model of {other}, not of {self.name}", hint=f"tiffin.models.load({ref!r})"
            )
        return model.load(device=device, **options)

    # -- the contract; see `tiffin.store.rooms.Room` ---------------------------------------------------------------------------

    def claims(self, value: object) -> bool:
        """Say whether this is an object of the framework's; loads nothing."""
        del value
        return False

    def write(self, value: Any, folder: Path, *, example: Any, trusted: bool, options: Mapping[str, Any]) -> Written:
        """Write an object's files into an empty folder."""
        raise NotImplementedError

    def read(self, stored: Stored, device: str, options: Mapping[str, Any]) -> Any:
        """Make the object of verified files, on a device; options are checked, the rest is `_read`'s."""
        for option in options:
            if option not in self.reading:
                known = ", ".join(self.reading) or "none"
                hint = nearest(option, self.reading) or f"{self.name} knows: {known}"
                raise ModelError(f"loading {stored.ref}: option {option!r} does not exist", hint=hint)
        try:
            return self._read(stored, device or own_device(), options)
        except (TiffinError, MemoryError):
            raise
        except Exception as error:  # wall: the library has its own ways to say that a file is not what it should be
            reason = str(error).strip().splitlines()[:1] or [""]
            raise ModelError(
                f"{stored.ref} cannot be loaded by {self.name}: {type(error).__name__}: {reason[0][:300]}"
            ) from error

    def _read(self, stored: Stored, device: str, options: Mapping[str, Any]) -> Any:
        raise NotImplementedError

    def detect(self, path: Path) -> Written | None:
        """Say what a foreign file or folder is, None where it is none of the framework's; executes nothing of it."""
        del path
        return None

    def runner(self, stored: Stored, loaded: Any) -> Any:
        """Return what calls a loaded model with the signature's inputs by name."""
        del loaded
        raise SpecError(
            f"{stored.ref} ({self.name}/{stored.manifest.format}) cannot be served without a service class",
            hint=f"write one whose __init__ calls tiffin.models.load({stored.manifest.name!r})",
        )

    def signatures(self, stored: Stored) -> dict[str, Signature]:
        """Return how a model is called where its manifest does not say it; may load it, on the CPU."""
        del stored
        return {}

    def examine(self, path: Path) -> list[str]:
        """Say what a file or folder would run or open beyond itself when loaded, as sentences; executes nothing."""
        del path
        return []

    def differences(self, format: str, saved: Mapping[str, str], present: Mapping[str, str]) -> tuple[str, bool]:
        """Say which versions differ, and whether that is known to break.

        A difference in the first two numbers is worth a word. What breaks is a format's own matter: `_breaks`.
        """
        parts: list[str] = []
        breaks = False
        for name, then in saved.items():
            now = present.get(name)
            if now is None or numbers(then)[:2] == numbers(now)[:2]:
                continue
            reason = self._breaks(format, name, numbers(then), numbers(now))
            parts.append(f"saved with {name} {then}, here is {now}{f': {reason}' if reason else ''}")
            breaks = breaks or bool(reason)
        return "; ".join(parts), breaks

    def _breaks(self, format: str, name: str, then: tuple[int, ...], now: tuple[int, ...]) -> str:
        """Return why a format written by one version cannot be read by another, "" where it can."""
        del format, name, then, now
        return ""


def numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: "2.13.0+cpu" → (2, 13, 0)."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def is_a(value: object, *places: str) -> bool:
    """Say whether an object's class, or one that it is derived from, is one of "module:Class"; loads nothing.

    A class counts by the module that it was imported from, or any module loaded now that holds it by this name.
    """
    bases = type(value).__mro__
    for place in places:
        module, _, name = place.partition(":")
        loaded = sys.modules.get(module)
        wanted = getattr(loaded, name, None) if loaded is not None else None
        if wanted is not None and wanted in bases:
            return True
    return False


def refuse_code(stored: Stored, reaching: list[str]) -> None:
    """Refuse a model without a mark in which something was found that is not data.

    Args:
        reaching: what was found, as sentences; empty: it is data.

    Raises:
        TrustError: something was.
    """
    if reaching:
        raise TrustError(
            f"{stored.ref} is not data alone: {reaching[0]}", hint=f"tiffin models inspect {stored.ref} shows all of it"
        )


def take_options(options: Mapping[str, Any], known: tuple[str, ...], what: str) -> dict[str, Any]:
    """Return options of a `save`.

    Raises:
        ModelError: one does not exist.
    """
    for option in options:
        if option not in known:
            hint = nearest(option, known) or f"known are {', '.join(known) or 'none'}"
            raise ModelError(f"{what}: option {option!r} does not exist", hint=hint)
    return dict(options)


def only_file(stored: Stored, suffixes: tuple[str, ...]) -> Path:
    """Return the path of a model's one file, by its recorded name or its suffix.

    Raises:
        ModelError: there is none.
    """
    name = stored.manifest.options.get("file")
    paths = {entry.path for entry in stored.manifest.files}
    if isinstance(name, str) and name in paths:
        return stored.folder / name
    found = [stored.folder / path for path in paths if path.endswith(suffixes) and "/" not in path]
    if len(found) != 1:
        raise ModelError(f"{stored.ref}: there is no one file {' or '.join(suffixes)} in it")
    return found[0]
