"""Both clients against a real server."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiffin
from tiffin.errors import Error
from tiffin.testing import TestServer

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with TestServer("client_services:Shop", app_dir=HERE) as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture
def shop(url: str) -> Iterator[tiffin.SyncHTTPClient]:
    with tiffin.SyncHTTPClient(url) as client:
        yield client


def until(condition: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)


# -- values ----------------------------------------------------------------------------------------------------------------


def test_arrays_go_and_come_in_binary(shop):
    images = np.random.default_rng(0).normal(size=(500, 2))
    found = shop.predict(images=images)
    assert found.dtype == np.float32
    assert np.array_equal(found, images.astype("float32") * 2)
    assert np.array_equal(shop.predict([[1, 2]]), [[2, 4]])
    left = np.arange(6, dtype="int16").reshape(2, 3)
    found = shop.both(left, right=left, how="sub")
    assert (found["out"].dtype, found["out"].any(), found["shape"].tolist()) == (np.int16, False, [2, 3])


@pytest.mark.parametrize(
    "value", [None, True, -5, 2.5, "5", "hé\r\n", b"\x00\xff", [1, [2, "x"]], {"a": {"b": None}}, {}, [], float("inf")]
)
def test_any_value_comes_back_as_it_went(shop, value):
    assert shop.whatever(value) == value


def test_arrays_within_come_back_as_they_went(shop):
    found = shop.whatever({"a": [np.arange(3, dtype="u1")], "b": np.float64("nan")})
    assert found["a"][0].dtype == np.uint8
    assert np.isnan(found["b"])


def test_text_bytes_and_objects(shop, tmp_path):
    assert shop.shout("hé") == "HÉ"
    assert shop.reverse(b"\x00ab") == b"ba\x00"
    (tmp_path / "a.json").write_bytes(b"12" * 200_000)
    assert shop.reverse(tmp_path / "a.json") == b"21" * 200_000
    assert shop.reprice({"name": "pen", "price": 2.0}, factor=3) == {"name": "pen", "price": 6.0, "tags": None}


def test_a_method_with_the_clients_own_name(shop):
    assert shop.call("call", x=4) == 5


# -- errors and time -------------------------------------------------------------------------------------------------------


def test_an_error_is_all_that_the_service_said(shop):
    with pytest.raises(Error, match=r"POST http://127.0.0.1:\d+/refuse: refused: so") as caught:
        shop.refuse(why="so")
    error = caught.value
    assert (error.code, error.status, error.details, error.retryable) == ("app.refused", 422, {"why": "so"}, False)
    assert error.request_id


def test_wrong_input_names_the_field(shop):
    with pytest.raises(Error) as caught:
        shop.reprice({"nome": "pen"})
    assert caught.value.code == "INVALID_INPUT"
    assert caught.value.details[0]["path"] == "item.name"


def test_another_try_where_the_service_says_that_it_helps(shop, tmp_path):
    began = time.monotonic()
    assert shop.second_time(str(tmp_path / "tries")) == 2
    assert time.monotonic() - began >= 0.2


def test_a_timeout_is_the_calls_and_the_server_hears_of_it(shop):
    began = time.monotonic()
    with pytest.raises(Error) as caught:
        shop.with_options(timeout=0.4).wait(seconds=30, number=1)
    assert caught.value.code == "DEADLINE"
    assert time.monotonic() - began < 5


def test_what_must_not_run_twice_is_not_sent_twice(shop, tmp_path):
    notes = tmp_path / "notes"
    with pytest.raises(Error) as caught:
        shop.die(str(notes))
    assert caught.value.code == "MAYBE_EXECUTED"
    assert notes.read_text() == "ran\n"
    assert shop.with_options(timeout=60, retries=9).call("call", 1) == 2  # the worker's place is taken by another


def test_readiness(url, shop):
    assert shop.is_ready(timeout=10)
    with tiffin.SyncHTTPClient(url, server_ready_timeout=30) as client:
        assert client.call("call", 1) == 2


def test_nobody_there():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused, and nobody else gets the port
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with tiffin.SyncHTTPClient(address) as client, pytest.raises(Error) as caught:
            client.predict([[1, 2]])
        assert caught.value.code == "UNAVAILABLE"
        assert f"nothing answers at {address}" in str(caught.value)
        assert caught.value.__notes__ == ["sent 3 times"]
        with tiffin.SyncHTTPClient(address, server_ready_timeout=0.3) as client:
            assert not client.is_ready()
            with pytest.raises(Error, match=r"not ready within 0.3 s"):
                client.predict([[1, 2]])


def test_a_proxy_is_not_asked_for_this_machine(url, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with tiffin.SyncHTTPClient(url, retries=0) as client:
        assert client.call("call", 1) == 2


# -- streams ---------------------------------------------------------------------------------------------------------------


def test_streams_give_what_the_method_gave(shop):
    assert list(shop.tokens("a b\nc d")) == ["a", "b\nc", "d"]
    assert list(shop.anything()) == [5, "5", "two\r\nlines"]
    assert [item["name"] for item in shop.items(count=3)] == ["0", "1", "2"]
    assert list(shop.items(0)) == []


def test_a_stream_that_fails_gives_its_items_and_then_the_error(shop):
    stream = shop.items(count=5, fail_at=2)
    assert [next(stream)["name"], next(stream)["name"]] == ["0", "1"]
    with pytest.raises(Error, match="no more") as caught:
        next(stream)
    assert (caught.value.code, caught.value.request_id) == ("app.no_more", stream.request_id)


def test_a_stream_ends_with_the_calls_time(shop, tmp_path):
    note = tmp_path / "note"
    found: list[int] = []
    with pytest.raises(Error) as caught:
        for number in shop.with_options(timeout=1.0).endless(str(note)):
            found.append(number)  # noqa: PERF402  what came before the error counts
    assert caught.value.code == "DEADLINE"
    assert found[:3] == [0, 1, 2]
    until(note.exists)


@pytest.mark.parametrize("how", ["with", "drop"])
def test_an_abandoned_stream_ends_the_method(shop, tmp_path, how):
    note = tmp_path / "note"
    stream = shop.endless(str(note))
    assert (next(stream), next(stream)) == (0, 1)
    if how == "with":
        with stream:
            pass
    del stream
    until(note.exists)


# -- awaited ---------------------------------------------------------------------------------------------------------------


def test_sixteen_calls_at_once(url):
    async def run() -> tuple[list[int], float]:
        async with tiffin.AsyncHTTPClient(url) as client:
            await client.schema()
            began = time.monotonic()
            found = await asyncio.gather(*(client.wait(seconds=1.0, number=number) for number in range(16)))
            return found, time.monotonic() - began

    found, took_s = asyncio.run(run())
    assert found == list(range(16))
    assert took_s < 12  # one after the other they would take 16 s


def test_the_awaited_client_does_what_the_waiting_one_does(url, tmp_path):
    async def run() -> None:
        async with tiffin.AsyncHTTPClient(url) as client:
            assert (await client.predict(images=np.ones((3, 2)))).tolist() == [[2, 2]] * 3
            assert await client.reverse(b"x" * 300_000 + b"y") == b"y" + b"x" * 300_000
            assert await client.call("call", x=1) == 2
            assert [item async for item in client.tokens("a b")] == ["a", "b"]
            stream = await client.items(2)
            assert [item["name"] async for item in stream] == ["0", "1"]
            assert await client.second_time(str(tmp_path / "tries")) == 2
            assert await client.is_ready(10)
            with pytest.raises(Error, match="refused: so"):
                await client.refuse("so")
            with pytest.raises(Error) as caught:
                await client.with_options(timeout=0.3).wait(30, 1)
            assert caught.value.code == "DEADLINE"
            with pytest.raises(AttributeError, match="did you mean 'predict'"):
                client.predikt([])
            with pytest.raises(TypeError, match="gives no stream"):
                async for _item in client.wait(0.0, 1):
                    pass
            found = []
            with pytest.raises(Error, match="no more"):
                async for item in client.items(3, fail_at=1):
                    found.append(item["name"])  # noqa: PERF401  what came before the error counts
            assert found == ["0"]

    asyncio.run(run())


@pytest.mark.parametrize("how", ["break", "unread", "cancel"])
def test_an_abandoned_awaited_stream_ends_the_method(url, tmp_path, how):
    note = tmp_path / "note"

    async def read(client: tiffin.AsyncHTTPClient) -> None:
        if how == "unread":
            await client.endless(str(note))
            return
        async for number in client.endless(str(note)):
            if number == 2 and how == "break":
                break

    async def run() -> None:
        async with tiffin.AsyncHTTPClient(url) as client:
            task = asyncio.create_task(read(client))
            await asyncio.wait([task], timeout=1.0)
            task.cancel()
            gc.collect()
            for _ in range(1000):
                if note.exists():
                    return
                await asyncio.sleep(0.02)
            raise AssertionError("the method goes on")

    asyncio.run(run())


def test_a_call_that_nobody_awaits_is_said(url):
    client = tiffin.AsyncHTTPClient(url)
    with pytest.warns(RuntimeWarning, match=r"predict\(\) was never awaited"):
        client.predict([])
    asyncio.run(client.close())
