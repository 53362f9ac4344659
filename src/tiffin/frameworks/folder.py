"""A plain folder or file in the store: whatever it is, its path is what `load` returns. Owns nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiffin.errors import ModelError
from tiffin.frameworks.room import Framework, take_options
from tiffin.store.draft import regular_files
from tiffin.store.rooms import Written
from tiffin.store.store import Stored


class Folder(Framework):
    """See the module."""

    name = "folder"
    rank = -5

    def write(self, value: Any, folder: Path, *, example: Any, trusted: bool, options: Mapping[str, Any]) -> Written:
        """Copy a folder or a file, without links."""
        del example, trusted
        take_options(options, (), "tiffin.models.save(framework='folder')")
        source = Path(value)
        if source.is_dir():
            for path in list(regular_files(source)):
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / path, target, follow_symlinks=False)
            return Written(format="folder")
        if source.is_symlink() or not source.is_file():
            raise ModelError(f"{source} is neither a folder nor a regular file")
        shutil.copyfile(source, folder / source.name, follow_symlinks=False)
        return Written(format="file", options={"file": source.name})

    def _read(self, stored: Stored, device: str, options: Mapping[str, Any]) -> Any:
        del device, options
        name = stored.manifest.options.get("file")
        if name is None:
            return stored.folder
        if name not in {entry.path for entry in stored.manifest.files}:
            raise ModelError(f"{stored.ref}: {name!r} is no file of this model")
        return stored.folder / str(name)


ROOM = Folder()
