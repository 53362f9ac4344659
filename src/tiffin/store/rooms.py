"""What the store asks of a framework: to write a model's files, to read them, to know its own files when it sees them.

Owns the contract and the finding of who fulfils it, by the entry points `tiffin.frameworks`; never imports a framework.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

import msgspec

from tiffin.errors import ModelError
from tiffin.store.manifest import Signature
from tiffin.store.names import nearest
from tiffin.store.store import Stored

GROUP = "tiffin.frameworks"
Call = Callable[..., Any]


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What a framework says of the files it has written, or found.

    Attributes:
        format: its name for them. code: loading them runs code that is in them. options: for its own `read`.
        distributions: installed ones whose versions matter. signatures: as in the manifest.
    """

    format: str
    code: bool = False
    options: dict[str, Any] = {}
    distributions: tuple[str, ...] = ()
    signatures: dict[str, Signature] = {}


class Room(Protocol):
    """One framework."""

    name: str

    def claims(self, value: object) -> bool:
        """Say whether this is an object of the framework's; loads nothing."""
        ...

    def write(self, value: Any, folder: Path, *, example: Any, trusted: bool, options: Mapping[str, Any]) -> Written:
        """Write an object's files into an empty folder."""
        ...

    def read(self, stored: Stored, device: str, options: Mapping[str, Any]) -> Any:
        """Make the object of verified files, on a device ("cpu", "cuda:0"; "" for this process's own)."""
        ...

    def detect(self, path: Path) -> Written | None:
        """Say what a file or folder that somebody else made is, None for none of the framework's; executes nothing of it."""
        ...

    def runner(self, stored: Stored, loaded: Any) -> Call:
        """Return what calls a loaded model with the signature's inputs by name; for serving without code."""
        ...

    def signatures(self, stored: Stored) -> dict[str, Signature]:
        """Say how a model is called where its manifest does not; may load it, on the CPU."""
        ...

    def examine(self, path: Path) -> list[str]:
        """Say what the framework's file or folder would run or open beyond itself when loaded, as sentences; executes nothing."""
        ...

    def differences(self, format: str, saved: Mapping[str, str], present: Mapping[str, str]) -> tuple[str, bool]:
        """Say what differs between the versions it was saved with and those here, and whether that is known to break."""
        ...


@functools.cache
def names() -> tuple[str, ...]:
    """Return the names of the frameworks that are there."""
    return tuple(sorted(point.name for point in entry_points(group=GROUP)))


@functools.cache
def room(name: str) -> Room:
    """Return a framework's room.

    Raises:
        ModelError: there is none of that name.
    """
    for point in entry_points(group=GROUP):
        if point.name == name:
            found: Room = point.load()
            return found
    raise ModelError(
        f"framework {name!r} is not known", hint=nearest(name, names()) or f"known are {', '.join(names())}"
    )


def claiming(value: object) -> Room | None:
    """Return the room whose object this is; the most special one where several claim it."""
    claims = [found for found in map(room, names()) if found.claims(value)]
    return max(claims, key=lambda found: getattr(found, "rank", 0), default=None)


def detecting(path: Path) -> tuple[Room, Written] | None:
    """Return the room that knows a foreign file or folder, and what it is."""
    for found in sorted(map(room, names()), key=lambda one: -getattr(one, "rank", 0)):
        written = found.detect(path)
        if written is not None:
            return found, written
    return None
