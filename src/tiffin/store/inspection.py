"""What a model's files would execute when they are loaded, found without loading them.

Owns the report: pickles are read as programs, each framework's room looks into its own files, and scanners that are installed are
asked for a second opinion, which is advice and decides nothing. Never executes what is in a model.
"""
# pyright: basic

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path

import msgspec

from tiffin.errors import ModelError
from tiffin.store.draft import regular_files
from tiffin.store.pickles import looks_pickled, read_pickles
from tiffin.store.rooms import detecting, names, room
from tiffin.store.store import Stored
from tiffin.store.zips import is_zip


class Inspected(msgspec.Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes:
        runs: what would be imported, called or opened, as sentences. dangerous: those that can run anything.
        advice: what scanners say, "picklescan: …". problems: what could not be looked into, and why.
        looked: number of files. clean: nothing was found and everything could be looked into.
    """

    runs: list[str] = []
    dangerous: list[str] = []
    advice: list[str] = []
    problems: list[str] = []
    looked: int = 0

    @property
    def clean(self) -> bool:
        """Whether the files are data alone."""
        return not (self.runs or self.dangerous or self.problems)


def inspect(path: Path) -> Inspected:
    """Look into a file, or all files of a folder.

    Raises:
        ModelError: a link or device is among them.
    """
    if not path.exists():
        raise ModelError(f"{path} does not exist", exit_code=66)
    files = [path] if path.is_file() else [path / name for name in regular_files(path)]
    runs: list[str] = []
    dangerous: list[str] = []
    advice: list[str] = []
    problems: list[str] = []
    folders = (
        [path, *{parent for file in files for parent in file.parents if path in parent.parents}]
        if path.is_dir()
        else []
    )
    for place in [*files, *folders]:
        for name in names():
            try:
                runs += room(name).examine(place)
            except ModelError as error:
                problems.append(error.message)
            except (
                Exception
            ) as error:  # wall: the files are a stranger's, the libraries that look into them are others'
                problems.append(f"{place.name}: {name} cannot look into it: {type(error).__name__}: {error}"[:200])
    for file in files:
        if not (looks_pickled(file) or is_zip(file)) or _vouched(file):
            continue
        try:
            for found in read_pickles(file):
                runs += [f"{found.place} imports {name}" for name in found.names]
                dangerous += [f"{found.place} imports {name}" for name in found.dangerous]
                if found.problem:
                    problems.append(f"{found.place}: {found.problem}")
        except ModelError as error:
            problems.append(error.message)
        advice += [*_picklescan(file), *_fickling(file)]
    return Inspected(
        runs=list(dict.fromkeys(runs)),
        dangerous=list(dict.fromkeys(dangerous)),
        advice=advice,
        problems=list(dict.fromkeys(problems)),
        looked=len(files),
    )


def inspect_stored(stored: Stored) -> Inspected:
    """Look into a model of the store: its files, and what its manifest would have run.

    Raises:
        DamagedError: a file is not what was recorded.
    """
    stored.verify()
    found = inspect(stored.folder)
    manifest = stored.manifest
    runs = list(found.runs)
    if "class" in manifest.options:
        runs.append(
            f"model.json names the class {manifest.options['class']}, which load imports unless it is given another"
        )
    if manifest.code and not runs:
        runs.append(f"the format {manifest.framework}/{manifest.format} bears code")
    return msgspec.structs.replace(found, runs=list(dict.fromkeys(runs)))


def _vouched(file: Path) -> bool:
    """Say whether a framework knows the file as data of its own: what is pickled in it is read by a loader that makes tensors."""
    try:
        found = detecting(file) if is_zip(file) else None
    except Exception:  # wall: as above; then its pickles are listed
        return False
    return file.suffix == ".npz" or (found is not None and not found[1].code)


def _picklescan(file: Path) -> list[str]:
    try:
        from picklescan.scanner import scan_file_path
    except ImportError:
        return []
    logging.getLogger("picklescan").setLevel(logging.CRITICAL)
    try:
        result = scan_file_path(str(file))
    except Exception as error:  # wall: a scanner's opinion is welcome, its failure is not ours
        return [f"picklescan: {file.name}: {type(error).__name__}: {error}"[:200]]
    bad = [f"{found.module}.{found.name}" for found in result.globals if found.safety.value == "dangerous"]
    return [
        f"picklescan: {file.name}: {len(bad)} dangerous ({', '.join(bad[:3])})"
        if bad
        else f"picklescan: {file.name}: nothing"
    ]


def _fickling(file: Path) -> list[str]:
    if is_zip(file):
        return []
    try:
        from fickling import is_likely_safe
    except ImportError:
        return []
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            safe = is_likely_safe(str(file))
    except Exception as error:  # wall: as above
        return [f"fickling: {file.name}: {type(error).__name__}: {error}"[:200]]
    return [f"fickling: {file.name}: {'likely safe' if safe else 'not likely safe'}"]
