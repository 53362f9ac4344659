"""Which parameters of a method are files, and what a file must be before anybody looks into it.

Owns the rules that hold for every file: size, media type by its bytes, base64; never decodes an image and never touches a disk.
Front and worker share it, so it imports neither numpy nor Pillow. Sizes in bytes.
"""

from __future__ import annotations

import binascii
from typing import NamedTuple

from tiffin.codecs.reasons import invalid
from tiffin.codecs.sniff import HEAD_BYTES, bare, matches, provable, sniff
from tiffin.errors import Code, Error
from tiffin.spec.service import MethodSpec, Param
from tiffin.spec.types import (
    BytesType,
    FileType,
    ListType,
    LiteralType,
    NullType,
    StrType,
    Type,
    UnionType,
    one_row,
    walk,
)

Body = bytes | bytearray | memoryview
_URL = ("http://", "https://", "ftp://", "s3://", "gs://", "file://")
_UNTOLD = ("", "application/octet-stream", "application/x-www-form-urlencoded")  # what clients say who do not say it


class FileParam(NamedTuple):
    """How a parameter takes files.

    Attributes:
        file: each of them. many: a list of them. null: None may stand for it. item_null: for one of the list.
        least, most: number of files of a list.
    """

    file: FileType
    many: bool = False
    null: bool = False
    item_null: bool = False
    least: int = 0
    most: int | None = None


def file_param(kind: Type) -> FileParam | None:
    """Return how a parameter of a type takes files, None where it takes none or in a way that cannot be served.

    Plain bytes are files too where they come as a part of a form.
    """
    null = item_null = False
    if isinstance(kind, UnionType):
        kind, null = _without_null(kind)
    if isinstance(kind, ListType):
        item = kind.item
        if isinstance(item, UnionType):
            item, item_null = _without_null(item)
        file = _file(item)
        if file is None or kind.unique:
            return None
        return FileParam(file, True, null, item_null, kind.min_length or 0, kind.max_length)
    file = _file(kind)
    return None if file is None else FileParam(file, null=null)


def _without_null(kind: UnionType) -> tuple[Type, bool]:
    others = [variant for variant in kind.variants if not isinstance(variant, NullType)]
    return (others[0], True) if len(others) == 1 and len(kind.variants) == 2 else (kind, False)


def _file(kind: Type) -> FileType | None:
    if isinstance(kind, BytesType):
        return FileType(form="bytes", min_length=kind.min_length, max_length=kind.max_length)
    return kind if isinstance(kind, FileType) else None


def client_type(method: MethodSpec, param: Param) -> Type:
    """Return the type of a parameter as a client sends it: one row where the method is called with one."""
    return one_row(param.type, method.batch_dim) if param.batched and method.one_row else param.type


def takes_files(method: MethodSpec) -> bool:
    """Say whether a method can be called with a form: one of its parameters is a file."""
    if method.whole_body:
        return any(isinstance(part, FileType) for param in method.params for part in walk(param.type))
    return any(file_param(client_type(method, param)) is not None for param in method.params)


def raw_file(method: MethodSpec) -> FileParam | None:
    """Return the one parameter of a method if that is one file, which can be the whole body as it is; None for others."""
    if len(method.params) != 1:
        return None
    found = file_param(client_type(method, method.params[0]))
    return None if found is None or found.many else found


def has_files(method: MethodSpec) -> bool:
    """Say whether a method takes or gives files."""
    return takes_files(method) or gives_files(method.returns)


def gives_files(kind: Type) -> bool:
    """Say whether there is a file in a result of a type."""
    return any(isinstance(part, FileType) for part in walk(kind))


def single_file(kind: Type) -> FileType | None:
    """Return the file that a result is as a whole (or None instead of it); None for other results."""
    if isinstance(kind, UnionType):
        others = [variant for variant in kind.variants if not isinstance(variant, NullType)]
        kind = others[0] if len(others) == 1 else kind
    return kind if isinstance(kind, FileType) else None


def check_claim(file: FileType, claim: str, path: str) -> None:
    """Refuse a file for what its sender says that it is.

    Args:
        file: what is taken. claim: content type as sent, "" for none. path: of the parameter.

    Raises:
        Error: UNSUPPORTED_MEDIA.
    """
    if not file.media or bare(claim) in _UNTOLD or matches(claim, file.media):
        return
    where = f"{path}: " if path else ""
    raise Error(
        f"{where}content type {claim[:80]!r} is not taken here: send {file.media}",
        code=Code.UNSUPPORTED_MEDIA,
        details={"path": path, "supported": [file.media]},
    )


def check_file(file: FileType, data: Body, size: int, claim: str, path: str) -> str:
    """Refuse a file that is not what is taken, and return its media type.

    Args:
        file: what is taken. data: its beginning or all of it. size: of all of it. claim: content type as sent, "" for none.
        path: of the parameter.

    Returns:
        what its bytes say that it is; where they do not tell, what its sender says; "" where neither does.

    Raises:
        Error: INVALID_INPUT, with the path.
    """
    if not size and (file.media or file.form == "image"):
        raise invalid(path, "the file is empty")
    if file.min_length is not None and size < file.min_length:
        raise invalid(path, f"expected a file of {file.min_length} bytes at least, got {size}")
    if file.max_length is not None and size > file.max_length:
        raise invalid(path, f"expected a file of {file.max_length} bytes at most, got {size}")
    found = sniff(bytes(data[:HEAD_BYTES]))
    told = "" if bare(claim) in _UNTOLD else bare(claim)
    if file.media and provable(file.media):
        if not found or not matches(found, file.media):
            raise invalid(path, f"expected {file.media}, got {found or 'bytes that are no such file'}")
    elif file.media and told and not matches(told, file.media):
        raise invalid(path, f"expected {file.media}, got {told[:80]}")
    return found or told


def from_base64(text: str, path: str) -> bytes:
    """Return the bytes of a file in JSON.

    Raises:
        Error: INVALID_INPUT: it is no base64, or a URL.
    """
    refuse_url(text, path)
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(path, f"expected the file in base64: {str(error)[:100]}") from error


def refuse_url(text: str, path: str) -> None:
    """Refuse an address where a file is expected: those that are fetched were replaced by their files before.

    Raises:
        Error: INVALID_INPUT.
    """
    if is_url(text):
        raise invalid(
            path, "expected a file, got a URL, which is not fetched here (fetch.enabled): send the file itself"
        )


def is_url(text: str) -> bool:
    """Say whether a text where a file is expected is an address instead."""
    return text[:8].lower().startswith(_URL)


def is_text(kind: Type) -> bool:
    """Say whether a field is its own text in a form: a str, or one of some texts."""
    if isinstance(kind, UnionType):
        return all(isinstance(variant, NullType) or is_text(variant) for variant in kind.variants)
    if isinstance(kind, LiteralType):
        return all(isinstance(value, str) for value in kind.values)
    return isinstance(kind, StrType)
