"""multipart/form-data: a body → its parts, as places in the body; parts → a body.

Owns the limits of the format; never decodes a part and never copies a large one. python-multipart parses. Sizes in bytes.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from tiffin.codecs.reasons import invalid
from tiffin.config.parts import FilesConfig
from tiffin.errors import Code, Error

Body = bytes | bytearray | memoryview
_PIECE = 262_144
_MAX_BOUNDARY = 70  # RFC 2046
_MAX_NAME = 256
_PLAIN = ("", "binary", "8bit", "7bit")
_SILENT = logging.getLogger("tiffin.multipart")  # what a client sends wrongly is told to the client, not to the log
_SILENT.disabled = True


class Part(NamedTuple):
    """One part of a form.

    Attributes:
        name: of the field. filename: as sent, "" for none. media: content type as sent, "" for none. data: a view on the body.
    """

    name: str
    filename: str
    media: str
    data: memoryview


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a Content-Type header names.

    Raises:
        Error: INVALID_INPUT: none, or none that the format allows.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not 0 < len(boundary) <= _MAX_BOUNDARY or not boundary.isascii() or not boundary.decode("ascii").isprintable():
        raise invalid("", f"content type multipart/form-data needs a boundary of 1 to {_MAX_BOUNDARY} characters")
    return boundary


def read_parts(content_type: str, body: Body, limits: FilesConfig) -> list[Part]:
    """Return the parts of a body, in order.

    Args:
        content_type: the header with the boundary. body: all of it; the parts are views on it. limits: of parts and headers.

    Raises:
        Error: INVALID_INPUT: no form, or one that goes on beyond its end; TOO_LARGE: too many parts or headers.
    """
    reader = _Reader(boundary_of(content_type), memoryview(body), limits)
    try:
        return reader.read()
    except FormParserError as error:
        raise invalid("", f"not multipart/form-data: {str(error)[:120]}") from error


class _Reader:
    """One pass over a body: notes where each part lies.

    The parser hands over data in pieces, and where a piece ends within something like a boundary it hands over a piece of the
    boundary's own text later on. Both are known to be where they are by counting, so that nothing has to be put together.
    """

    def __init__(self, boundary: bytes, body: memoryview, limits: FilesConfig) -> None:
        self._body = body
        self._limits = limits
        self._boundary = boundary
        self._piece = b""
        self._base = 0
        self._parts: list[Part] = []
        self._begun = 0
        self._header_bytes = 0
        self._field = b""
        self._value = b""
        self._headers: dict[str, str] = {}
        self._start = -1
        self._end = 0
        self._ended = False

    def read(self) -> list[Part]:
        parser = MultipartParser(
            self._boundary,
            {
                "on_part_begin": self._part_begin,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_end": self._all_end,
            },
            max_header_size=self._limits.max_part_header_bytes + 1,  # all of them together are counted here
        )
        parser.logger = _SILENT
        for start in range(0, len(self._body), _PIECE):
            self._base = start
            self._piece = bytes(self._body[start : start + _PIECE])
            parser.write(self._piece)
            if self._ended:
                break
        if not self._ended:
            raise invalid("", "not multipart/form-data: the body ends before its last boundary")
        return self._parts

    def _part_begin(self) -> None:
        self._begun += 1
        if self._begun > self._limits.max_parts:
            raise Error(f"more than {self._limits.max_parts} parts in one body (files.max_parts)", code=Code.TOO_LARGE)
        self._headers = {}
        self._start = -1
        self._end = 0

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._value += data[start:end]

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self._limits.max_part_header_bytes:
            raise Error(
                f"headers of parts of more than {self._limits.max_part_header_bytes} bytes (files.max_part_header_bytes)",
                code=Code.TOO_LARGE,
            )

    def _header_end(self) -> None:
        name = self._field.decode("latin-1").lower()
        if name in self._headers:
            raise invalid("", f"a part has two headers {name[:40]!r}")
        self._headers[name] = self._value.decode("utf-8", "replace")
        self._field = self._value = b""

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if data is self._piece:
            first, last = self._base + start, self._base + end
        else:  # the boundary's text instead of the same bytes, which ended the piece before
            first, last = self._base - end, self._base - start
        if self._start < 0:
            self._start = first
        self._end = last

    def _part_end(self) -> None:
        headers = self._headers
        kind, options = parse_options_header(_latin(headers.get("content-disposition", "")))
        name = _utf8(options.get(b"name", b""))
        if kind != b"form-data" or b"name" not in options:
            raise invalid("", f"part {self._begun} is no field of a form: its content-disposition has no name")
        if len(name) > _MAX_NAME or not name.isprintable():
            raise invalid("", f"part {self._begun} has a name that no field has: {name[:40]!r}")
        if headers.get("content-transfer-encoding", "").strip().lower() not in _PLAIN:
            raise invalid(name, "a part with a content-transfer-encoding is not read: send it as it is")
        media = headers.get("content-type", "").strip()
        if media.lower().startswith("multipart/"):
            raise invalid(name, "a part that is multipart itself is not read")
        data = self._body[self._start : self._end] if self._start >= 0 else self._body[:0]
        self._parts.append(Part(name, _utf8(options.get(b"filename", b"")), media, data))

    def _all_end(self) -> None:
        self._ended = True


def _latin(text: str) -> str:
    """Return a header so that the parser, which reads latin-1, keeps its UTF-8 bytes."""
    return text.encode("utf-8", "replace").decode("latin-1")


def _utf8(raw: bytes) -> str:
    """Return a parameter's text; browsers write these three characters so."""
    return raw.decode("utf-8", "replace").replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")


class OutPart(NamedTuple):
    """A part to be written; `filename` is "" for what is no file."""

    name: str
    filename: str
    media: str
    data: Body


def write_parts(parts: Iterable[OutPart]) -> tuple[bytes, str]:
    """Return a body and its content type.

    Raises:
        ValueError: a name that would break out of its header.
    """
    boundary = secrets.token_hex(16)  # nobody who does not know it can write it into a part
    pieces: list[Body] = []
    for part in parts:
        filename = f'; filename="{_quoted(part.filename)}"' if part.filename else ""
        media = f"content-type: {_line(part.media)}\r\n" if part.media else ""
        head = f'--{boundary}\r\ncontent-disposition: form-data; name="{_quoted(part.name)}"{filename}\r\n{media}\r\n'
        pieces += [head.encode(), part.data, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return b"".join(pieces), f"multipart/form-data; boundary={boundary}"


def _quoted(name: str) -> str:
    if "\\" in name:
        raise ValueError(f"{name[:80]!r} cannot be the name of a part: no two readers agree on what a backslash is")
    return _line(name).replace('"', "%22")


def _line(text: str) -> str:
    """Return a text that goes into a header.

    Raises:
        ValueError: it has a line break or another character that cannot be printed.
    """
    if not text.isprintable():
        raise ValueError(f"{text[:80]!r} cannot be the name or the media type of a part: it has control characters")
    return text
