"""Forms and pictures as clients send them, and as attackers do."""

from __future__ import annotations

import io
import struct
import zlib

import PIL.Image

BOUNDARY = "frontier"


def part(name: str, data: bytes, filename: str | None = None, media: str = "", more: str = "") -> bytes:
    """Return one part, headers and all, without its boundary."""
    head = f'Content-Disposition: form-data; name="{name}"'
    if filename is not None:
        head += f'; filename="{filename}"'
    lines = [head] + ([f"Content-Type: {media}"] if media else []) + ([more] if more else [])
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def form(*parts: bytes, boundary: str = BOUNDARY) -> tuple[str, bytes]:
    """Return content type and body."""
    line = b"--" + boundary.encode()
    body = b"".join(line + b"\r\n" + one + b"\r\n" for one in parts) + line + b"--\r\n"
    return f"multipart/form-data; boundary={boundary}", body


def picture(width: int = 12, height: int = 8, kind: str = "PNG", mode: str = "RGB", **options: object) -> bytes:
    """Return a picture with a gradient, so that a cut is noticed."""
    image = PIL.Image.new("L", (width, height))
    image.putdata([(x * 7 + y * 13) % 256 for y in range(height) for x in range(width)])
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, pixels: bytes = b"") -> bytes:
    """Return a PNG of grey pixels that says what it is told to say."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def zeros(width: int, height: int) -> bytes:
    """Return the compressed pixels of a black picture, made without holding it."""
    packer = zlib.compressobj(9)
    row = b"\x00" * (width + 1)
    return b"".join(packer.compress(row) for _ in range(height)) + packer.flush()


def segment(marker: int, data: bytes) -> bytes:
    """Return a segment of a JPEG."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data
