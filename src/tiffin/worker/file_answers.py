"""Files in the answers of other services: bytes → what the called method's annotation says.

Owns that reading, on the caller's side; never calls.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from tiffin.codecs.fields import unpack_array
from tiffin.codecs.files import single_file
from tiffin.config.parts import FilesConfig, ImageFormat
from tiffin.messages.link import Media
from tiffin.spec.types import ArrayType, FileType, Type, walk

_EVERY: tuple[ImageFormat, ...] = get_args(ImageFormat)  # a service of our own wrote it


class FileAnswers:
    """See the module.

    Args:
        kind: type of the result, of one row where rows are called one by one. annotation: the same in Python. name: of the method.

    Raises:
        TypeError: the result holds a path: who would remove the file?
    """

    def __init__(self, kind: Type, annotation: Any, name: str) -> None:
        files = [part for part in walk(kind) if isinstance(part, FileType)]
        if any(file.form == "path" for file in files):
            raise TypeError(f"{name}: a file cannot come from another service as a path: return its bytes there")
        self._single = single_file(kind)
        self._images: Any = None
        if any(file.form == "image" for file in files):
            from tiffin.codecs.images import (
                ImageReader,
            )  # loads Pillow, which the method's annotation has loaded already

            self._images = ImageReader(FileType(form="image"), FilesConfig(image_formats=_EVERY))
        self._arrays = any(isinstance(part, ArrayType) for part in walk(kind))
        self._decode = msgspec.msgpack.Decoder(annotation, dec_hook=self._hook, ext_hook=unpack_array).decode

    def read(self, media: int, body: bytes) -> Any:
        """Return the value of an answer."""
        if media == Media.BYTES and self._single is not None:
            return bytes(body) if self._single.form == "bytes" else self._images.read(body, "")
        return msgspec.json.decode(body) if media == Media.JSON else self._decode(body)

    def _hook(self, cls: type, value: Any) -> Any:
        if isinstance(value, bytes) and self._images is not None:
            return self._images.read(value, "")
        if self._arrays:
            from tiffin.codecs.arrays import inner_hook  # loads numpy, which the method's annotation has loaded already

            return inner_hook(cls, value)
        raise NotImplementedError(f"{cls.__name__} cannot be read")
