"""What a request's head says to the protocol: limits, framing, and the headers that every request is looked at for.

Owns the rules of what is refused for its head alone; never reads a byte and never routes.
"""

from __future__ import annotations

from tiffin.config.parts import HttpConfig
from tiffin.errors import Code, Error
from tiffin.web.exchange import Exchange


def read_head(exchange: Exchange, http: HttpConfig, version: str, *, upgrade: bool) -> bool:
    """Fill the exchange from its header lines.

    Args:
        exchange: with target and headers. http: limits. version: of HTTP, as sent. upgrade: the client asks for another protocol.

    Returns:
        whether the client waits to be told to send its body.

    Raises:
        Error: too large, or framed in a way on which a proxy before us may judge otherwise.
    """
    headers = exchange.headers
    if len(headers) > http.max_headers:
        raise Error(f"more than {http.max_headers} header lines", code=Code.HEADERS_TOO_LARGE)
    expects = chunked = False
    size = len(exchange.target)
    for name, value in headers:
        size += len(name) + len(value)
        key = name.lower()
        if key == b"host":
            if exchange.host is not None:
                raise Error("two Host headers", code=Code.INVALID_INPUT)
            exchange.host = value
        elif key == b"content-length":
            exchange.content_length = int(value)
        elif key == b"content-type":
            exchange.content_type = value
        elif key == b"accept":
            exchange.accept = value
        elif key == b"x-request-id":
            exchange.request_id = value
        elif key == b"tiffin-timeout-ms":
            exchange.timeout_ms = value
        elif key == b"origin":
            exchange.origin = value
        elif key == b"expect":
            expects = value.lower() == b"100-continue"
        elif key == b"transfer-encoding":
            if chunked or value.strip().lower() != b"chunked" or version != "1.1":
                raise Error(
                    "of Transfer-Encoding only chunked is known, once, and in HTTP/1.1", code=Code.INVALID_INPUT
                )
            chunked = True
    if size > http.max_header_bytes:
        raise Error("the request head is too large", code=Code.HEADERS_TOO_LARGE)
    exchange.chunked = version == "1.1"
    if not exchange.chunked and version != "1.0":
        raise Error(f"HTTP/{version} is not spoken here, HTTP/1.1 is", code=Code.INVALID_INPUT)
    if upgrade:
        # The parser would take a body for the other protocol's first bytes.
        if chunked or exchange.content_length > 0:
            raise Error("a request with a body cannot ask for another protocol (Upgrade)", code=Code.INVALID_INPUT)
        exchange.keep_alive = False
    else:
        exchange.keep_alive = exchange.chunked
    return expects and exchange.chunked


def too_large(limit: int) -> Error:
    """Return the error for a body of more than `limit` bytes."""
    return Error(f"the body is larger than {limit} bytes (http.max_body_bytes)", code=Code.TOO_LARGE)
