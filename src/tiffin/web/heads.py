"""Response heads as bytes.

Owns the status lines; never a body.
"""

from __future__ import annotations

from http import HTTPStatus

from tiffin.web.exchange import Exchange

_REASONS = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Content Too Large",
    499: "Client Closed Request",
}
_STATUS_LINES = {
    status: f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\n".encode("ascii") for status in range(200, 600)
}


def whole_head(exchange: Exchange, status: int, date_line: bytes, media: bytes, size: int, *, keep: bool) -> bytes:
    """Return the head of an answer whose whole body of `size` bytes follows."""
    return b"%b%bcontent-type: %b\r\nx-request-id: %b\r\n%b%b%bcontent-length: %d\r\n\r\n" % (
        _STATUS_LINES[status],
        date_line,
        media,
        exchange.id.encode("latin-1"),
        exchange.cors,
        exchange.extra,
        b"" if keep else b"connection: close\r\n",
        size,
    )


def stream_head(exchange: Exchange, status: int, date_line: bytes, media: bytes, *, keep: bool) -> bytes:
    """Return the head of an answer whose pieces follow."""
    return b"%b%bcontent-type: %b\r\nx-request-id: %b\r\n%b%b%bcache-control: no-store\r\n%b\r\n" % (
        _STATUS_LINES[status],
        date_line,
        media,
        exchange.id.encode("latin-1"),
        exchange.cors,
        exchange.extra,
        b"" if keep else b"connection: close\r\n",
        b"transfer-encoding: chunked\r\n" if exchange.chunked else b"",
    )
