"""The front's check of forms and of bodies that are files: what can be seen without reading them.

Owns the counting of a form's rows; never decodes a part, and looks at no more of a large body than its ends. Sizes in bytes.
"""

from __future__ import annotations

import re

from tiffin.codecs.files import Body, check_file, client_type, file_param, raw_file, takes_files
from tiffin.codecs.multipart import boundary_of
from tiffin.codecs.reasons import invalid
from tiffin.codecs.sniff import HEAD_BYTES
from tiffin.messages.link import Media
from tiffin.spec.service import MethodSpec

COUNTED_BYTES = 1_048_576
"""The parts of a larger form are not counted: a loop that serves all clients must not read it."""

_EPILOGUE_BYTES = 4_096


class FormCheck:
    """See the module.

    Args:
        method: whose bodies are checked.
    """

    __slots__ = ("_files", "_others", "_path", "_raw", "_rows", "takes")

    def __init__(self, method: MethodSpec) -> None:
        files = [param for param in method.params if file_param(client_type(method, param)) is not None]
        self.takes = takes_files(method)
        self._raw = raw_file(method) if self.takes else None
        self._path = "" if method.whole_body or not method.params else method.params[0].name
        counting = method.batchable and not method.one_row
        self._files = len(files)
        self._others = len(method.params) - len(files)
        self._rows = method.max_batch_size if counting else 0

    def check(self, media: int, body: Body, content_type: str) -> int:
        """Check a body.

        Args:
            media: `Media.MULTIPART` or `Media.BYTES`. body: all of it. content_type: as sent.

        Returns:
            the rows that it brings, 1 where the method is not batchable. The parts of a large form are as many as one batch may
            have, so that it runs alone: the worker counts them.

        Raises:
            Error: INVALID_INPUT.
        """
        if media == Media.MULTIPART:
            return self._form(body, boundary_of(content_type))
        if self._raw is not None:
            check_file(self._raw.file, body[:HEAD_BYTES], len(body), content_type, self._path)
        return 1

    def _form(self, body: Body, boundary: bytes) -> int:
        end = b"--" + boundary + b"--"
        if bytes(body[:2]) not in (b"--", b"\r\n"):
            raise invalid("", "not multipart/form-data: the body does not begin with the boundary")
        if len(body) <= _EPILOGUE_BYTES and end not in bytes(body):
            raise invalid("", "not multipart/form-data: the body ends before its last boundary")
        if not self._rows:
            return 1
        if len(body) > COUNTED_BYTES:
            return self._rows
        parts = sum(1 for _ in re.finditer(re.escape(b"--" + boundary + b"\r\n"), body))
        return max(1, (parts - self._others) // max(1, self._files))
