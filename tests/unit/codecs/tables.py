"""Tables as bytes, made with the libraries themselves and not with the code under test."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tiffin.messages.link import Media

JSON, MSGPACK, ARROW, CSV, PARQUET = Media.JSON, Media.MSGPACK, Media.ARROW, Media.CSV, Media.PARQUET


def json_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()


def parquet(table: pa.Table, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def stream(table: pa.Table, compression: str | None = None, rows: int | None = None) -> bytes:
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, rows)
    return out.getvalue()
