"""Images: a file's bytes ↔ PIL.Image.Image.

Owns what is looked at before Pillow decodes anything: format, size, frames, metadata; never trusts a file's name or its sender.
Imported only where a method takes or gives images, because it loads Pillow. Sizes in bytes and pixels.
"""

from __future__ import annotations

import io
import struct
from typing import Any

from PIL import Image

from tiffin.codecs.reasons import invalid
from tiffin.codecs.sniff import bare, matches, sniff
from tiffin.config.parts import FilesConfig
from tiffin.errors import Error
from tiffin.spec.types import FileType

Body = bytes | bytearray | memoryview
_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP", "image/gif": "GIF", "image/bmp": "BMP",
            "image/tiff": "TIFF"}  # fmt: skip
_MAX_SEGMENTS = 1_000  # pieces of metadata
_CHUNK_BYTES = 1_024  # a PNG whose pieces are smaller than this on average is made to keep a reader busy
_NO_SIZE = frozenset((0x01, *range(0xD0, 0xD9)))  # JPEG markers without a length
_MODES = {
    "JPEG": ("L", "RGB", "CMYK"),
    "PNG": ("1", "L", "LA", "I;16", "P", "RGB", "RGBA"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("1", "L", "P", "RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "I;16", "F", "P", "RGB", "RGBA", "CMYK"),
}  # what each format holds


class ImageReader:
    """Reads the images of one parameter.

    Args:
        file: what is taken. limits: the operator's.
    """

    def __init__(self, file: FileType, limits: FilesConfig) -> None:
        self._limits = limits
        names = [f"image/{name}" for name in limits.image_formats]
        pattern = bare(file.media)
        if pattern in _FORMATS and pattern not in names:
            names = [pattern]  # whoever names a format means it
        self._names = [name for name in names if not pattern or matches(name, pattern)]
        if Image.MAX_IMAGE_PIXELS is not None and limits.max_pixels > Image.MAX_IMAGE_PIXELS:
            Image.MAX_IMAGE_PIXELS = limits.max_pixels  # Pillow's own limit, which would come first

    def read(self, data: Body, path: str) -> Image.Image:
        """Return the image, decoded; nothing of `data` is kept.

        Args:
            data: all of the file. path: of the parameter.

        Raises:
            Error: INVALID_INPUT: not an image of a format that is taken, too large, cut off, damaged.
        """
        view = memoryview(data)
        name = sniff(bytes(view[:64]))
        if name not in self._names:
            taken = ", ".join(one.removeprefix("image/") for one in self._names)
            raise invalid(path, f"expected an image ({taken}), got {name or 'bytes that are no image'}")
        self._check_metadata(name, view, path)
        frames = self._limits.max_frames
        # Frames are read when the method asks for them: only then the image needs bytes of its own.
        lasting = frames > 1 or name == "image/tiff"  # whose tags are read when asked for, too
        file: Any = io.BytesIO(view) if lasting else _View(view)
        try:
            return self._open(name, file, path)
        except (Error, MemoryError):
            raise
        except Exception as error:  # wall: Pillow's formats raise whatever comes to hand for a damaged file
            raise invalid(path, f"the image cannot be read: {_said(error)}") from error
        finally:
            if not lasting:
                file.release()

    def _open(self, name: str, file: Any, path: str) -> Image.Image:
        limits = self._limits
        if name == "image/webp":  # Pillow makes room for all pixels when it opens one
            self._check_pixels(*_webp_size(bytes(file.read(30))), path)
            file.seek(0)
        try:
            image = Image.open(file, formats=[_FORMATS[name]])
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise invalid(path, f"the image has more than {limits.max_pixels} pixels (files.max_pixels)") from error
        self._check_pixels(*image.size, path)
        if image.format != "MPO" and self._more_frames(image, limits.max_frames):
            raise invalid(path, f"the image has more than {limits.max_frames} frames (files.max_frames)")
        image.load()
        return image

    def _check_pixels(self, width: int, height: int, path: str) -> None:
        most = self._limits.max_pixels
        if width * height > most:
            raise invalid(path, f"the image has {width} × {height} pixels, more than {most} (files.max_pixels)")

    @staticmethod
    def _more_frames(image: Any, most: int) -> bool:
        """Say whether an image has more frames than it may, without decoding any."""
        if image.format in ("PNG", "WEBP"):  # the header tells; going there would decode what lies before
            return int(getattr(image, "n_frames", 1)) > most
        if image.format in ("GIF", "TIFF"):  # counting would read all of them
            try:
                image.seek(most)
            except EOFError:
                image.seek(0)
                return False
            return True
        return False

    def _check_metadata(self, name: str, view: memoryview, path: str) -> None:
        """Refuse files that are mostly metadata: Pillow keeps it all, and puts some of it together piece by piece."""
        measure = _MEASURES.get(name)
        most = self._limits.max_image_metadata_bytes
        if measure is not None and not measure(view, most):
            raise invalid(
                path,
                f"the image has more than {most} bytes (files.max_image_metadata_bytes) or {_MAX_SEGMENTS} pieces of metadata",
            )


def write_image(image: Any, media: str, where: str) -> tuple[bytes, str]:
    """Return an image as the bytes of a file, and its media type.

    Args:
        image: a PIL.Image.Image. media: what to write, "" for PNG. where: what gave it, for the error.

    Raises:
        TypeError: it is no image. ValueError: it cannot be written so. Whatever else Pillow raises.
    """
    if not isinstance(image, Image.Image):
        raise TypeError(f"{where} is {type(image).__name__}, not a PIL.Image.Image")
    name = bare(media) or "image/png"
    kind = _FORMATS[name]
    modes = _MODES[kind]
    if image.mode not in modes:
        image = image.convert("RGBA" if image.has_transparency_data and "RGBA" in modes else "RGB")
    buffer = io.BytesIO()
    # PNG's default effort takes several times as long for a few percent fewer bytes.
    image.save(buffer, kind, **({"compress_level": 3} if kind == "PNG" else {}))
    return buffer.getvalue(), name


def served(media: str) -> bool:
    """Say whether images of a media type, or of one that a pattern names, can be read and written."""
    return any(matches(name, media) for name in _FORMATS)


class _View(io.RawIOBase):
    """A file to read that is a view on a body: nothing is copied but what is read just now."""

    def __init__(self, view: memoryview) -> None:
        super().__init__()
        self._view = view
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        start = (0, self._at, len(self._view))[whence]
        self._at = max(0, start + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = len(self._view) if size is None or size < 0 else self._at + size
        found = bytes(self._view[self._at : end])
        self._at += len(found)
        return found

    def release(self) -> None:
        """Let go of the body: the image may live longer."""
        self._view = memoryview(b"")


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())
    # Pillow names the object that it read from.
    return "it is damaged" if "<" in text or not text else text[:120]


def _jpeg_metadata(view: memoryview, most: int) -> bool:
    """Say whether there are no more than `most` bytes in few segments before the pixels of a JPEG."""
    at, pieces = 2, 0
    while at + 4 <= len(view):
        marker = view[at + 1]
        if view[at] != 0xFF or marker in (0x00, 0xFF):
            at += 1
            pieces += 1  # stuffing: a few bytes are usual
        elif marker in (0xDA, 0xD9):
            return at <= most
        elif marker in _NO_SIZE:
            at += 2
            pieces += 1
        else:
            (length,) = struct.unpack_from(">H", view, at + 2)
            at += 2 + max(length, 2)
            pieces += 1
        if at > most or pieces > _MAX_SEGMENTS:
            return False
    return True  # it ends here: Pillow will say so


def _webp_size(head: bytes) -> tuple[int, int]:
    """Return width and height that the first 30 bytes of a WebP tell, 0 and 0 where they tell none."""
    kind = head[12:16]
    if len(head) < 30:
        return 0, 0
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF


def _png_metadata(view: memoryview, most: int) -> bool:
    """Say whether there are no more than `most` bytes in few chunks of a PNG that are not pixels, and not too many of all."""
    at, size, pieces, count = 8, 0, 0, 0
    many = _MAX_SEGMENTS + len(view) // _CHUNK_BYTES
    while at + 8 <= len(view):
        (length,) = struct.unpack_from(">I", view, at)
        kind = bytes(view[at + 4 : at + 8])
        count += 1
        if kind not in (b"IDAT", b"fdAT"):
            size += length
            pieces += 1
        if size > most or pieces > _MAX_SEGMENTS or count > many:
            return False
        if kind == b"IEND":
            break
        at += 12 + length
    return True


def _webp_metadata(view: memoryview, most: int) -> bool:
    """Say whether there are no more than `most` bytes in few chunks of a WebP that are not pixels."""
    at, size, pieces = 12, 0, 0
    while at + 8 <= len(view):
        kind = bytes(view[at : at + 4])
        (length,) = struct.unpack_from("<I", view, at + 4)
        pieces += 1
        if kind not in (b"VP8 ", b"VP8L", b"ALPH", b"ANMF"):
            size += length
        if size > most or pieces > _MAX_SEGMENTS:
            return False
        at += 8 + length + (length & 1)
    return True


_MEASURES = {"image/jpeg": _jpeg_metadata, "image/png": _png_metadata, "image/webp": _webp_metadata}
