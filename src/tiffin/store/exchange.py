"""Models out of the store and into it, whole: as an archive, as a folder, by any URL that fsspec knows.

Owns the two forms of an exported model; what others made is read by `foreign`. Nothing is taken that its digest does not fit, and
a trust mark never travels.
"""

from __future__ import annotations

import importlib
import secrets
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from tiffin.errors import ConfigError, DamagedError, ModelError, TrustError
from tiffin.store import archive, fs
from tiffin.store.digests import Progress, silent
from tiffin.store.draft import Draft
from tiffin.store.manifest import Manifest, decode, encode
from tiffin.store.names import Ref
from tiffin.store.store import Store, Stored

SUFFIX = ".tar"
_PIECE = 1_048_576


# -- out ---------------------------------------------------------------------------------------------------------------------


def export(stored: Stored, target: str, progress: Progress = silent) -> str:
    """Write a model to an archive, a folder, or a URL; return where it is.

    Args:
        target: a path that ends in ".tar"; a folder that exists, in which the archive gets the model's name; a new folder, which
            ends in "/", in which the files are laid out; or a URL such as "s3://bucket/models/".

    Raises:
        DamagedError: the stored files are not what was recorded. ModelError: it is there already, or cannot be written.
    """
    stored.verify(progress)
    manifest = stored.manifest
    name = f"{manifest.name}-{manifest.version}"
    if "://" in target:
        place = target if target.endswith(SUFFIX) else f"{target.rstrip('/')}/{name}{SUFFIX}"
        with _opened(place, "wb") as file:
            for piece in _pieces(stored, progress):
                file.write(piece)
        return place
    path = Path(target)
    if path.is_dir():
        path = path / f"{name}{SUFFIX}"
    elif target.endswith("/"):
        _lay_out(stored, path)
        return str(path)
    elif path.suffix != SUFFIX:
        raise ModelError(f"{target!r}: an archive's name ends in {SUFFIX}", hint=f"a folder's in '/': {target}/")
    if path.exists():
        raise ModelError(f"{path} exists already", hint="remove it, or choose another name")
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        fs.write_file(scratch, _pieces(stored, progress))
        fs.rename(scratch, path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        fs.refuse(error, f"{path} cannot be written")
    return str(path)


def _pieces(stored: Stored, progress: Progress) -> Iterator[bytes]:
    """Yield an archive: the same bytes for the same model, on any machine."""
    text = encode(stored.manifest)
    yield archive.header("model.json", len(text)) + text + archive.padding(len(text))
    done = 0
    written: set[str] = set()
    for entry in stored.manifest.files:
        if entry.sha256 in written:
            continue
        written.add(entry.sha256)
        yield archive.header(f"sha256/{entry.sha256}", entry.size)
        with (stored.folder / entry.path).open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
                done += len(piece)
                progress(f"exporting {stored.ref}", done, stored.manifest.size)
        yield archive.padding(entry.size)
    yield archive.END


def _lay_out(stored: Stored, folder: Path) -> None:
    if folder.exists():
        raise ModelError(f"{folder} exists already", hint="remove it, or choose another name")
    try:
        fs.make_folder(folder.parent)
        scratch = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
        for entry in stored.manifest.files:
            target = scratch / "files" / entry.path
            fs.make_folder(target.parent)
            with (stored.folder / entry.path).open("rb") as file:
                fs.write_file(target, iter(lambda: file.read(_PIECE), b""))
        fs.make_folder(scratch)
        fs.write_file(scratch / "model.json", encode(stored.manifest))
        fs.rename(scratch, folder)
    except OSError as error:
        fs.refuse(error, f"{folder} cannot be written")


# -- in ----------------------------------------------------------------------------------------------------------------------


def allowed(manifest: Manifest, where: str, trust: str) -> str:
    """Return why the model's code may run here, "" where it has none.

    Args:
        trust: the reason that the caller gives, "" for none.

    Raises:
        TrustError: it bears code and there is no reason.
    """
    if not manifest.code:
        return ""
    if not trust:
        raise TrustError(
            f"{where}: loading a model in the format {manifest.framework}/{manifest.format} runs code that is in its files",
            hint="`tiffin models inspect` shows what it would run; if you trust where it is from: --trust (trusted=True)",
        )
    return trust


def import_archive(
    store: Store, source: BinaryIO, where: str, ref: Ref | None = None, trust: str = "", progress: Progress = silent
) -> Stored:
    """Take an archive into the store.

    Args:
        ref: other name and version to give it. trust: why its code may run here, "" for no reason.

    Raises:
        ModelError: it is none, or the version exists with other content. DamagedError: it is altered or cut short.
        TrustError: it bears code.
    """
    reader = archive.ArchiveReader(source, where)
    manifest = renamed(decode(reader.manifest, where), ref)
    trust = allowed(manifest, where, trust)
    present = same(store, manifest)
    if present is not None:
        return present
    with store.draft() as draft:
        wanted = contents(manifest)
        done = 0
        for member in reader.members():
            paths = wanted.pop(member.digest, None)
            if paths is None or paths[0][1] != member.size:
                raise ModelError(f"{where}: content {member.digest[:12]}… is not in its model.json, or of another size")

            def counted(pieces: Iterator[bytes]) -> Iterator[bytes]:
                nonlocal done
                for piece in pieces:
                    done += len(piece)
                    progress(f"importing {manifest.name}", done, manifest.size)
                    yield piece

            draft.add(paths[0][0], counted(reader.pieces(member.digest)))
            for path, _size in paths[1:]:
                draft.copy(path, draft.files / paths[0][0])
        add_empty(draft.add, wanted)
        if wanted:
            missing = next(iter(wanted.values()))[0][0]
            raise DamagedError(f"{where}: {missing!r} is named by its model.json and not in it", hint="fetch it again")
        return finish(store, draft, manifest, trust, where)


def import_folder(
    store: Store, folder: Path, ref: Ref | None = None, trust: str = "", progress: Progress = silent
) -> Stored:
    """Take a folder that `export` laid out into the store; errors as for `import_archive`."""
    where = str(folder)
    manifest = renamed(decode((folder / "model.json").read_bytes(), where), ref)
    trust = allowed(manifest, where, trust)
    present = same(store, manifest)
    if present is not None:
        return present
    with store.draft() as draft:
        for entry in manifest.files:
            draft.copy(entry.path, folder / "files" / entry.path)
        return finish(store, draft, manifest, trust, where, progress)


def finish(
    store: Store, draft: Draft, manifest: Manifest, trust: str, where: str, progress: Progress = silent
) -> Stored:
    """Commit a draft whose files must be those of a manifest.

    Raises:
        DamagedError: they are not.
    """
    entries = draft.digest(progress)
    found = {entry.path: entry for entry in entries}
    for entry in manifest.files:
        if found.pop(entry.path, None) != entry:
            raise DamagedError(
                f"{where}: {entry.path} is not what model.json says: altered or cut short",
                hint="fetch it again; the store is as it was",
            )
    if found:
        raise ModelError(f"{where}: {next(iter(found))!r} is in it and not in its model.json")
    try:
        return store.commit(draft, manifest, trust, entries=entries)
    except ModelError:
        present = same(store, manifest)  # another process brought the same meanwhile
        if present is None:
            raise
        return present


def renamed(manifest: Manifest, ref: Ref | None) -> Manifest:
    """Return a manifest under another name."""
    if ref is None:
        return manifest
    return msgspec.structs.replace(manifest, name=ref.name, version=ref.version or manifest.version).sealed()


def same(store: Store, manifest: Manifest) -> Stored | None:
    """Return the version of that name if it is there with the same content.

    Raises:
        ModelError: it is there with other content.
    """
    for stored in store.versions(manifest.name):
        if stored.manifest.version == manifest.version:
            if stored.manifest.digest == manifest.digest:
                return stored
            raise ModelError(
                f"{stored.ref} exists already, with other content",
                hint="delete it first, or import under another name or version: --name NAME:VERSION",
            )
    return None


def contents(manifest: Manifest) -> dict[str, list[tuple[str, int]]]:
    """Return digest → paths (and size) of the files that have this content."""
    found: dict[str, list[tuple[str, int]]] = {}
    for entry in manifest.files:
        places = found.setdefault(entry.sha256, [])
        if places and places[0][1] != entry.size:
            raise ModelError(f"model.json: {entry.path!r} and {places[0][0]!r} have one digest and two sizes")
        places.append((entry.path, entry.size))
    return found


def add_empty(add: Callable[[str, bytes], None], wanted: dict[str, list[tuple[str, int]]]) -> None:
    """Make the files without content, which an exchange may leave out."""
    for digest, paths in list(wanted.items()):
        if paths[0][1] == 0:
            for path, _size in paths:
                add(path, b"")
            del wanted[digest]


@contextmanager
def _opened(url: str, mode: str) -> Generator[BinaryIO]:
    """Open a URL with fsspec.

    Raises:
        ConfigError: fsspec, or the driver for this kind of URL, is not installed. ModelError: it cannot be opened.
    """
    try:
        fsspec: Any = importlib.import_module("fsspec")
    except ModuleNotFoundError:
        raise ConfigError("fsspec is not installed here", hint="pip install 'tiffin[remote]'") from None
    try:
        opened: Any = fsspec.open(url, mode)
        with opened as file:
            yield cast("BinaryIO", file)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{url}: {error}", hint="`tiffin models push` and `pull` talk to OCI registries") from error
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise ModelError(f"{url} does not exist", exit_code=66) from error
        raise ModelError(f"{url}: {error.strerror or error}", exit_code=74) from error


def import_url(store: Store, url: str, ref: Ref | None = None, trust: str = "", progress: Progress = silent) -> Stored:
    """Take an archive at a URL into the store; errors as for `import_archive`."""
    with _opened(url, "rb") as file:
        return import_archive(store, file, url, ref, trust, progress)


def is_exported(folder: Path) -> bool:
    """Say whether a folder is one that `export` laid out."""
    return (folder / "model.json").is_file() and (folder / "files").is_dir()
