"""Parquet and Arrow streams ↔ Arrow tables, bounded before anything is made of a stranger's bytes.

Owns what is refused: more columns or decoded bytes than the limits, nested and extension types, buffers that are not what they say.
Nothing in such a body is ever run: pandas' and Arrow's own metadata are dropped. Imported only where a body of these types arrives
or is asked for, because it loads pyarrow. Sizes in bytes.
"""

from __future__ import annotations

import importlib
import re
import zoneinfo
from collections import Counter
from typing import Any

from tiffin.codecs.arrow_message import compressed_bytes
from tiffin.codecs.parquet_pages import page_bytes, read_footer
from tiffin.codecs.reasons import invalid, invalid_fields, join
from tiffin.errors import Code, Error
from tiffin.messages.link import Media

Body = bytes | bytearray | memoryview
MAX_COLUMNS = 10_000
MAX_BYTES = 512 * 2**20
"""Decoded bytes of one table."""
SMALL_BYTES = 64 * 2**20
MAX_RATIO = 200
"""A table above `SMALL_BYTES` decoded must not be more than this many times its body."""
_METADATA_BYTES = 8 * 2**20
_METADATA_ITEMS = 1_000_000
_OFFSET = re.compile(r"[+-](?:[01][0-9]|2[0-3]):[0-5][0-9]")


def arrow() -> Any:
    """Return pyarrow.

    Raises:
        Error: UNSUPPORTED_MEDIA, it is not installed here.
    """
    try:
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise Error(
            "Parquet and Arrow bodies need pyarrow, which is not installed where the service runs: "
            "send JSON or CSV, or install tiffin[arrow] there",
            code=Code.UNSUPPORTED_MEDIA,
        ) from error


def limit_of(size: int) -> int:
    """Return how many decoded bytes a body of a size may bring."""
    return min(MAX_BYTES, max(SMALL_BYTES, MAX_RATIO * size))


def read_table(media: int, body: Body, path: str) -> Any:
    """Return a `pyarrow.Table` of flat columns with unique names, all of whose buffers have been validated; no metadata.

    Args:
        media: number of Parquet or of the Arrow stream. body: all of it; it is copied. path: of the table, for errors.

    Raises:
        Error: INVALID_INPUT: not of that format, or one of the module's limits.
    """
    pa = arrow()
    buffer = pa.py_buffer(bytes(body))
    limit = limit_of(len(body))
    name = "Parquet" if media == Media.PARQUET else "an Arrow stream"
    try:
        table = _parquet(pa, buffer, path, limit) if media == Media.PARQUET else _stream(pa, buffer, path, limit)
        table.validate(full=True)
        return _expanded(pa, table, path, limit)
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        OverflowError,
        MemoryError,
    ) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise invalid(path, f"not {name} that can be read: {reason[0]}") from error


def _stream(pa: Any, buffer: Any, path: str, limit: int) -> Any:
    # First over the messages, which are views on the body: what they would take decompressed.
    claimed = 0
    for message in pa.ipc.MessageReader.open_stream(buffer):
        if message.type in ("record batch", "dictionary"):
            claimed += compressed_bytes(memoryview(message.metadata).cast("B"), memoryview(message.body).cast("B"))
            if claimed > limit:
                raise _too_large(path, claimed, limit)
    with pa.ipc.open_stream(buffer, options=pa.ipc.IpcReadOptions(use_threads=False)) as reader:
        _check_schema(pa, reader.schema, path)
        batches: list[Any] = []
        rows = 0
        for batch in reader:
            rows += batch.num_rows
            _check_rows(reader.schema, rows, path, limit)
            batches.append(batch)
        return pa.Table.from_batches(batches, reader.schema).replace_schema_metadata(None)


def _parquet(pa: Any, buffer: Any, path: str, limit: int) -> Any:
    parquet = importlib.import_module("pyarrow.parquet")
    options = {
        "thrift_string_size_limit": _METADATA_BYTES,
        "thrift_container_size_limit": _METADATA_ITEMS,
        "pre_buffer": False,
        "page_checksum_verification": False,
    }
    data = memoryview(buffer).cast("B")
    footer = read_footer(data)
    with parquet.ParquetFile(pa.BufferReader(buffer), **options) as file:
        schema = file.schema_arrow
    _check_schema(pa, schema, path)
    _check_rows(schema, footer.rows, path, limit)
    unpacked = page_bytes(footer, data, limit)
    if unpacked > limit:
        raise _too_large(path, unpacked, limit)
    # Texts as dictionaries: a page may name one long text many times, and is measured before it is written out.
    texts = [field.name for field in schema if _is_text(pa, field.type)]
    with parquet.ParquetFile(pa.BufferReader(buffer), read_dictionary=texts, **options) as file:
        return file.read(use_threads=False, use_pandas_metadata=False).replace_schema_metadata(None)


def _check_schema(pa: Any, schema: Any, path: str) -> None:
    """Refuse a schema with too many columns, a name twice, or a type that is not flat."""
    if len(schema) > MAX_COLUMNS:
        raise invalid(path, f"{len(schema)} columns: {MAX_COLUMNS} at most")
    if not len(schema):
        raise invalid(path, "no columns")
    names: list[str] = schema.names
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise invalid(join(path, f".{twice}"), "the column comes twice")
    wrong = [(join(path, f".{field.name}"), field.type) for field in schema if not _is_flat(pa, field.type)]
    if wrong:
        raise invalid_fields((where, f"columns of type {kind!s:.60} are not served") for where, kind in wrong[:32])


def _known_zone(zone: str) -> bool:
    """Say whether a name from a stranger's schema is a time zone; an offset (+01:00) is one."""
    if _OFFSET.fullmatch(zone):
        return True
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _is_text(pa: Any, kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_flat(pa: Any, kind: Any) -> bool:
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return False
    if types.is_dictionary(kind):
        return _is_text(pa, kind.value_type)
    return bool(
        _is_text(pa, kind)
        or types.is_null(kind)
        or types.is_boolean(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
        or (types.is_timestamp(kind) and (not kind.tz or _known_zone(kind.tz)))
        or types.is_date(kind)
    )


def _check_rows(schema: Any, rows: int, path: str, limit: int) -> None:
    """Refuse rows that would take more than the limit: a column of nulls has any number of them in no bytes at all."""
    if rows * len(schema) * 8 > limit:
        raise _too_large(path, rows * len(schema) * 8, limit)


def _expanded(pa: Any, table: Any, path: str, limit: int) -> Any:
    """Return a table whose dictionaries, written out, would not be more than the limit."""
    compute = importlib.import_module("pyarrow.compute")
    total = 0
    for column in table.columns:
        if pa.types.is_dictionary(column.type):
            for chunk in column.chunks:
                lengths = compute.binary_length(chunk.dictionary)
                total += compute.sum(lengths.take(chunk.indices).cast(pa.int64())).as_py() or 0
        else:
            total += column.nbytes
        if total > limit:
            raise _too_large(path, total, limit)
    return table


def _too_large(path: str, size: int, limit: int) -> Error:
    return invalid(path, f"{size} bytes when decoded: {limit} at most for a body of this size")


def write_table(media: int, table: Any) -> bytes:
    """Return a `pyarrow.Table` as a body: Parquet, or an Arrow stream."""
    pa = arrow()
    sink = pa.BufferOutputStream()
    if media == Media.PARQUET:
        importlib.import_module("pyarrow.parquet").write_table(table, sink)
    else:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    out: bytes = sink.getvalue().to_pybytes()
    return out
