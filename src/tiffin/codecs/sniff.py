"""What a file is by its first bytes, whatever its sender calls it.

Owns the table of beginnings; never decodes. Names are media types; files without a beginning of their own (text, tables) have none.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

HEAD_BYTES = 64
"""So much of a file's beginning is enough."""

_BEGINNINGS = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"II+\x00", "image/tiff"),
    (b"MM\x00+", "image/tiff"),
    (b"\x00\x00\x01\x00", "image/vnd.microsoft.icon"),
    (b"8BPS", "image/vnd.adobe.photoshop"),
    (b"%!PS", "application/postscript"),
    (b"%PDF-", "application/pdf"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"\xff\xf2", "audio/mpeg"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"PAR1", "application/vnd.apache.parquet"),
    (b"ARROW1", "application/vnd.apache.arrow.file"),
    (b"\x93NUMPY", "application/x-npy"),
    (b"\x89HDF\r\n\x1a\n", "application/x-hdf5"),
)
_RIFF = {b"WAVE": "audio/wav", b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}
_BRANDS = {b"avif": "image/avif", b"avis": "image/avif", b"heic": "image/heic", b"heix": "image/heic", b"mif1": "image/heif",
           b"M4A ": "audio/mp4", b"qt  ": "video/quicktime"}  # fmt: skip
_KNOWN = frozenset({name for _start, name in _BEGINNINGS} | {*_RIFF.values(), *_BRANDS.values(), "video/mp4"})
_ALIASES = {
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/mp3": "audio/mpeg",
    "image/jpg": "image/jpeg",
    "image/x-ms-bmp": "image/bmp",
    "application/x-zip-compressed": "application/zip",
    "application/x-gzip": "application/gzip",
}
_SUFFIXES = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/bmp": ".bmp",
    "image/tiff": ".tiff",
    "image/avif": ".avif",
    "image/heic": ".heic",
    "application/pdf": ".pdf",
    "audio/wav": ".wav",
    "audio/flac": ".flac",
    "audio/ogg": ".ogg",
    "audio/mpeg": ".mp3",
    "audio/mp4": ".m4a",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "video/quicktime": ".mov",
    "video/x-msvideo": ".avi",
    "application/zip": ".zip",
    "application/gzip": ".gz",
    "application/vnd.apache.parquet": ".parquet",
    "application/x-npy": ".npy",
    "text/csv": ".csv",
    "text/plain": ".txt",
    "application/json": ".json",
}


def sniff(head: bytes) -> str:
    """Return the media type of a file, "" where its beginning does not tell.

    Args:
        head: its first `HEAD_BYTES` bytes, or all of it.
    """
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12], "")
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    return next((name for start, name in _BEGINNINGS if head.startswith(start)), "")


def provable(pattern: str) -> bool:
    """Say whether files of the media types that a pattern names are known by their beginning: their bytes must prove it then."""
    pattern = bare(pattern)
    return any(fnmatchcase(name, pattern) for name in _KNOWN) and pattern not in ("*/*", "*")


def matches(media: str, pattern: str) -> bool:
    """Say whether a media type is one that a pattern ("image/*") names."""
    return fnmatchcase(bare(media), bare(pattern))


def bare(media: str) -> str:
    """Return a media type without parameters, in lower case, by its usual name."""
    name = media.split(";", 1)[0].strip().lower()
    return _ALIASES.get(name, name)


def suffix(media: str) -> str:
    """Return the usual suffix (".png") of files of a media type, "" for none that is known."""
    return _SUFFIXES.get(bare(media), "")
