"""A version of a model, as its user holds it: loads itself, its side objects and its example.

Owns the checks before a load (digests, trust, versions of the framework); never changes the store.
"""

from __future__ import annotations

import warnings
from importlib import metadata as installed
from pathlib import Path
from typing import Any

from tiffin.errors import ModelError, TrustError
from tiffin.store.digests import Progress, silent
from tiffin.store.examples import read_example
from tiffin.store.manifest import Manifest
from tiffin.store.rooms import room
from tiffin.store.sides import read_side
from tiffin.store.store import Stored


class VersionWarning(UserWarning):
    """A model was saved with other versions of its framework than are installed here."""


class Model:
    """A version of a model in the store. Never changes; `tag` and `trust` are marks beside it."""

    __slots__ = ("_stored",)

    def __init__(self, stored: Stored) -> None:
        self._stored = stored

    @property
    def name(self) -> str:
        """Its name."""
        return self._stored.manifest.name

    @property
    def version(self) -> str:
        """Its version."""
        return self._stored.manifest.version

    @property
    def ref(self) -> str:
        """Name and version: "digits:20261125t093015123-5f0c"."""
        return self._stored.ref

    @property
    def info(self) -> Manifest:
        """Everything that is recorded of it."""
        return self._stored.manifest

    @property
    def labels(self) -> dict[str, str]:
        """Labels, text → text."""
        return dict(self._stored.manifest.labels)

    @property
    def metadata(self) -> dict[str, Any]:
        """What was recorded beside it, anything JSON."""
        return dict(self._stored.manifest.metadata)

    @property
    def trusted(self) -> bool:
        """Whether code in it may run here."""
        return self._stored.trust is not None

    @property
    def path(self) -> Path:
        """Folder of its files, verified now; nothing in it may be changed.

        Raises:
            DamagedError: a file is not what was recorded.
        """
        self._stored.verify()
        return self._stored.folder

    @property
    def example(self) -> Any:
        """The example input that was recorded, None for none."""
        return read_example(self._stored)

    def load(self, *, device: str | None = None, progress: Progress = silent, **options: Any) -> Any:
        """Return the object that was saved, on a device.

        Args:
            device: "cpu", "cuda:0", …; by default this process's own: in a worker the one it was placed on.
            progress: told bytes read and bytes of all while the files are verified. options: of the framework's own `load`.

        Raises:
            DamagedError: a file is not what was recorded. TrustError: it bears code and has no trust mark.
            ConfigError: the framework is not installed. ModelError: it cannot be loaded by the versions that are installed.
        """
        stored = self._stored
        manifest = stored.manifest
        if manifest.code and stored.trust is None:
            raise TrustError(
                f"{stored.ref}: loading the format {manifest.framework}/{manifest.format} runs code that is in its files, "
                "and it is not trusted here",
                hint=f"`tiffin models inspect {stored.ref}` shows what it would run; then `tiffin models trust {stored.ref}`",
            )
        owner = room(manifest.framework)
        _compare(stored)
        stored.verify(progress)
        return owner.read(stored, device or "", options)

    def object(self, name: str, *, device: str | None = None) -> Any:
        """Return a side object; a file or folder as its Path.

        Raises:
            NotFoundError: there is none of that name. DamagedError, TrustError: as for `load`.
        """
        self._stored.verify()
        return read_side(self._stored, name, device or "")

    def __repr__(self) -> str:
        return f"<Model {self.ref} ({self.info.framework}/{self.info.format})>"


def installed_versions(distributions: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of those distributions that are installed."""
    found: dict[str, str] = {}
    for name in distributions:
        try:
            found[name] = installed.version(name)
        except installed.PackageNotFoundError:
            continue
    return found


def _compare(stored: Stored) -> None:
    """Say what differs between the versions of the framework then and now.

    Raises:
        ModelError: that is known to break.
    """
    saved = stored.manifest.versions
    present = installed_versions(tuple(saved))
    text, breaks = room(stored.manifest.framework).differences(stored.manifest.format, saved, present)
    if breaks:
        raise ModelError(f"{stored.ref} cannot be loaded here: {text}", hint="install the version it was saved with")
    if text:
        warnings.warn(f"{stored.ref}: {text}", VersionWarning, stacklevel=4)
