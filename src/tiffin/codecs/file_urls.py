"""URLs that stand for files in a body: where they are, and the body that has the files in their places.

Owns where a URL may stand (for a file in JSON, or as a text part of a form) and what replaces it: what the client could have sent
itself. Never fetches. Runs in the front, before there is a call. Sizes in bytes.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

import msgspec

from tiffin.codecs.files import FileParam, check_file, client_type, file_param, is_url
from tiffin.codecs.multipart import OutPart, Part, read_parts, write_parts
from tiffin.codecs.urls import MAX_URL
from tiffin.config.parts import FilesConfig
from tiffin.errors import Code, Error
from tiffin.messages.link import Media
from tiffin.spec.service import MethodSpec
from tiffin.spec.types import BytesType, FileType, walk

if TYPE_CHECKING:
    from tiffin.codecs.fetch import Fetched

SEARCHED_BYTES = 1_048_576
"""No URL is looked for in a larger body: the front must not read it."""

_BASE64_BYTES = 98_304  # of a file at once, divisible by 3: in between, other threads have their turn
_FAILURES = (msgspec.MsgspecError, RecursionError, UnicodeError)

# Bytes as they are, and the numbers of files that come between them in base64.
_Pieces: TypeAlias = "list[bytes | int]"


class Wanted(NamedTuple):
    """A file to fetch: its URL as sent, the path of the field that holds it, what is taken there."""

    url: str
    path: str
    file: FileType


class Found:
    """A body with URLs for files.

    Attributes:
        wanted: the files to fetch, one at least.
    """

    def __init__(self, wanted: list[Wanted], json: _Pieces, form: list[tuple[Part, _Pieces | int]]) -> None:
        self.wanted = wanted
        self._json = json
        self._form = form

    def check(self, number: int, fetched: Fetched) -> None:
        """Refuse a file that was fetched and is not what is taken: as an upload's, its bytes count more than what its sender says.

        Raises:
            Error: INVALID_INPUT, with the path.
        """
        _url, path, file = self.wanted[number]
        check_file(file, fetched.body, len(fetched.body), fetched.content_type, path)

    def filled(self, files: Sequence[Fetched]) -> tuple[bytes, str]:
        """Return the body with the files in their places, in the order of `wanted`, and its content type ("" for JSON)."""
        if not self._form:
            return _joined(self._json, files), ""
        return write_parts(_out(part, data, files) for part, data in self._form)


class FileUrls:
    """Looks for URLs in the bodies of one method.

    Args:
        method: that takes files. limits: of forms.
    """

    def __init__(self, method: MethodSpec, limits: FilesConfig) -> None:
        self._limits = limits
        self._whole = method.whole_body
        self._names = {param.name for param in method.params}
        self._files: dict[str, FileParam] = {}
        self._plain: set[str] = set()
        for param in method.params:
            kind = client_type(method, param)
            taken = file_param(kind)
            if taken is not None:
                self._files[param.name] = taken
                if any(isinstance(part, BytesType) for part in walk(kind)):
                    self._plain.add(param.name)  # in JSON no file, but bytes like any other

    def find(self, media: int, body: bytes, content_type: str) -> Found | None:
        """Return a body's URLs; None where it has none, or is wrong in a way that the worker will say.

        Args:
            media: `Media.JSON` or `Media.MULTIPART`. body: all of it. content_type: as sent.

        Raises:
            Error: INVALID_INPUT, it is no form; TOO_LARGE, more parts or files than may be.
        """
        wanted: list[Wanted] = []
        if media == Media.MULTIPART:
            form = self._in_form(read_parts(content_type, body, self._limits), wanted)
            found = Found(wanted, [], form)
        else:
            found = Found(wanted, self._in_json(body, wanted), [])
        if len(wanted) > self._limits.max_parts:
            raise Error(
                f"more than {self._limits.max_parts} files by URL in one body (files.max_parts)", code=Code.TOO_LARGE
            )
        return found if wanted else None

    def _in_json(self, body: bytes, wanted: list[Wanted]) -> _Pieces:
        if self._whole:
            for name, taken in self._files.items():
                if name not in self._plain:
                    return self._value(body, taken, "", wanted)
            return []
        try:
            fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        except _FAILURES:
            return []
        pieces: _Pieces = []
        for name, raw in fields.items():
            pieces.append((b"," if pieces else b"{") + msgspec.json.encode(name) + b":")
            if name in self._files and name not in self._plain:
                pieces += self._value(bytes(raw), self._files[name], name, wanted)
            else:
                pieces.append(bytes(raw))
        pieces.append(b"}")
        return pieces

    def _value(self, raw: bytes, taken: FileParam, path: str, wanted: list[Wanted]) -> _Pieces:
        """Return a parameter's JSON with a number for each URL."""
        try:
            value = msgspec.json.decode(raw)
        except _FAILURES:
            return [raw]
        if not taken.many:
            return [_want(value, path, taken, wanted)] if _is_url(value) else [raw]
        if not isinstance(value, list):
            return [raw]
        items = cast("list[object]", value)
        if taken.most is not None and len(items) > taken.most:
            return [raw]
        pieces: _Pieces = [b"["]
        for index, item in enumerate(items):
            if index:
                pieces.append(b",")
            if _is_url(item):
                pieces.append(_want(item, f"{path}[{index}]", taken, wanted))
            else:
                pieces.append(msgspec.json.encode(item))
        pieces.append(b"]")
        return pieces

    def _in_form(self, parts: list[Part], wanted: list[Wanted]) -> list[tuple[Part, _Pieces | int]]:
        counts = dict.fromkeys(self._files, 0)
        for part in parts:
            if part.name not in self._names:
                return []  # the worker refuses the form: nothing is fetched for it
            if part.name in counts:
                counts[part.name] += 1
        for name, taken in self._files.items():
            most = taken.most if taken.many else 1
            if most is not None and counts[name] > most:
                return []
        form: list[tuple[Part, _Pieces | int]] = []
        seen = dict.fromkeys(self._files, 0)
        for part in parts:
            taker = self._files.get(part.name)
            data: _Pieces | int = [bytes(part.data)]
            if taker is not None and not part.filename:
                path = "" if self._whole else part.name
                if counts[part.name] == 1 and part.media.lower().startswith("application/json"):
                    data = self._value(bytes(part.data), taker, path, wanted)
                elif len(part.data) <= MAX_URL and is_url(text := str(part.data, "utf-8", "replace")):
                    data = _want(text, f"{path}[{seen[part.name]}]" if taker.many else path, taker, wanted)
            if taker is not None:
                seen[part.name] += 1
            form.append((part, data))
        return form


def may_hold(body: bytes | memoryview) -> bool:
    """Say whether there may be a URL in a body: a quick look, which is wrong in one direction only."""
    raw = body if isinstance(body, bytes) else bytes(body)
    return b"://" in raw or b":\\/\\/" in raw


def _is_url(value: object) -> bool:
    return isinstance(value, str) and is_url(value)


def _want(url: object, path: str, taken: FileParam, wanted: list[Wanted]) -> int:
    """Note a file to fetch; return its number."""
    wanted.append(Wanted(str(url), path, taken.file))
    return len(wanted) - 1


def _joined(pieces: _Pieces, files: Sequence[Fetched]) -> bytes:
    """Return pieces as one, files as texts of JSON in base64."""
    return b"".join(_texts(pieces, files))


def _texts(pieces: _Pieces, files: Sequence[Fetched]) -> Iterator[bytes]:
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        body = files[piece].body
        yield b'"'
        for start in range(0, len(body), _BASE64_BYTES):
            yield b2a_base64(body[start : start + _BASE64_BYTES], newline=False)
        yield b'"'


def _out(part: Part, data: _Pieces | int, files: Sequence[Fetched]) -> OutPart:
    """Return a part of the new form."""
    if isinstance(data, int):
        # It has a name in any case: a part without one could be a URL once more.
        fetched = files[data]
        return OutPart(part.name, fetched.name or "file", fetched.content_type, fetched.body)
    filename = part.filename.replace("\\", "/")
    if filename and not filename.isprintable():
        filename = "file"
    media = part.media if part.media.isprintable() else ""
    return OutPart(part.name, filename, media, _joined(data, files))
