"""Large bodies on one connection: others have the loop in between, and a large answer is whole."""

import asyncio

from tests.wire.support import post
from tests.wire.test_http_protocol import Bench

PIECE = b"x" * 65_536


def test_a_fast_client_gives_way_and_is_read_on() -> None:
    async def run() -> None:
        bench = Bench()
        bench.feed(post(body=PIECE * 32)[: -len(PIECE) * 32])
        paused = 0
        for _ in range(32):
            bench.feed(PIECE)
            if bench.wire.reading_paused:
                paused += 1
                await asyncio.sleep(0)
                assert not bench.wire.reading_paused
        assert paused == 4  # each half megabyte
        assert bench.handler.seen[0].body == PIECE * 32

    asyncio.run(run())


def test_a_client_that_may_not_be_read_is_not_read_on() -> None:
    async def run() -> None:
        bench = Bench()
        bench.connection.pause_writing()  # it does not read its answers
        bench.feed(post(body=PIECE * 8))
        await asyncio.sleep(0)
        assert bench.wire.reading_paused
        bench.connection.resume_writing()
        assert not bench.wire.reading_paused

    asyncio.run(run())


def test_a_large_answer_has_its_head_and_all_of_it() -> None:
    async def run() -> None:
        bench = Bench()
        answer = bench.feed(post(body=PIECE * 20))
        assert b"content-length: 1310720\r\n" in answer
        assert answer.endswith(b"\r\n\r\n" + PIECE * 20)

    asyncio.run(run())
