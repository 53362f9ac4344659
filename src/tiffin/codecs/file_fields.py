"""One file parameter in the worker: base64, bytes, a raw body or the parts of a form → what the method asked for.

Owns the way from bytes to an image, a path or bytes; never reads a whole body. Every error names the parameter, and of a list the
item.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from tiffin.codecs.files import Body, FileParam, check_file, from_base64, refuse_url
from tiffin.codecs.multipart import Part
from tiffin.codecs.reasons import from_msgspec, invalid
from tiffin.codecs.uploads import Uploads
from tiffin.codecs.urls import MAX_URL
from tiffin.config.parts import FilesConfig

if TYPE_CHECKING:
    from tiffin.codecs.images import ImageReader

_NAME_BYTES = 256


class FileField:
    """See the module.

    Args:
        name: of the parameter. path: the same, "" where it is the whole body. taken: what it takes.
        plain: annotated bytes without more: in JSON and msgpack it is not a file but bytes like any other.
        limits: the operator's.
    """

    def __init__(self, name: str, path: str, taken: FileParam, limits: FilesConfig, *, plain: bool) -> None:
        self.name = name
        self.path = path
        self.taken = taken
        self.plain = plain
        self._form = taken.file.form
        self._images: ImageReader | None = None
        if self._form == "image":
            from tiffin.codecs.images import ImageReader  # loads Pillow, which the user's annotation has loaded already

            self._images = ImageReader(taken.file, limits)

    def whole(self, body: Body, claim: str, uploads: Uploads) -> Any:
        """Return the value of a raw body; `claim` is its content type."""
        return self._one(body, claim, "", uploads, self.path)

    def decoded(self, value: Any, uploads: Uploads) -> Any:
        """Return the value of what JSON (base64) or msgpack (bytes) says."""
        if value is None or self.plain:
            return value
        if not self.taken.many:
            return self._item(value, uploads, self.path)
        # Not before they are known to be no more than may be.
        self._count(len(value))
        return [self._item(item, uploads, f"{self.path}[{index}]") for index, item in enumerate(value)]

    def parts(self, parts: Sequence[Part], uploads: Uploads) -> Any:
        """Return the value of the parts of a form that have this name, one at least."""
        if len(parts) == 1 and not parts[0].filename and parts[0].media.lower().startswith("application/json"):
            return self._json(parts[0], uploads)
        if not self.taken.many:
            if len(parts) > 1:
                raise invalid(self.path, f"expected one file, got {len(parts)}")
            return self._part(parts[0], uploads, self.path)
        self._count(len(parts))
        return [self._part(part, uploads, f"{self.path}[{index}]") for index, part in enumerate(parts)]

    def _count(self, files: int) -> None:
        least, most = self.taken.least, self.taken.most
        if files < least or (most is not None and files > most):
            bound = f"{least} files at least" if files < least else f"{most} files at most"
            raise invalid(self.path, f"expected {bound}, got {files}")

    def _json(self, part: Part, uploads: Uploads) -> Any:
        """Return the value of a part that says in JSON what there is to say: null, an empty list, base64."""
        kind: Any = str
        if self.taken.many:
            kind = list[str | None] if self.taken.item_null else list[str]
        try:
            value = msgspec.json.decode(part.data, type=kind | None if self.taken.null else kind)
        except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
            raise from_msgspec(error, self.path) from error
        if value is None:
            return None
        if not self.taken.many:
            return self._item(value, uploads, self.path)
        self._count(len(value))
        return [self._item(item, uploads, f"{self.path}[{index}]") for index, item in enumerate(value)]

    def _part(self, part: Part, uploads: Uploads, path: str) -> Any:
        if not part.filename and len(part.data) <= MAX_URL:
            refuse_url(str(part.data[:16], "latin-1"), path)
            self._refuse_text(part.data, path)
        return self._one(part.data, part.media, part.filename, uploads, path)

    def _refuse_text(self, data: Body, path: str) -> None:
        """Refuse the name of an image in place of the image: curl sends the name where its @ is forgotten.

        Raises:
            Error: INVALID_INPUT.
        """
        text = str(data[:_NAME_BYTES], "latin-1")
        if self._images is not None and 0 < len(data) < _NAME_BYTES and text.isascii() and text.isprintable():
            raise invalid(path, f"expected a file, got the text {text!r}: with curl, a file is {self.name}=@{text}")

    def _item(self, value: Any, uploads: Uploads, path: str) -> Any:
        if value is None:
            return None
        return self._one(from_base64(value, path) if isinstance(value, str) else value, "", "", uploads, path)

    def _one(self, data: Body, claim: str, client_name: str, uploads: Uploads, path: str) -> Any:
        """Return one file as the method asked for it."""
        media = check_file(self.taken.file, data, len(data), claim, path)
        if self._images is not None:
            return self._images.read(data, path)
        if self._form == "path":
            return uploads.save(data, media, client_name)
        return data if isinstance(data, bytes) else bytes(data)


def file_json(taken: FileParam) -> Any:
    """Return the msgspec type of a file parameter in JSON: base64, which is looked at later so that its errors are ours."""
    return _shaped(taken, str)


def file_packed(taken: FileParam) -> Any:
    """Return the msgspec type of a file parameter in msgpack."""
    return _shaped(taken, bytes)


def _shaped(taken: FileParam, leaf: Any) -> Any:
    if taken.many:
        leaf = list[leaf | None] if taken.item_null else list[leaf]
    return leaf | None if taken.null else leaf
