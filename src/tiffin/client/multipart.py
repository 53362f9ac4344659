"""Fields and files → a multipart/form-data body (RFC 7578), as pieces: files are read when they are sent.

Owns the framing; never reads a file.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from tiffin.client.files import NamedFile, Piece

Part = tuple[str, NamedFile | str | bytes]
"""Name, and a file, a text or JSON."""


def multipart(parts: Iterable[Part], boundary: str = "") -> tuple[str, list[Piece]]:
    """Return the content type and the pieces of a body.

    Args:
        parts: in order; text goes as it is, bytes are JSON. boundary: for tests; random otherwise, so that no content holds it.
    """
    boundary = boundary or f"tiffin-{secrets.token_hex(16)}"
    pieces: list[Piece] = []
    for name, value in parts:
        head = f'--{boundary}\r\ncontent-disposition: form-data; name="{_quoted(name)}"'
        if isinstance(value, NamedFile):
            head += f'; filename="{_quoted(value.name)}"\r\ncontent-type: {value.media}\r\n\r\n'
            pieces += [head.encode(), value.content, b"\r\n"]
        elif isinstance(value, str):
            pieces += [f"{head}\r\n\r\n".encode(), value.encode(), b"\r\n"]
        else:
            pieces += [f"{head}\r\ncontent-type: application/json\r\n\r\n".encode(), value, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", pieces


def _quoted(text: str) -> str:
    """Escape a name as browsers do."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
