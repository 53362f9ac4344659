"""One file for one model: a tar archive with `model.json` first and then each content once, named by its digest.

Owns the reading and writing of that form. The reader takes exactly what the writer makes: plain POSIX (ustar) headers of regular
files, whose names are `model.json` and `sha256/<digest>` and never become paths; everything else is refused, so nothing that tar
can express besides (links, devices, sparse files, long names, extended headers) has to be made safe. Sizes in bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from tiffin.errors import DamagedError, ModelError
from tiffin.store.manifest import MANIFEST_BYTES

BLOCK = 512
_PIECE = 1_048_576
_OCTAL_LIMIT = 8**11  # what eleven octal digits hold; above, the size is binary
_SIZE_LIMIT = 2**46
_NAME = re.compile(rb"sha256/[0-9a-f]{64}\Z")
_OCTAL = re.compile(rb"[0-7]+[\0 ]?\Z")


class Member(NamedTuple):
    """A content of an archive. digest: what its name says. size: bytes."""

    digest: str
    size: int


def header(name: str, size: int) -> bytes:
    """Return the 512 bytes before a regular file; the same for the same arguments, on any machine."""
    length = f"{size:011o}\x00".encode() if size < _OCTAL_LIMIT else b"\x80" + size.to_bytes(11, "big")
    fields = [
        name.encode("ascii").ljust(100, b"\0"),
        b"0000644\0",
        b"0000000\0",
        b"0000000\0",
        length,
        b"00000000000\0",
        b" " * 8,
        b"0",
        b"\0" * 100,
        b"ustar\x0000",
    ]
    block = b"".join(fields).ljust(BLOCK, b"\0")
    return block[:148] + f"{sum(block):06o}\0 ".encode() + block[156:]


def padding(size: int) -> bytes:
    """Return the zeros after a file's content."""
    return b"\0" * (-size % BLOCK)


END = b"\0" * (2 * BLOCK)


class ArchiveReader:
    """Reads an archive front to back, from anything that has `read`.

    Args:
        source: binary. where: what it is, for errors.

    Attributes:
        manifest: the text of `model.json`, unchecked.
    """

    def __init__(self, source: BinaryIO, where: str) -> None:
        self._source = source
        self._where = where
        self._left = 0
        self._pad = 0
        name, size = self._header() or (b"", 0)
        if name != b"model.json":
            raise self._refuse("its first member is not model.json")
        if size > MANIFEST_BYTES:
            raise self._refuse(f"model.json of {size:,} bytes is too large to be one")
        self._left, self._pad = size, -size % BLOCK
        self.manifest = b"".join(self.pieces())

    def members(self) -> Iterator[Member]:
        """Yield the contents in order; each is read by `pieces` before the next."""
        seen: set[str] = set()
        while True:
            for _ in self.pieces():
                pass
            head = self._header()
            if head is None:
                return
            name, size = head
            if not _NAME.match(name):
                raise self._refuse(f"member {name[:80]!r} does not belong in it")
            digest = name[7:].decode()
            if digest in seen:
                raise self._refuse(f"content {digest[:12]}… is in it twice")
            seen.add(digest)
            self._left, self._pad = size, -size % BLOCK
            yield Member(digest, size)

    def pieces(self, digest: str = "") -> Iterator[bytes]:
        """Yield the current content.

        Args:
            digest: what its sha256 must be, "" for any.

        Raises:
            DamagedError: it is cut short, or has another digest.
        """
        found = hashlib.sha256()
        while self._left:
            piece = self._source.read(min(_PIECE, self._left))
            if not piece:
                raise self._cut()
            self._left -= len(piece)
            if digest:
                found.update(piece)
            yield piece
        if self._pad:
            rest, self._pad = self._pad, 0
            if any(self._exactly(rest)):
                raise self._refuse("there is something between its members")
        if digest and found.hexdigest() != digest:
            raise DamagedError(
                f"{self._where}: content {digest[:12]}… was altered: its digest is {found.hexdigest()[:12]}…",
                hint="fetch the archive again; the store is as it was",
            )

    def _header(self) -> tuple[bytes, int] | None:
        block = self._exactly(BLOCK)
        if not any(block):
            if any(self._exactly(BLOCK)) or any(self._source.read(_PIECE)):
                raise self._refuse("there is something after its end")
            return None
        name = block[:100].rstrip(b"\0")
        size = self._size(block[124:136])
        if not name.isascii() or block != header(name.decode("ascii"), size):
            raise self._refuse(f"member {name[:80]!r} has a header that no writer of it would make")
        return name, size

    def _size(self, field: bytes) -> int:
        if field[0] == 0x80:
            size = int.from_bytes(field[1:], "big")
            if size < _OCTAL_LIMIT:
                raise self._refuse("a size is written in a way that no writer of it would")
        elif _OCTAL.match(field):
            size = int(field.rstrip(b"\0 "), 8)
        else:
            raise self._refuse(f"a size is not a number: {field!r}")
        if size > _SIZE_LIMIT:
            raise self._refuse(f"a member of {size:,} bytes cannot be")
        return size

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            piece = self._source.read(count - len(found))
            if not piece:
                raise self._cut()
            found += piece
        return found

    def _cut(self) -> DamagedError:
        return DamagedError(f"{self._where} ends too early", hint="fetch it again; the store is as it was")

    def _refuse(self, reason: str) -> ModelError:
        return ModelError(
            f"{self._where} is not a model archive: {reason}",
            hint="archives are made by `tiffin models export`; other formats are imported as a file or folder",
        )
