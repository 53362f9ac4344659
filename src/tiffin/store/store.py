"""The model store: names and versions in a folder, each absent or complete.

Owns the layout. Below the root: `models/NAME/VERSION/` (model.json, trust.json, files/), moved there complete in one rename;
`models/NAME/.tags/TAG`, a file with a version; `blobs/` with one name for each content, by digest, so that versions share it;
`partial/` with downloads that were cut off; `tmp/` with drafts; `locks/`. Never executes what is in a model.
"""

from __future__ import annotations

import errno
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from tiffin.errors import ModelError, NotFoundError
from tiffin.store import fs
from tiffin.store.digests import Progress, silent, verify_files
from tiffin.store.draft import Draft
from tiffin.store.manifest import FileEntry, Manifest, Trust, decode, encode
from tiffin.store.names import LATEST, Ref, check_word, nearest, new_version

TAGS = ".tags"
_log = logging.getLogger("tiffin.store")


class Stored(NamedTuple):
    """A version in the store. folder: of its files. trust: its mark, None for none (or for other content)."""

    manifest: Manifest
    folder: Path
    trust: Trust | None

    @property
    def ref(self) -> str:
        """Its name and version."""
        return f"{self.manifest.name}:{self.manifest.version}"

    def verify(self, progress: Progress = silent) -> None:
        """Make sure that all files are what was recorded.

        Raises:
            DamagedError: one is not.
        """
        verify_files(self.folder, self.manifest.files, self.ref, progress)


class Store:
    """See the module.

    Args:
        root: folder; made when first written to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._models = root / "models"

    # -- reading -----------------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return the names that have a version, sorted."""
        return sorted(name for name in _folders(self._models) if self._versions(name))

    def versions(self, name: str) -> list[Stored]:
        """Return all complete versions of a name, the newest last."""
        found: list[Stored] = []
        for version in self._versions(name):
            try:
                found.append(self._read(name, version))
            except NotFoundError:
                continue  # deleted meanwhile
            except ModelError as error:
                _log.warning("%s; `tiffin models delete %s:%s` removes it", error.message, name, version)
        return sorted(found, key=lambda stored: (stored.manifest.created, stored.manifest.version))

    def find(self, ref: Ref) -> Stored:
        """Return a version by name and version, tag, or nothing for the newest.

        Raises:
            NotFoundError: there is none; names that are near are said.
        """
        if not ref.version:
            versions = self.versions(ref.name)
            if versions:
                return versions[-1]
            damaged = self._versions(ref.name)
            if damaged:
                return self._read(ref.name, max(damaged))  # says what is wrong with it
            raise self._unknown(ref)
        if (self._models / ref.name / ref.version / "model.json").is_file():
            return self._read(ref.name, ref.version)
        tagged = self.tags(ref.name).get(ref.version)
        if tagged is None:
            raise self._unknown(ref)
        return self._read(ref.name, tagged)

    def tags(self, name: str) -> dict[str, str]:
        """Return tag → version of a name; a tag whose version is gone is none."""
        found: dict[str, str] = {}
        folder = self._models / name / TAGS
        for tag in sorted(_names(folder)):
            try:
                version = (folder / tag).read_text("ascii").strip()
            except (OSError, UnicodeError):
                continue
            if version in self._versions(name):
                found[tag] = version
        return found

    # -- changing ----------------------------------------------------------------------------------------------------------

    def draft(self) -> Draft:
        """Return a new draft; use it in a `with`."""
        return Draft(self.root)

    def commit(
        self,
        draft: Draft,
        manifest: Manifest,
        trust: str = "",
        progress: Progress = silent,
        entries: list[FileEntry] | None = None,
    ) -> Stored:
        """Make a draft a version.

        Args:
            manifest: `files` and `digest` are filled in here; an empty version gets a new one, an empty `created` the time.
            trust: why its code may run here, "" for no mark. entries: of all files, where the caller has just digested them.

        Raises:
            ModelError: the version exists, or the disk refuses.
        """
        check_word(manifest.name, "model name")
        if manifest.version:
            check_word(manifest.version, "version")
            if manifest.version == LATEST:
                raise ModelError(f"a version cannot be named {LATEST!r}: it means the newest")
        try:
            if entries is None:
                entries = draft.digest(progress)
            draft.settle(entries)
            with fs.locked(self.root / "locks" / manifest.name):
                now = datetime.now(UTC)
                sealed = msgspec.structs.replace(
                    manifest,
                    files=entries,
                    version=manifest.version or new_version(self._versions(manifest.name), now),
                    created=manifest.created or now.isoformat(timespec="microseconds"),
                ).sealed()
                if sealed.version in self.tags(manifest.name):
                    raise ModelError(
                        f"{manifest.name} has a tag {sealed.version!r}: a version cannot have that name too"
                    )
                fs.write_file(draft.folder / "model.json", encode(sealed))
                if trust:
                    fs.write_file(draft.folder / "trust.json", msgspec.json.encode(_mark(sealed, trust)))
                fs.sync_folder(draft.folder)
                decode(
                    encode(sealed), f"{sealed.name}:{sealed.version}"
                )  # what could not be read again is never stored
                if sealed.version not in self._versions(sealed.name):
                    self._drop_tags(
                        sealed.name, sealed.version
                    )  # of an earlier version of this name, whose deletion crashed
                self._move(draft, sealed)
        except OSError as error:
            fs.refuse(error, f"{manifest.name} cannot be stored")
        draft.committed()
        return self._read(sealed.name, sealed.version)

    def delete(self, ref: Ref) -> str:
        """Remove a version, and the tags that point to it; return its name and version.

        Raises:
            NotFoundError: there is none.
        """
        stored: Stored | None = None
        name, version = ref
        try:
            stored = self.find(ref)
            version = stored.manifest.version
        except NotFoundError:
            raise
        except ModelError:
            if version not in self._versions(name):
                raise
            # What is damaged can be removed, too, by its own version.
        folder = self._models / name
        try:
            with self.draft() as draft, fs.locked(self.root / "locks" / name):
                fs.rename(folder / version, draft.folder / version)  # from here on it is swept like any draft
                self._drop_tags(name, version)
                if not self._versions(name):
                    for tag in _names(folder / TAGS):
                        fs.unlink(folder / TAGS / tag)
                    fs.remove_folder(folder / TAGS)
                    fs.remove_folder(folder)
            for entry in stored.manifest.files if stored else ():
                self._forget(entry.sha256)
        except FileNotFoundError:
            raise self._unknown(ref) from None  # another process was faster
        except OSError as error:
            fs.refuse(error, f"{name}:{version} cannot be deleted")
        return f"{name}:{version}"

    def tag(self, ref: Ref, tag: str) -> Stored:
        """Give a version a further name; a tag that points elsewhere is moved.

        Raises:
            ModelError: the tag is no name, or a version has it. NotFoundError: there is no such version.
        """
        check_word(tag, "tag")
        if tag == LATEST:
            raise ModelError(f"{LATEST!r} always means the newest version and cannot be set", hint="choose another tag")
        name = ref.name
        self.find(ref)
        try:
            with self.draft() as draft, fs.locked(self.root / "locks" / name):
                stored = self.find(ref)  # again: another process may have deleted it
                if tag in self._versions(name):
                    raise ModelError(f"{name} has a version {tag!r}: a tag cannot have that name too")
                folder = self._models / name / TAGS
                fs.make_folder(folder)
                fs.replace_file(folder / tag, f"{stored.manifest.version}\n".encode(), draft.folder / "tag")
        except OSError as error:
            fs.refuse(error, f"{ref} cannot be tagged")
        return stored

    def untag(self, name: str, tag: str) -> None:
        """Remove a tag.

        Raises:
            NotFoundError: there is none.
        """
        if tag not in self.tags(name):
            raise NotFoundError(f"{name} has no tag {tag!r}", hint=nearest(tag, self.tags(name)))
        with fs.locked(self.root / "locks" / name):
            fs.unlink(self._models / name / TAGS / tag)
            fs.sync_folder(self._models / name / TAGS)

    def trust(self, ref: Ref, how: str) -> Stored:
        """Mark a version as one whose code may run here.

        Raises:
            NotFoundError: there is none. DamagedError: it is not what was recorded.
        """
        stored = self.find(ref)
        stored.verify()
        try:
            content = msgspec.json.encode(_mark(stored.manifest, how))
            with self.draft() as draft:
                fs.replace_file(stored.folder.parent / "trust.json", content, draft.folder / "trust.json")
        except OSError as error:
            fs.refuse(error, f"{stored.ref} cannot be marked")
        return self._read(stored.manifest.name, stored.manifest.version)

    def _drop_tags(self, name: str, version: str) -> None:
        """Remove the tags of a version that is not there."""
        folder = self._models / name / TAGS
        for tag in _names(folder):
            try:
                tagged = (folder / tag).read_text("ascii").strip()
            except (OSError, UnicodeError):
                continue
            if tagged == version:
                fs.unlink(folder / tag)

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _move(self, draft: Draft, manifest: Manifest) -> None:
        home = self._models / manifest.name
        while True:
            fs.make_folder(home)
            try:
                fs.rename(draft.folder, home / manifest.version)
            except FileNotFoundError:
                if not draft.folder.exists():
                    raise
                continue  # the name's folder went away with its last version
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
                raise ModelError(
                    f"{manifest.name}:{manifest.version} exists already",
                    hint="versions never change: choose another, or leave it out for a new one",
                ) from None
            return

    def _forget(self, digest: str) -> None:
        """Remove a content's shared name where no version uses it any more."""
        blob = self.root / "blobs" / digest[:2] / digest
        try:
            if blob.lstat().st_nlink == 1:
                fs.unlink(blob)
        except FileNotFoundError:
            pass

    def _versions(self, name: str) -> list[str]:
        folder = self._models / name
        return [version for version in _folders(folder) if (folder / version / "model.json").is_file()]

    def _read(self, name: str, version: str) -> Stored:
        folder = self._models / name / version
        try:
            manifest = decode((folder / "model.json").read_bytes(), f"{name}:{version}")
        except FileNotFoundError:
            raise self._unknown(Ref(name, version)) from None
        except OSError as error:
            fs.refuse(error, f"{name}:{version} cannot be read")
        if (manifest.name, manifest.version) != (name, version):
            raise ModelError(f"{name}:{version}: its model.json is that of {manifest.name}:{manifest.version}")
        return Stored(manifest, folder / "files", _trust(folder, manifest))

    def _unknown(self, ref: Ref) -> NotFoundError:
        versions = self._versions(ref.name)
        if versions:
            tags = self.tags(ref.name)
            hint = nearest(ref.version, [*versions, *tags]) or f"there are {', '.join([*tags, *sorted(versions)[-3:]])}"
            return NotFoundError(f"model {ref.name!r} has no version or tag {ref.version!r}", hint=hint)
        names = self.names()
        hint = nearest(ref.name, names) or (
            f"there are {', '.join(names[:8])}" if names else f"the store {self.root} is empty: tiffin models import …"
        )
        return NotFoundError(f"there is no model {ref.name!r}", hint=hint)


def _mark(manifest: Manifest, how: str) -> Trust:
    return Trust(digest=manifest.digest, at=datetime.now(UTC).isoformat(timespec="seconds"), how=how)


def _trust(folder: Path, manifest: Manifest) -> Trust | None:
    try:
        found = msgspec.json.decode((folder / "trust.json").read_bytes(), type=Trust)
    except (OSError, msgspec.MsgspecError):
        return None
    return found if found.digest == manifest.digest else None


def _folders(path: Path) -> list[str]:
    try:
        return [e.name for e in os.scandir(path) if e.is_dir(follow_symlinks=False) and not e.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _names(path: Path) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(path)]
    except (FileNotFoundError, NotADirectoryError):
        return []
