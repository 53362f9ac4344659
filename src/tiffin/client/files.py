"""Files as arguments: paths, open files, bytes and pictures → sources whose bytes can be read once per attempt.

Owns how a file is named and typed, and that every attempt reads it from the same place; never reads more than a chunk at a time.
Sizes in bytes.
"""

from __future__ import annotations

import io
import mimetypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias, TypeGuard

import msgspec

CHUNK = 262_144
_UNKNOWN = "application/octet-stream"


class Picture(Protocol):
    """What a `PIL.Image.Image` can do that is needed here."""

    def save(self, fp: Any, format: str | None = None, **options: Any) -> None:
        """Write itself."""
        ...


FileInput: TypeAlias = bytes | bytearray | memoryview | os.PathLike[str] | BinaryIO | Picture
"""What a file parameter takes: bytes, a path, a file that is open for reading in binary, or a PIL image."""

Piece: TypeAlias = "bytes | memoryview | FileSource"
"""A part of a body."""


class FileSource(msgspec.Struct, frozen=True):
    """The bytes of a file on disk or of an open one, from `start` on.

    Attributes:
        place: path, or the open file. start: offset of the first byte. size: how many.
    """

    place: Any
    start: int
    size: int

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes; each time from the start.

        Raises:
            OSError: the file cannot be read, or has become shorter.
        """
        if isinstance(self.place, Path):
            with self.place.open("rb") as file:
                yield from self._read(file)
        else:
            self.place.seek(self.start)
            yield from self._read(self.place)

    def _read(self, file: BinaryIO) -> Iterator[bytes]:
        left = self.size
        while left:
            chunk = file.read(min(CHUNK, left))
            if not chunk:
                raise OSError(f"{self.place} has become shorter while it was sent: {left} bytes are missing")
            left -= len(chunk)
            yield chunk


class NamedFile(msgspec.Struct, frozen=True):
    """A file to send: its name, media type and bytes."""

    name: str
    media: str
    content: Piece

    @property
    def size(self) -> int:
        """Bytes."""
        return size_of(self.content)


def size_of(piece: Piece) -> int:
    """Return the bytes of a piece."""
    return piece.size if isinstance(piece, FileSource) else len(piece)


def chunks(piece: Piece) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a piece, no more than `CHUNK` at a time."""
    if isinstance(piece, FileSource):
        yield from piece.chunks()
        return
    view = memoryview(piece)
    for start in range(0, len(view), CHUNK):
        yield view[start : start + CHUNK]


def as_file(value: Any, param: str) -> NamedFile | None:
    """Return what stands for a file, None where a value is none.

    Args:
        value: bytes, a path object, a binary file, a PIL image. param: its parameter, the name of what has no name.

    Raises:
        OSError: the path cannot be read.
        TypeError: a file that is open for text, or a picture of a mode that PNG does not have.
    """
    if _is_bytes(value):
        content = bytes(value)
        media = sniff(content[:16])
        return NamedFile(param + (mimetypes.guess_extension(media) or ".bin"), media, content)
    if isinstance(value, os.PathLike):
        path = Path(os.fspath(value))  # pyright: ignore[reportUnknownArgumentType]  a PathLike of text, or Path complains
        with path.open("rb") as file:
            head, size = file.read(16), os.fstat(file.fileno()).st_size
        return NamedFile(path.name, _media(path.name, head), FileSource(path, 0, size))
    if _is_picture(value):
        return _picture(value, param)
    if hasattr(value, "read"):
        return _open_file(value, param)
    return None


def _open_file(file: Any, param: str) -> NamedFile:
    name = getattr(file, "name", None)
    name = Path(name).name if isinstance(name, str) else f"{param}.bin"
    if isinstance(file, io.TextIOBase):
        raise TypeError(f"{param}: {name} is open for text: open it with mode 'rb'")
    if not (hasattr(file, "seekable") and file.seekable()):
        content = file.read()  # a pipe cannot be read again, so a second attempt needs its bytes kept
        if not isinstance(content, bytes):
            raise TypeError(f"{param}: {name} gives {type(content).__name__}, not bytes: open it with mode 'rb'")
        return NamedFile(name, _media(name, content[:16]), content)
    start = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(start)
    head = file.read(16)
    file.seek(start)
    return NamedFile(name, _media(name, head), FileSource(file, start, end - start))


def _is_bytes(value: Any) -> TypeGuard[bytes]:
    return isinstance(value, bytes | bytearray | memoryview)


def _is_picture(value: Any) -> TypeGuard[Any]:
    return hasattr(value, "save") and hasattr(value, "getbands") and hasattr(value, "mode")


def _picture(image: Any, param: str) -> NamedFile:
    file = io.BytesIO()
    try:
        # PNG loses nothing; level 1, because its time is the caller's and a local network is fast.
        image.save(file, format="PNG", compress_level=1)
    except OSError as error:
        raise TypeError(
            f"{param}: a picture of mode {image.mode} cannot be sent as PNG: convert it, to RGB for example"
        ) from error
    return NamedFile(f"{param}.png", "image/png", file.getvalue())


def _media(name: str, head: bytes) -> str:
    by_name = mimetypes.guess_type(name)[0] or _UNKNOWN
    return sniff(head) if by_name == _UNKNOWN else by_name


def sniff(head: bytes) -> str:
    """Return the media type of well-known pictures and sounds by their first 16 bytes, else application/octet-stream."""
    for magic, media in (
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF8", "image/gif"),
        (b"BM", "image/bmp"),
        (b"II*\x00", "image/tiff"),
        (b"MM\x00*", "image/tiff"),
        (b"fLaC", "audio/flac"),
        (b"OggS", "audio/ogg"),
        (b"%PDF-", "application/pdf"),
    ):
        if head.startswith(magic):
            return media
    if head[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(head[8:12], _UNKNOWN)
    return _UNKNOWN
