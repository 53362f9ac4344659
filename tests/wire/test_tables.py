"""Methods that take and return tables, over HTTP and between services."""

from __future__ import annotations

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import httpx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tiffin

Points = Annotated[pd.DataFrame, tiffin.Columns({"x": "int64", "name": "str"})]
CSV, PARQUET, ARROW = "text/csv", "application/vnd.apache.parquet", "application/vnd.apache.arrow.stream"
TABLE = pa.table({"x": [1, 2], "name": ["a", None]})
ROWS = [{"x": 2, "name": "a"}, {"x": 4, "name": None}]
SEEN: list[int] = []
GO = threading.Event()


@tiffin.service(workers=1)
class Tables:
    """Doubles a column."""

    @tiffin.api
    def twice(self, t: Points) -> pd.DataFrame:
        """Return a frame."""
        return t.assign(x=t["x"] * 2)

    @tiffin.api
    def arrow(self, t: pa.Table, /) -> pa.Table:
        """Return the Arrow table as it came."""
        return t

    @tiffin.api(batchable=True, max_batch_size=64)
    def joined(self, t: Points) -> pd.DataFrame:
        """Return a frame, after the first call has waited."""
        SEEN.append(len(t))
        if len(SEEN) == 1:
            GO.wait(10)
        if (t["x"] == 13).any():
            raise ValueError("thirteen")
        return t.assign(x=t["x"] * 2)

    @tiffin.api(batchable=True, one_row=True)
    def single(self, t: Points, /) -> pd.DataFrame:
        """Return one row for each."""
        return t.assign(x=t["x"] * 2)

    @tiffin.api
    def scored(self, t: Points, by: int = 1) -> dict[str, Any]:
        """Return a table inside of another value."""
        return {"table": t, "sum": int(t["x"].sum()) * by}

    @tiffin.api
    def wide(self, t: Annotated[pd.DataFrame | None, tiffin.Columns(orient="columns")] = None) -> Any:
        """Return a Series, or None."""
        return None if t is None else t.iloc[:, 0]


@tiffin.service
class Caller:
    """Calls them from another service."""

    tables = tiffin.depends(Tables)

    @tiffin.api
    def ask(self, n: int) -> list[str]:
        """Say what comes back."""
        frame = pd.DataFrame({"x": range(n), "name": "a"})
        found: Any = self.tables.twice(frame)
        batch: Any = self.tables.joined(frame)
        single: Any = self.tables.single(frame)
        inner: Any = self.tables.scored(t=frame)["table"]
        series: Any = self.tables.wide(frame)
        arrow: Any = self.tables.arrow(pa.table({"x": [1]}))
        frames = [(type(one).__name__, one["x"].tolist(), str(one["x"].dtype)) for one in (found, batch, single, inner)]
        return [str(one) for one in (*frames, type(series).__name__, series.tolist(), type(arrow).__name__)]


def bodies() -> list[tuple[str, bytes]]:
    parquet, stream = io.BytesIO(), io.BytesIO()
    pq.write_table(TABLE, parquet)
    with pa.ipc.new_stream(stream, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return [
        ("application/json", b'{"t": [{"x": 1, "name": "a"}, {"x": 2, "name": null}]}'),
        ("application/json", b'{"t": {"x": [1, 2], "name": ["a", null]}}'),
        ("text/csv; charset=utf-8", b"x,name\n1,a\n2,\n"),
        (PARQUET, parquet.getvalue()),
        (ARROW, stream.getvalue()),
    ]


def table(reply: httpx.Response) -> Any:
    media = reply.headers["content-type"]
    if media == PARQUET:
        return pq.read_table(io.BytesIO(reply.content)).to_pylist()
    if media == ARROW:
        return pa.ipc.open_stream(reply.content).read_all().to_pylist()
    if media == f"{CSV}; charset=utf-8":
        frame = pd.read_csv(io.BytesIO(reply.content))
        return [
            {"x": x, "name": None if pd.isna(name) else name} for x, name in zip(frame["x"], frame["name"], strict=True)
        ]
    assert media == "application/json"
    return reply.json()


def test_each_media_type_in_and_out() -> None:
    with tiffin.serve(Tables) as server:
        for media, body in bodies():
            for accept in ("", "*/*", "application/json", CSV, PARQUET, ARROW, f"{PARQUET};q=0.5, {ARROW}"):
                headers = {"content-type": media} | ({"accept": accept} if accept else {})
                reply = httpx.post(f"{server.url}/twice", content=body, headers=headers)
                assert reply.status_code == 200, reply.text
                assert accept in ("", "*/*") or reply.headers["content-type"].partition(";")[0] in accept
                assert table(reply) == ROWS
        whole = httpx.post(f"{server.url}/arrow", json=TABLE.to_pylist(), headers={"accept": ARROW})
        assert pa.ipc.open_stream(whole.content).read_all().equals(TABLE)
        scored = httpx.post(f"{server.url}/scored", json={"t": TABLE.to_pylist(), "by": 3}).json()
        assert scored == {"table": TABLE.to_pylist(), "sum": 9}
        assert httpx.post(f"{server.url}/wide", json={}).json() is None
        assert httpx.post(f"{server.url}/wide", json={"t": None}).json() is None
        assert httpx.post(f"{server.url}/wide", content=b"x\n1\n2\n", headers={"content-type": CSV}).json() == [1, 2]


def test_what_is_refused() -> None:
    with tiffin.serve(Tables) as server:

        def post(path: str, body: bytes, media: str, accept: str = "*/*") -> tuple[int, dict[str, Any]]:
            reply = httpx.post(f"{server.url}/{path}", content=body, headers={"content-type": media, "accept": accept})
            error: dict[str, Any] = reply.json()["error"]
            return reply.status_code, error

        status, error = post("twice", b'{"t": [{"x": 1, "name": "a"}, {"x": null, "name": 2}]}', "application/json")
        assert (status, error["code"]) == (400, "INVALID_INPUT")
        assert error["details"] == [{"path": "t[1].x", "reason": "expected int64, got null"}]
        assert post("twice", b"x\n1\n", CSV)[1]["details"] == [{"path": "t.name", "reason": "required, but missing"}]
        assert post("twice", b"PAR1", PARQUET)[0] == 400
        assert post("twice", b"", ARROW)[0] == 400
        status, error = post("twice", b"x", "application/x-npy")
        assert (status, error["code"]) == (415, "UNSUPPORTED_MEDIA")
        assert error["details"]["supported"] == ["application/json", CSV, PARQUET, ARROW, "application/msgpack"]
        assert post("scored", b"x,name\n1,a\n", CSV)[0] == 415  # two parameters have no place in CSV
        assert post("twice", b"x,name\n1,a\n", CSV, "image/png")[0] == 406


def test_calls_are_joined_and_cut_and_a_bad_one_fails_alone() -> None:
    SEEN.clear()
    GO.clear()
    with tiffin.serve(Tables) as server, ThreadPoolExecutor(16) as pool:

        def post(body: bytes, media: str, accept: str) -> httpx.Response:
            headers = {"content-type": media, "accept": accept}
            return httpx.post(f"{server.url}/joined", content=body, headers=headers, timeout=30)

        first = pool.submit(post, b"x,name\n0,a\n", CSV, CSV)
        for _ in range(100):
            if SEEN:
                break
            time.sleep(0.05)
        good = [pool.submit(post, body, media, accept) for media, body in bodies() for accept in (CSV, ARROW)]
        bad = [
            pool.submit(post, b'{"t": [{"x": "no", "name": "a"}]}', "application/json", CSV),
            pool.submit(post, b"x,name\n13,a\n", CSV, CSV),
        ]
        time.sleep(0.5)  # all of them wait in the queue by now, or the count below says so
        GO.set()
        assert table(first.result()) == [{"x": 0, "name": "a"}]
        assert [table(reply.result()) for reply in good] == [ROWS] * 10
        assert [one.result().status_code for one in bad] == [400, 500]
        assert SEEN[1] > 2  # more than one call ran at once


def test_a_call_of_more_rows_than_may_run_at_once_runs_in_parts() -> None:
    SEEN.clear()
    GO.set()
    body = b"x,name\n" + b"".join(b"%d,a\n" % row for row in range(100, 250))
    with tiffin.serve(Tables) as server:
        for accept in ("application/json", ARROW):
            headers = {"content-type": CSV, "accept": accept}
            found = table(httpx.post(f"{server.url}/joined", content=body, headers=headers))
            assert [row["x"] for row in found] == list(range(200, 500, 2))
    assert SEEN == [64, 64, 22] * 2


def test_a_client_of_single_rows() -> None:
    with tiffin.serve(Tables) as server:
        url = f"{server.url}/single"
        assert httpx.post(url, json={"x": 4, "name": "b"}).json() == {"x": 8, "name": "b"}
        csv = httpx.post(url, content=b"x,name\n4,b\n", headers={"content-type": CSV, "accept": CSV})
        assert csv.text == "x,name\r\n8,b\r\n"
        assert httpx.post(url, json={"x": 4}).status_code == 400


@pytest.mark.parametrize("rows", [1, 3])
def test_tables_travel_between_services(rows: int) -> None:
    SEEN.clear()
    GO.set()
    twice = list(range(0, rows * 2, 2))
    with tiffin.serve(Caller) as server:
        assert httpx.post(f"{server.url}/ask", json={"n": rows}).json() == [
            *[str(("DataFrame", twice, "int64"))] * 3,
            str(("DataFrame", list(range(rows)), "int64")),
            "Series",
            str(list(range(rows))),
            "Table",
        ]


def test_tables_are_described() -> None:
    with tiffin.serve(Tables) as server:
        document = httpx.get(f"{server.url}/openapi.json").json()["paths"]
        short = {method["name"]: method for method in httpx.get(f"{server.url}/schema.json").json()["methods"]}
    body = document["/twice"]["post"]["requestBody"]["content"]
    assert list(body) == ["application/json", CSV, PARQUET, ARROW]
    shown = body["application/json"]["schema"]["properties"]["t"]
    assert shown["x-tiffin-type"] == "table"
    assert shown["type"] == "array"
    row = {"x": {"type": "integer"}, "name": {"type": ["string", "null"]}}
    assert shown["items"] == {
        "type": "object",
        "properties": row,
        "required": ["x", "name"],
        "additionalProperties": False,
    }
    assert body["application/json"]["example"] == {"t": [{"x": 1, "name": "text"}]}
    assert body[CSV]["example"] == "x,name\n1,text\n"
    assert list(document["/twice"]["post"]["responses"]["200"]["content"]) == ["application/json", CSV, PARQUET, ARROW]
    assert list(document["/scored"]["post"]["requestBody"]["content"]) == ["application/json"]
    single = document["/single"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert (single["type"], single["x-tiffin-type"]) == ("object", "table")
    assert short["twice"]["takes"] == ["application/json", CSV, PARQUET, ARROW]
    assert short["twice"]["returns"]["x-tiffin-type"] == "table"
    assert short["wide"]["params"][0]["schema"]["x-tiffin-type"] == "table"
