"""The interactive page's files, read once from the package: no network, no template, no user's data in them.

Owns the files beside it and their content types; never knows a route.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

_TYPES = {
    "docs.html": "text/html; charset=utf-8",
    "docs.css": "text/css; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
NAMES = tuple(_TYPES)


@cache
def asset(name: str) -> tuple[bytes, str] | None:
    """Return a file's bytes and content type; None where there is no such file.

    The page names its script and style with their hashes, so that a cache or a proxy cannot mix two versions of them.
    """
    media = _TYPES.get(name)
    if media is None:
        return None
    body = _read(name)
    if name == "docs.html":
        for part in ("docs.css", "docs.js"):
            digest = base64.b64encode(hashlib.sha384(_read(part)).digest())
            body = body.replace(b"@%b@" % part.encode(), b"sha384-" + digest)
    return body, media


def _read(name: str) -> bytes:
    return files(__name__).joinpath(name).read_bytes()
