"""Files in annotations: which classes stand for one, what a ContentType does to it, where it may stand.

Owns these three rules; never reads a whole annotation. Pillow is only looked at where the user's code has loaded it.
"""

from __future__ import annotations

import pathlib
import sys

import msgspec

from tiffin.codecs.files import file_param, gives_files, single_file
from tiffin.errors import SpecError
from tiffin.spec.types import BytesType, FileType, ListType, NullType, Type, UnionType, walk


def file_class(cls: type, where: str) -> FileType | None:
    """Return the file that a class stands for, None for another class.

    Raises:
        SpecError: a path of another class; `where` carries it.
    """
    pillow = sys.modules.get("PIL.Image")
    if pillow is not None and cls is getattr(pillow, "Image", None):
        return FileType(form="image")
    if issubclass(cls, pathlib.PurePath):
        if cls is not pathlib.Path:
            raise SpecError(
                f"{where}: {cls.__name__}: a file is taken and given as pathlib.Path", hint="annotate pathlib.Path"
            )
        return FileType(form="path")
    return None


def with_media(found: Type, name: str) -> Type:
    """Return a file's type with the media type that it has; bytes that are said to have one are a file."""
    if isinstance(found, ListType):
        return msgspec.structs.replace(found, item=with_media(found.item, name))
    if isinstance(found, BytesType):
        return FileType(form="bytes", media=name, min_length=found.min_length, max_length=found.max_length)
    return msgspec.structs.replace(found, media=name) if isinstance(found, FileType) else found


def check_files(found: Type, where: str, pydantic: str, *, result: bool) -> None:
    """Refuse files where nobody could send or write them.

    Args:
        found: with a file in it. where: what carries it and its annotation, for the error. pydantic: what in it needs pydantic.

    Raises:
        SpecError: says why.
    """
    for part in walk(found):
        _check_format(part, where)
        variants = part.variants if isinstance(part, UnionType) else ()
        others = [variant for variant in variants if not isinstance(variant, NullType)]
        if len(others) > 1 and any(isinstance(variant, FileType) for variant in others):
            raise SpecError(f"{where}: a file can only be joined with None", hint="make it two parameters or results")
    if result:
        return
    if file_param(found) is None:
        raise SpecError(
            f"{where}: a file must be a parameter of its own, alone, in a list, or with None",
            hint="make it a parameter of its own",
        )
    if pydantic:
        raise SpecError(
            f"{where}: a file cannot be mixed with {pydantic}", hint="bound its size by msgspec.Meta(max_length=…)"
        )


def result_media(found: Type, media: str, where: str) -> str:
    """Return the media type that all answers have, "" where it is each file's own.

    Args:
        found: type of the result. media: what its outermost ContentType says. where: for the error.

    Raises:
        SpecError: a file with a media type that nothing can be written as.
    """
    for part in walk(found):
        if not isinstance(part, FileType) or not part.media:
            continue
        if any(char in part.media for char in "*?["):
            raise SpecError(
                f"{where}: {part.media!r} is a pattern; a result has one media type", hint="for example image/png"
            )
    return "" if gives_files(found) and single_file(found) is None else media


def _check_format(part: Type, where: str) -> None:
    """Refuse images of a format that is neither read nor written."""
    if isinstance(part, FileType) and part.form == "image" and part.media:
        from tiffin.codecs.images import served  # the user's annotation names Pillow: it is loaded already

        if not served(part.media):
            raise SpecError(
                f"{where}: images of type {part.media!r} are not served",
                hint="image/png, image/jpeg, image/webp, image/gif, image/bmp, image/tiff, or a pattern such as image/*",
            )
