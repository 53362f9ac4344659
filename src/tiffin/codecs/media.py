"""Content-Type and Accept headers → media numbers, by what a method takes and gives.

Owns the negotiation; never reads a body. A body without a Content-Type is taken as the method's own kind (JSON for most); a form
or text/plain is never taken as JSON, because browsers send those across sites without asking first. A form is taken where a method
takes files; that it comes from another site is looked at by the endpoint.
"""

from __future__ import annotations

from tiffin.codecs.files import check_claim, gives_files, raw_file, single_file, takes_files
from tiffin.codecs.sniff import matches
from tiffin.errors import Code, Error
from tiffin.messages.link import Media
from tiffin.spec.service import MethodSpec
from tiffin.spec.types import AnyType, ArrayType, BytesType, ListType, StrType, Type, table_of

JSON, NPY, MSGPACK, TEXT, BYTES, SSE, NDJSON, MULTIPART = range(8)
ARROW, CSV, PARQUET = 8, 9, 10
_TABLES = (JSON, CSV, PARQUET, ARROW, MSGPACK)
_OWN = -1

_BODIES = {
    "application/json": JSON,
    "text/json": JSON,
    "application/x-npy": NPY,
    "application/npy": NPY,
    "application/msgpack": MSGPACK,
    "application/x-msgpack": MSGPACK,
    "application/vnd.msgpack": MSGPACK,
    "text/plain": TEXT,
    "application/octet-stream": BYTES,
    "text/csv": CSV,
    "application/vnd.apache.parquet": PARQUET,
    "application/x-parquet": PARQUET,
    "application/vnd.apache.arrow.stream": ARROW,
    "multipart/form-data": MULTIPART,
}
_ANSWERS = {**_BODIES, "text/event-stream": SSE, "application/x-ndjson": NDJSON, "application/jsonl": NDJSON}


def takes(method: MethodSpec) -> tuple[int, ...]:
    """Return the media numbers that bodies of a method may have, the one without a header first."""
    params = method.params
    if takes_files(method):
        if raw_file(method) is None:
            return (JSON, MULTIPART, MSGPACK)
        return (BYTES, MULTIPART, JSON, MSGPACK) if method.whole_body else (JSON, BYTES, MULTIPART, MSGPACK)
    if len(params) == 1:
        kind = params[0].type
        if method.whole_body and not method.batchable:
            if isinstance(kind, BytesType):
                return (BYTES, JSON, MSGPACK)
            if isinstance(kind, StrType):
                return (TEXT, JSON, MSGPACK)
        if isinstance(kind, ArrayType) and not kind.dtype.startswith("str"):
            return (JSON, NPY, MSGPACK)
        if table_of(kind) is not None:
            return _TABLES
    return (JSON, MSGPACK)


def gives(method: MethodSpec) -> tuple[int, ...]:
    """Return the media numbers that answers of a method may have, its own choice first (-1: by the value)."""
    returns: Type = method.returns
    if method.batchable and method.one_row and isinstance(returns, ListType) and gives_files(returns):
        returns = returns.item
    if gives_files(returns):
        one = single_file(returns)
        if not method.streams:
            return (MULTIPART, JSON, MSGPACK) if one is None else (BYTES, JSON, MSGPACK)
        if one is not None and one.form == "bytes":
            return (BYTES, SSE, NDJSON, MSGPACK)
    if method.streams:
        if isinstance(returns, StrType):
            return (TEXT, SSE, NDJSON, MSGPACK)
        if isinstance(returns, BytesType):
            return (BYTES, SSE, NDJSON, MSGPACK)
        return (SSE, NDJSON, TEXT, BYTES, MSGPACK) if isinstance(returns, AnyType) else (SSE, NDJSON, MSGPACK)
    if table_of(returns) is not None:
        return _TABLES
    if method.batchable and not isinstance(returns, ArrayType | AnyType):
        return (JSON, MSGPACK)
    if isinstance(returns, StrType):
        return (TEXT, JSON, MSGPACK)
    if isinstance(returns, BytesType):
        return (BYTES, JSON, MSGPACK)
    if isinstance(returns, ArrayType):
        return (JSON, MSGPACK) if returns.dtype.startswith("str") else (JSON, NPY, MSGPACK)
    if isinstance(returns, AnyType):
        return (_OWN, JSON, NPY, TEXT, BYTES, CSV, PARQUET, ARROW, MSGPACK)
    return (JSON, MSGPACK)


def body_media(content_type: bytes, method: MethodSpec) -> int:
    """Return the media number of a body.

    Args:
        content_type: the header's value, empty where there is none. method: what is called.

    Raises:
        Error: UNSUPPORTED_MEDIA, with what the method takes.
    """
    known = takes(method)
    name, *parameters = content_type.decode("latin-1").lower().split(";")
    name = name.strip()
    if not name:
        return known[0]
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "charset" and value.strip().strip('"') not in ("utf-8", "utf8", "us-ascii"):
            raise Error(
                f"charset {value.strip()[:40]!r} is not supported: send the body as UTF-8", code=Code.UNSUPPORTED_MEDIA
            )
    media = JSON if name.startswith("application/") and name.endswith("+json") else _BODIES.get(name, _OWN)
    if media in known:
        return media
    if BYTES in known and media != TEXT and not name.startswith("multipart/"):
        raw = raw_file(method)
        if raw is not None:
            check_claim(raw.file, name, "" if method.whole_body else method.params[0].name)
        return BYTES  # a method that takes raw bytes takes image/png, audio/wav, … as they are
    # What curl says of a body where its user says nothing.
    forgotten = "; with curl: -H 'content-type: …'" if name == "application/x-www-form-urlencoded" else ""
    raise Error(
        f"content type {name[:80]!r} is not supported: send {_names(known)}{forgotten}",
        code=Code.UNSUPPORTED_MEDIA,
        details={"supported": [_bare(number) for number in known]},
    )


def accept_media(accept: bytes, method: MethodSpec) -> int:
    """Return the media number of the answer that a client asks for, -1 for the worker's choice by the value.

    Args:
        accept: the header's value, empty where there is none. method: what is called.

    Raises:
        Error: NOT_ACCEPTABLE, with what the method gives.
    """
    known = gives(method)
    if not accept or accept == b"*/*":
        return known[0]
    if method.media:
        return _OWN  # the method fixes its media type; who asks for another gets it all the same
    best, best_quality = None, 0.0
    refused: set[int] = set()
    for part in accept.decode("latin-1").lower().split(",", 32)[:32]:
        name, *parameters = part.split(";")
        quality = _quality(parameters)
        found = _asked(name.strip(), known) or _as_file(name.strip(), known, method)
        if quality == 0.0 and "*" not in name:
            refused.update(found)
        elif quality > best_quality:
            for number in found:
                if number not in refused:
                    best, best_quality = number, quality
                    break
    if best is None or best in refused:
        raise Error(
            f"no answer of the kind {accept[:80].decode('latin-1')!r}: ask for {_names(known)}",
            code=Code.NOT_ACCEPTABLE,
            details={"supported": [_bare(number) for number in known if number != _OWN]},
        )
    return best


def _asked(name: str, known: tuple[int, ...]) -> tuple[int, ...]:
    """Return the known numbers that one range of an Accept header names, the method's own choice first."""
    if name in ("*/*", "*"):
        return known
    if name.endswith("/*"):
        return tuple(number for number in known if number != _OWN and Media.NAMES[number].startswith(name[:-1]))
    number = _ANSWERS.get(name, _OWN)
    return (number,) if number != _OWN and number in known else ()


def _as_file(name: str, known: tuple[int, ...], method: MethodSpec) -> tuple[int, ...]:
    """Return BYTES where an answer is a file of a type that one range of an Accept header names, or of one not known before."""
    if BYTES not in known or name in _ANSWERS or "/" not in name:
        return ()
    returns = method.returns.item if method.one_row and isinstance(method.returns, ListType) else method.returns
    one = single_file(returns)
    if one is None:
        return ()
    media = one.media or ("image/png" if one.form == "image" else "")
    return (BYTES,) if not media or matches(media, name) else ()


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


def _bare(number: int) -> str:
    return Media.NAMES[number].split(";", 1)[0]


def _names(known: tuple[int, ...]) -> str:
    return " or ".join(_bare(number) for number in known if number != _OWN)
