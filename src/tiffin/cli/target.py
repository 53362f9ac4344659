"""What `tiffin serve` was asked to serve → module and class to import, folder to import from.

Owns the reading of the argument; never imports the user's code.
"""

from __future__ import annotations

import re
from pathlib import Path

from tiffin.errors import StartError

_MARK = re.compile(r"^\s*@(?:\w+\.)?service\b", re.MULTILINE)
_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z")
_READ_BYTES = 1_000_000


def find_target(argument: str | None) -> tuple[str, str]:
    """Return ("module:Class" or "module", folder).

    Args:
        argument: "service:Digits", "service.py:Digits", "folder/service.py", a folder, None for this folder; "model:digits" or
            "model:digits:v3" for a model in the store.

    Raises:
        StartError: no such file or folder, or not exactly one service can be meant. NotFoundError: there is no such model.
    """
    place, colon, name = (argument or ".").partition(":")
    if place == "model" and colon and not Path("model.py").exists():
        from tiffin.frameworks.served import target_of  # reads the store

        return target_of(name), str(Path.cwd())
    if colon and not _CLASS.match(name):
        raise StartError(
            f"{argument!r}: {name!r} is not the name of a class", hint="write module:Class, for example service:Digits"
        )
    path = Path(place)
    if path.is_dir():
        path = _file_in(path)
    if path.suffix == ".py":
        if not path.is_file():
            raise StartError(
                f"file {str(path)!r} does not exist", hint="write service.py:Class, or the folder that holds it"
            )
        module, folder = _module_of(path.resolve())
    else:
        module, folder = place, Path.cwd()
        if "/" in place:
            raise StartError(f"{argument!r} is neither a file, nor a folder, nor a module", hint="check the path")
    return (f"{module}:{name}" if colon else module), str(folder)


def _module_of(path: Path) -> tuple[str, Path]:
    """Return how Python imports a file, and from which folder; one in a package as a part of it."""
    names = [] if path.stem == "__init__" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    for name in names:
        if not name.isidentifier():
            raise StartError(
                f"{str(path)!r} cannot be imported: {name!r} is not a name in Python",
                hint="rename it, for example service.py",
            )
    return ".".join(names), folder


def _file_in(folder: Path) -> Path:
    """Return the one file of a folder that defines a service."""
    found = [path for path in sorted(folder.glob("*.py")) if _MARK.search(_text(path))]
    preferred = folder / "service.py"
    if preferred in found:
        return preferred
    if len(found) == 1:
        return found[0]
    shown = folder.resolve()
    if not found:
        raise StartError(f"no file in {shown} defines a service", hint="name what to serve, for example service:Digits")
    names = ", ".join(path.name for path in found)
    raise StartError(
        f"several files in {shown} define services: {names}", hint=f"name one, for example {found[0].name}"
    )


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_READ_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
