"""S-DEC-02 for tables: bodies that would take far more than their size, and bodies that are not what they say; each is a 400.

None of these tests may take memory or time worth speaking of: what is refused is refused before it is decoded.
"""

from __future__ import annotations

import contextlib
import pathlib
import random
import struct
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.unit.codecs.method import codec, refused
from tests.unit.codecs.tables import ARROW, CSV, JSON, PARQUET, json_bytes, parquet, stream
from tiffin.codecs import csv_table, table_bytes
from tiffin.codecs.arrow_message import compressed_bytes
from tiffin.codecs.parquet_pages import page_bytes, read_footer
from tiffin.codecs.values import MethodCodec
from tiffin.errors import Error


def frame(self, t: pd.DataFrame, /): ...
def arrow(self, t: pa.Table, /): ...


CODECS = [codec(frame), codec(arrow)]
both = pytest.mark.parametrize("method", CODECS, ids=["pandas", "arrow"])
BOMB = "x" * 1_000_000


def reason(method: MethodCodec, media: int, body: bytes) -> str:
    """Return why a body is refused, and see that Arrow took next to no memory for it."""
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        ((_path, text),) = refused(method.decode, media, body)
    finally:
        pa.set_memory_pool(before)
    assert pool.max_memory() < 24 * 2**20
    return text


@both
def test_s_dec_02_100_000_columns(method: MethodCodec) -> None:
    names = [f"c{index}" for index in range(100_000)]
    line = ",".join("1" * len(names))
    wide = pa.table([pa.array([1])] * 10_001, names=names[:10_001])
    assert reason(method, CSV, f"{','.join(names)}\n{line}\n".encode()) == "100000 columns: 10000 at most"
    assert reason(method, JSON, json_bytes([dict.fromkeys(names, 1)])) == "100000 columns: 10000 at most"
    assert reason(method, JSON, json_bytes({name: [1] for name in names})) == "100000 columns: 10000 at most"
    assert reason(method, ARROW, stream(wide)) == "10001 columns: 10000 at most"
    assert reason(method, PARQUET, parquet(wide)) == "10001 columns: 10000 at most"
    assert method.decode(ARROW, stream(wide.select(range(10_000))))["t"].shape == (1, 10_000)


@both
def test_s_dec_02_a_row_with_a_million_unknown_columns(method: MethodCodec) -> None:
    names = [f"c{index}" for index in range(10_000)]
    good = dict.fromkeys(names, 1)
    body = json_bytes([good, good | {f"x{index}": 1 for index in range(300_000)}])
    assert refused(method.decode, JSON, body)[0] == ("[1].x0", "unknown column")
    assert refused(method.decode, CSV, ",".join([*names[:-1], "c7"]).encode()) == [("c7", "the column comes twice")]


@both
def test_s_dec_02_a_footer_of_parquet_that_takes_long_to_read(method: MethodCodec) -> None:
    body = b"PAR1" + bytes(2**24) + (2**24).to_bytes(4, "little") + b"PAR1"
    assert "a footer of 16777216 bytes: 8388608 at most" in reason(method, PARQUET, body)


@both
def test_s_dec_02_rows_that_take_no_bytes(method: MethodCodec) -> None:
    zeros = pa.table({"x": np.zeros(20_000_000, np.int8)})
    assert reason(method, PARQUET, parquet(zeros, compression="zstd")).startswith(
        "160000000 bytes when decoded: 67108864"
    )
    nulls = pa.table({"x": pa.nulls(10**9)})
    assert reason(method, ARROW, stream(nulls)).startswith("8000000000 bytes when decoded: 67108864")
    assert "at most for a body of this size" in reason(method, PARQUET, parquet(pa.table({"x": pa.nulls(10**7)})))


@both
def test_s_dec_02_one_text_named_a_million_times(method: MethodCodec) -> None:
    indices = pa.array(np.zeros(1_000_000, np.int32))
    table = pa.table({"x": pa.DictionaryArray.from_arrays(indices, pa.array([BOMB]))})
    plain = parquet(table, store_schema=False)  # without Arrow's word that these are dictionaries
    for media, body in ((PARQUET, parquet(table)), (PARQUET, plain), (ARROW, stream(table, "zstd"))):
        assert reason(method, media, body).startswith("1000000000000 bytes when decoded")
    assert method.decode(PARQUET, parquet(table.slice(0, 10)))["t"].shape == (10, 1)


@both
def test_s_dec_02_pages_and_buffers_that_are_compressed_1000_times(method: MethodCodec) -> None:
    texts = pa.table({"x": ["\0" * 70_000_000]})
    body = parquet(texts, compression="zstd", use_dictionary=False)
    assert len(body) < 20_000
    assert reason(method, PARQUET, body).startswith("70000010 bytes when decoded: 67108864")
    body = stream(pa.table({"x": np.zeros(20_000_000)}), "zstd")
    assert len(body) < 20_000
    assert reason(method, ARROW, body).startswith("160000000 bytes when decoded: 67108864")
    dictionary = pa.DictionaryArray.from_arrays(pa.array([0]), texts["x"].chunk(0))
    assert reason(method, ARROW, stream(pa.table({"x": dictionary}), "zstd")).startswith("70000")


def varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


@both
def test_s_dec_02_a_footer_that_lies_about_its_pages(method: MethodCodec) -> None:
    body = parquet(pa.table({"x": ["\0" * 70_000_000]}), compression="zstd", use_dictionary=False)
    footer = read_footer(memoryview(body))
    assert page_bytes(footer, memoryview(body), 10**12) == 70_000_010
    # The same pages under a footer that says of them 35 bytes instead of 70,000,035: the pages' own heads count.
    said = varint((70_000_010 + 25) << 1)
    small = bytes([35 << 1 & 127 | 128, *[128] * (len(said) - 2), 0])  # a number of the same length
    lying = body.replace(said, small)
    assert lying != body
    assert reason(method, PARQUET, lying).startswith("70000010 bytes when decoded")


@both
def test_s_dec_02_nested_and_foreign_types(method: MethodCodec) -> None:
    deep: Any = pa.int8()
    for _ in range(60):
        deep = pa.list_(deep)
    kinds = [deep, pa.list_(pa.int8()), pa.struct([("a", pa.int8())]), pa.map_(pa.string(), pa.int8()), pa.uuid()]
    kinds += [pa.binary(), pa.decimal128(10), pa.duration("s"), pa.time32("s"), pa.timestamp("s", "Mars/Olympus")]
    for kind in kinds:
        body = stream(pa.table({"x": pa.nulls(1, kind)}))
        assert reason(method, ARROW, body).startswith("columns of type ")
    assert reason(method, PARQUET, parquet(pa.table({"x": pa.array([{"a": 1}])}))).startswith("columns of type struct")
    for _ in range(500):
        deep = pa.list_(deep)
    assert "Invalid flatbuffers message" in reason(method, ARROW, stream(pa.schema([("x", deep)]).empty_table()))


@both
def test_s_dec_02_metadata_is_never_run(method: MethodCodec, tmp_path: pathlib.Path) -> None:
    trap = tmp_path / "executed"
    pickle = f"cos\nsystem\n(S'touch {trap}'\ntR.".encode()
    field = pa.field(
        "x",
        pa.int64(),
        metadata={"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickle},
    )
    metadata = [
        b'{"index_columns": ["nothing"], "columns": 3}',
        b"no JSON",
        b'{"index_columns": [{"kind": "range", "start": 0, "stop": 99999999999, "step": 1}], "columns": []}',
        b'{"columns": [{"name": "x", "field_name": "x", "pandas_type": "object", "numpy_type": "eval"}]}',
        pickle,
    ]
    for found in metadata:
        table = pa.table([pa.array([1])], schema=pa.schema([field], metadata={b"pandas": found}))
        for media, body in ((PARQUET, parquet(table)), (ARROW, stream(table))):
            value = method.decode(media, body)["t"]
            assert value.shape == (1, 1)
            assert int(value["x"][0].as_py() if hasattr(value["x"][0], "as_py") else value["x"][0]) == 1
            assert not getattr(getattr(value, "schema", None), "metadata", None)
    assert not trap.exists()


@both
def test_s_dec_02_cells_of_csv_and_json(method: MethodCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_table.read_csv, "__defaults__", (1_000,))
    monkeypatch.setattr("tiffin.codecs.tables.MAX_CELLS", 1_000)
    body = b"a,b\n" + b",\n" * 501
    assert reason(method, CSV, body) == "more than 1000 cells"
    assert method.decode(CSV, body[:-2])["t"].shape == (500, 2)
    assert reason(method, JSON, json_bytes({"a": [1] * 501, "b": [1] * 501})) == "more than 1000 cells"
    assert reason(method, JSON, json_bytes([{"a": 1, "b": 2}] * 501)) == "more than 1000 cells"
    assert "field larger than field limit" in reason(method, CSV, b"a\n" + b"x" * 200_000)


@both
def test_s_dec_02_buffers_that_are_not_what_they_say(method: MethodCodec) -> None:
    good = stream(pa.table({"x": ["abcdefgh", "ijklmnop"]}))
    assert method.decode(ARROW, good)["t"].shape == (2, 1)
    offsets = struct.pack("<iii", 0, 8, 16)
    for found, other in [
        (offsets, struct.pack("<iii", 0, 8, 10**6)),  # beyond the buffer
        (offsets, struct.pack("<iii", 0, 12, 8)),  # backwards
        (offsets, struct.pack("<iii", -8, 8, 16)),
        (b"abcdefgh", b"abc\xff\xfegh"),  # not UTF-8
    ]:
        assert good.count(found) == 1
        body = good.replace(found, other.ljust(len(found)))
        assert reason(method, ARROW, body).startswith("not an Arrow stream that can be read: ")
    outside = pa.DictionaryArray.from_arrays(pa.array([7], pa.int32()), pa.array(["a"]), safe=False)
    assert reason(method, ARROW, stream(pa.table({"x": outside}))).startswith("not an Arrow stream that can be read: ")


@both
def test_s_dec_02_truncated_altered_and_foreign_bodies(method: MethodCodec) -> None:
    table = pa.table({"i": np.arange(20), "s": ["a", None] * 10, "t": pa.array(range(20), pa.timestamp("us", "UTC"))})
    seeds = [(PARQUET, parquet(table)), (PARQUET, parquet(table, compression="zstd", data_page_version="2.0"))]
    seeds += [(ARROW, stream(table)), (ARROW, stream(table, "lz4"))]
    dice = random.Random(4)
    for media, body in seeds:
        for other in (
            b"",
            b"PAR1",
            body[: len(body) // 2],
            body[:-20] if media == PARQUET else body[:-200],
            b"\xff" * 64,
        ):
            assert "that can be read: " in reason(method, media, other)
        for _ in range(100):
            altered = bytearray(body)
            for _ in range(dice.choice((1, 2, 4))):
                altered[dice.randrange(len(altered))] = dice.randrange(256)
            with contextlib.suppress(Error):  # any other exception, or the end of the process, is a failure
                method.decode(media, bytes(altered))


@both
def test_s_dec_02_a_footer_that_contradicts_itself(method: MethodCodec) -> None:
    """Asked for the column's metadata, pyarrow 26 would end this process (std::terminate)."""
    body = parquet(pa.table({"x": [1, 2]}))
    optional = b"\x15\x04\x25\x02\x18\x01x"  # the schema's column: INT64, OPTIONAL, named x
    assert body.count(optional) == 1
    required = body.replace(optional, optional.replace(b"\x25\x02", b"\x25\x00"))
    with contextlib.suppress(Error):
        method.decode(PARQUET, required)


def test_what_compressed_buffers_claim_is_read_from_the_message() -> None:
    for array, least in ((np.zeros(10_000), 80_000), (np.arange(4), 32)):
        for compression in ("zstd", "lz4"):
            messages = list(pa.ipc.MessageReader.open_stream(stream(pa.table({"x": array}), compression)))
            found = compressed_bytes(memoryview(messages[1].metadata).cast("B"), memoryview(messages[1].body).cast("B"))
            assert found >= least
    messages = list(pa.ipc.MessageReader.open_stream(stream(pa.table({"x": np.zeros(10_000)}))))
    assert compressed_bytes(memoryview(messages[1].metadata).cast("B"), memoryview(messages[1].body).cast("B")) == 0
    for data in (b"", b"\0" * 4, b"\xff" * 64, bytes(memoryview(messages[1].metadata))[:20]):
        with pytest.raises(ValueError, match=r".+"):
            compressed_bytes(memoryview(data), memoryview(b""))


def test_the_limit_grows_with_the_body_up_to_half_a_gibibyte() -> None:
    assert [table_bytes.limit_of(size) for size in (0, 2**20, 2**30)] == [64 * 2**20, 200 * 2**20, 512 * 2**20]


def test_a_head_of_parquet_that_never_ends() -> None:
    for head in (
        b"\x19\xfc" + b"\xff" * 9 + b"\x01",  # a list of 2^64 structs
        b"\x1c" * 100,  # structs in structs
        b"\x18\xff\xff\xff\xff\x0f",  # a text of 4 GiB
        b"\x15" + b"\xff" * 20,  # a number without end
        b"\x1d",
        b"\x00",
    ):
        body = b"PAR1" + head + len(head).to_bytes(4, "little") + b"PAR1"
        with pytest.raises(ValueError, match="head"):
            read_footer(memoryview(body))
            page_bytes(read_footer(memoryview(body)), memoryview(body), 1)
