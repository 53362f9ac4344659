"""Import strings → classes, in describe children and workers.

Owns how the user's module is imported; never builds a spec and never makes an instance.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

from tiffin.errors import SpecError
from tiffin.service.define import Definition


def load_service(target: str, app_dir: str) -> type:
    """Import a service class.

    Args:
        target: "module:Class", or "module" where the module defines one service. app_dir: folder to import from.

    Raises:
        SpecError: there is no such module or service. An exception of the user's own module passes through.
    """
    module_name, _, class_name = target.partition(":")
    module = _import(module_name, app_dir)
    services = services_in(module)
    if class_name:
        found: object = module
        for part in class_name.split("."):
            found = getattr(found, part, None)
        if isinstance(found, type) and isinstance(vars(found).get("__tiffin__"), Definition):
            return found
        names = ", ".join(service.__qualname__ for service in services) or "none"
        what = "is not a service" if found is not None else "is not there"
        raise SpecError(f"{class_name} {what} in module {module_name}", hint=f"services in it: {names}")
    used = {
        dependency.definition.service
        for service in services
        for dependency in vars(service)["__tiffin__"].dependencies().values()
    }
    entries = [service for service in services if service not in used]
    if len(entries) == 1:
        return entries[0]
    if not services:
        raise SpecError(f"module {module_name} defines no service", hint="put @tiffin.service before a class in it")
    names = ", ".join(service.__qualname__ for service in entries or services)
    raise SpecError(
        f"module {module_name} defines several services that could be meant: {names}",
        hint=f"name one, for example {module_name}:{(entries or services)[0].__qualname__}",
    )


def services_in(module: ModuleType) -> list[type]:
    """Return the services that a module defines itself; where it defines none, those that it imports."""
    found = {
        value: None
        for value in vars(module).values()
        if isinstance(value, type) and isinstance(vars(value).get("__tiffin__"), Definition)
    }
    return [service for service in found if service.__module__ == module.__name__] or list(found)


def user_traceback(error: BaseException) -> str:
    """Return a traceback that begins in the user's own code, not in Tiffin's or the import system's."""
    summary = traceback.TracebackException.from_exception(error)
    _keep_user_frames(summary)
    return "".join(summary.format()).rstrip()


def user_place(error: BaseException) -> str:
    """Return the user's line that an exception came from, "" where there is none: ``/srv/service.py, line 7``."""
    summary = traceback.TracebackException.from_exception(error)
    _keep_user_frames(summary)
    return f"{summary.stack[-1].filename}, line {summary.stack[-1].lineno}" if summary.stack else ""


def _keep_user_frames(summary: traceback.TracebackException) -> None:
    own = f"{Path(__file__).parents[1]}{os.sep}"
    importing = ("<frozen importlib", f"{Path(importlib.__file__).parent}{os.sep}")
    seen: set[int] = set()
    left: list[traceback.TracebackException | None] = [summary]
    while left:  # what caused it, and what was handled meanwhile, are shown too
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        frames = [frame for frame in one.stack if not frame.filename.startswith((own, *importing))]
        one.stack = traceback.StackSummary.from_list(frames)
        left += [one.__cause__, one.__context__, *(one.exceptions or ())]


def _import(name: str, app_dir: str) -> ModuleType:
    folder = str(Path(app_dir).resolve())
    if not sys.path or sys.path[0] != folder:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise  # a module that the user's own module wants
        raise SpecError(
            f"no module named {name!r} in {folder}", hint="check the name before the colon, and the folder"
        ) from None
    wanted = Path(folder, *name.split(".")).with_suffix(".py")
    loaded = getattr(module, "__file__", None)
    if wanted.is_file() and (loaded is None or not wanted.samefile(loaded)):
        raise SpecError(
            f"{wanted} cannot be imported: Python has a module {name!r} of its own", hint="give the file another name"
        )
    return module
