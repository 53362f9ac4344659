"""The describe child: imports the user's module once, prints the application as JSON, exits.

Owns its own standard output, which user code must not reach; never starts a worker.
Run as `python -m tiffin.service.describe TARGET --dir FOLDER`. Exit status: 0; 65 for a service that cannot be served; 70 when the
user's own module raised.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

import msgspec

from tiffin.errors import UsageError
from tiffin.service.application import application_of
from tiffin.service.load import load_service, user_place, user_traceback
from tiffin.spec.service import Application


class Description(msgspec.Struct, frozen=True):
    """What is printed. files: the user's files that were imported."""

    application: Application
    files: list[str] = []


def describe(target: str, app_dir: str) -> Description:
    """Import a service and describe it.

    Raises:
        SpecError: it cannot be served as written.
    """
    return Description(application_of(load_service(target, app_dir), importable=True), user_files(app_dir))


def user_files(app_dir: str) -> list[str]:
    """Return the imported files that are the user's: below `app_dir`, or in neither the standard library nor site-packages."""
    folder = Path(app_dir).resolve()
    installed = [
        Path(path).resolve() for name, path in sysconfig.get_paths().items() if name in ("stdlib", "purelib", "platlib")
    ]
    own = Path(__file__).resolve().parents[1]
    files: set[str] = set()
    for module in list(sys.modules.values()):
        name = getattr(module, "__file__", None)
        if not isinstance(name, str):
            continue
        path = Path(name).resolve()
        if path.is_relative_to(own) or "site-packages" in path.parts or "dist-packages" in path.parts:
            continue
        if path.is_relative_to(folder) or not any(path.is_relative_to(place) for place in installed):
            files.add(str(path))
    return sorted(files)


def main(arguments: list[str]) -> int:
    """Describe and print; see the module."""
    target, app_dir = arguments[0], arguments[arguments.index("--dir") + 1]
    module = target.partition(":")[0]
    output = os.dup(1)
    os.dup2(2, 1)  # what user code prints at import goes to stderr
    try:
        described = describe(target, app_dir)
    except UsageError as error:
        place = user_place(error)
        sys.stderr.write(f"error: {error.message}\n" + (f"  at {place}\n" if place else ""))
        sys.stderr.write(f"hint: {error.hint}\n" if error.hint else "")
        return error.exit_code
    except SystemExit as error:
        sys.stderr.write(
            f"error: module {module} cannot be imported: it calls sys.exit({error.code!r})\n  at {user_place(error)}\n"
            'hint: put what only a script does below: if __name__ == "__main__":\n'
        )
        return 70
    except BaseException as error:  # wall: the user's module may raise anything
        sys.stderr.write(f"{user_traceback(error)}\nerror: module {module} cannot be imported\n")
        return 70
    with open(output, "wb") as file:  # noqa: PTH123  a descriptor, not a path
        file.write(msgspec.json.encode(described))
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # libraries that the user imports may leave threads behind; nobody waits for them
