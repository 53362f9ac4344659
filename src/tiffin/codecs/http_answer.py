"""One answer of an HTTP/1.1 server, read strictly: head, length, body.

Owns what an answer must look like to be believed; never connects, decompresses or waits. Sizes in bytes. The standard library's
reader takes a length that is no number for none, the first of two lengths, and a chunk of size -1 for all that comes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from tiffin.codecs.urls import Refused

MAX_HEAD = 65_536  # all lines of a head together; also what chunk lines may cost before they are compared with the body
MAX_FIELDS = 100
MAX_INTERIM = 8  # answers of the kind 1xx before the real one
_READ = 65_536

_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\x00\r\n]*)?\Z")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*?)[ \t]*\Z")
_LENGTH = re.compile(r"[0-9]{1,15}\Z")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\x00\r\n]*)?\Z")
_MEDIA = re.compile(r"[a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,64}\Z")

Receive = Callable[[int], bytes]
"""Returns the next bytes, at most as many as asked for; none at the end of the connection."""


class Head(msgspec.Struct, frozen=True):
    """The head of an answer: its status and its fields, each with all its values, names in lower case."""

    status: int
    minor: int
    fields: dict[str, list[str]]

    def one(self, name: str) -> str:
        """Return the only value of a field, "" where there is none.

        Raises:
            Refused: it is there twice.
        """
        values = self.fields.get(name, [])
        if len(values) > 1:
            raise Refused(f"the server's answer has {len(values)} fields {name}")
        return values[0] if values else ""

    @property
    def media_type(self) -> str:
        """The media type in lower case, without parameters; "" where there is none that can be read."""
        name = ",".join(self.fields.get("content-type", [])).partition(";")[0].strip().lower()
        return name if _MEDIA.match(name) else ""


class Answer:
    """Reads one answer from a connection.

    Args:
        receive: gives the bytes; what it raises passes through.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._buffer = bytearray()

    def head(self) -> Head:
        """Read the head; interim answers (1xx) are skipped.

        Raises:
            Refused: it is not HTTP/1, or too large.
        """
        budget = MAX_HEAD
        for _ in range(MAX_INTERIM):
            line = self._line(budget)
            budget -= len(line) + 2
            status = _STATUS.match(line)
            if not status:
                raise Refused("the server does not speak HTTP/1.1")
            fields: dict[str, list[str]] = {}
            for _field in range(MAX_FIELDS + 1):
                line = self._line(budget)
                budget -= len(line) + 2
                if not line:
                    break
                field = _FIELD.match(line)
                if not field:
                    raise Refused("the head of the server's answer is malformed")
                fields.setdefault(field[1].decode().lower(), []).append(field[2].decode("latin-1"))
            else:
                raise Refused(f"the head of the server's answer has more than {MAX_FIELDS} fields")
            code = int(status[2])
            if code >= 200 or code == 101:
                return Head(code, int(status[1]), fields)
        raise Refused("the server sends interim answers without end")

    def body(self, head: Head, limit: int) -> bytes:
        """Read the body that belongs to a head, as it was sent.

        Args:
            head: what `head` returned. limit: most bytes.

        Raises:
            Refused: it is larger, compressed, of unknown length, or not as long as the head says.
        """
        if head.one("content-encoding").lower() not in ("", "identity"):
            raise Refused("the server sends the file compressed (Content-Encoding), although it was not asked to")
        length, coding = head.one("content-length"), head.one("transfer-encoding")
        if coding:
            if length or not head.minor or coding.lower() != "chunked":
                raise Refused("the server's answer says in two ways, or in an unknown one, how long the file is")
            return self._chunks(limit)
        if not _LENGTH.match(length):
            # Without a length the end of a file cannot be told from a connection that broke.
            raise Refused("the server's answer does not say how long the file is")
        if int(length) > limit:
            raise _too_large(limit)
        body = bytearray()
        self._take(body, int(length))
        if self._buffer:
            raise Refused("the server sends more than the length that it said")
        return bytes(body)

    def _chunks(self, limit: int) -> bytes:
        body = bytearray()
        overhead = 0
        while True:
            line = self._line(MAX_HEAD)
            found = _CHUNK.match(line)
            if not found:
                raise Refused("the server's answer is chunked wrongly")
            size = int(found[1], 16)
            if size > limit - len(body):
                raise _too_large(limit)
            if not size:
                break
            self._take(body, size)
            if self._line(0):
                raise Refused("the server's answer is chunked wrongly")
            # Chunks of one byte cost a hundred times the work of their bytes.
            overhead += len(line) + 4
            if overhead > MAX_HEAD + len(body) // 2:
                raise Refused("the server's answer is cut into chunks that are too small")
        budget = MAX_HEAD
        while line := self._line(budget):  # trailers: nothing in them is wanted
            budget -= len(line) + 2
        return bytes(body)

    def _line(self, limit: int) -> bytes:
        """Return a line without its CR LF.

        Raises:
            Refused: it has more bytes than the limit, or the connection ends in it.
        """
        start = 0
        while (end := self._buffer.find(b"\r\n", start)) < 0:
            start = max(len(self._buffer) - 1, 0)
            if start > limit:
                break
            self._more()
        if end > limit or end < 0:
            raise Refused("a line of the server's answer is too long")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _take(self, body: bytearray, size: int) -> None:
        """Move so many bytes to the body."""
        while size:
            if not self._buffer:
                self._more()
            part = self._buffer[:size]
            del self._buffer[: len(part)]
            body += part
            size -= len(part)

    def _more(self) -> None:
        data = self._receive(_READ)
        if not data:
            raise Refused("the server ended the connection before the end of the file")
        self._buffer += data


def _too_large(limit: int) -> Refused:
    return Refused(f"the file is too large: at most {limit} bytes are fetched")
