"""The engine's end of a link over a real socketpair: order, large frames, nonsense, the other side's end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tiffin.link.frames import FrameReader, decode_link, encode_frame
from tiffin.link.front_end import EngineLink, SocketEngineLink
from tiffin.messages.link import PROTOCOL, Beat, Data, Hello, LinkMessage

HELLO = Hello(PROTOCOL, 0, 1, 1, "S", 1, "", "cpu")


class Handler:
    def __init__(self) -> None:
        self.got: list[LinkMessage] = []
        self.reasons: list[str] = []
        self.on_messages: Callable[[], None] = lambda: None

    def messages(self, messages: list[LinkMessage]) -> None:
        for message in messages:
            self.got.append(message)
            self.on_messages()

    def closed(self, reason: str) -> None:
        self.reasons.append(reason)


class Bench:
    def __init__(self, *, refuse: bool = False) -> None:
        self.handler = Handler()
        ours, self.worker = socket.socketpair()
        ours.setblocking(False)
        self.worker.setblocking(False)
        self.link = SocketEngineLink(
            asyncio.get_running_loop(), ours, lambda _link, _hello: None if refuse else self.handler
        )

    async def say(self, *messages: LinkMessage) -> None:
        await asyncio.get_running_loop().sock_sendall(self.worker, encode_frame(messages))

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0.001)


def run(test: Callable[[Bench], Coroutine[Any, Any, None]], **how: bool) -> None:
    async def main() -> None:
        bench = Bench(**how)
        await test(bench)
        bench.link.close("over")
        bench.worker.close()
        await asyncio.sleep(0)

    asyncio.run(main())


def test_messages_arrive_in_order_even_when_the_handler_polls() -> None:
    async def check(bench: Bench) -> None:
        link: EngineLink = bench.link
        bench.handler.on_messages = link.poll
        await bench.say(HELLO)
        for turn in range(50):
            await bench.say(*(Data(turn * 10 + number, b"x") for number in range(10)))
        await bench.settle()
        assert [message.stream for message in bench.handler.got if isinstance(message, Data)] == list(range(500))

    run(check)


def test_a_frame_larger_than_the_sockets_buffer_arrives_whole() -> None:
    async def check(bench: Bench) -> None:
        await bench.say(HELLO)
        await bench.settle()
        sent = [Data(1, bytes([number]) * 700_000) for number in range(5)]
        for message in sent:
            bench.link.send([message])
        reader = FrameReader(decode_link)
        got: list[LinkMessage] = []
        while len(got) < len(sent):
            got += reader.feed(await asyncio.wait_for(asyncio.get_running_loop().sock_recv(bench.worker, 65_536), 5))
        assert got == sent

    run(check)


@pytest.mark.parametrize(
    "bytes_", [b"\xff\xff\xff\xff", encode_frame([Beat(0.0, 0.0)]), encode_frame([])[:4] + b"\xc1"]
)
def test_what_is_not_a_hello_is_cut_off(bytes_: bytes) -> None:
    async def check(bench: Bench) -> None:
        bench.worker.send(bytes_)
        await bench.settle()
        assert bench.worker.recv(10) == b""
        assert bench.handler.got == [] and bench.handler.reasons == []

    run(check)


def test_a_refused_worker_is_cut_off() -> None:
    async def check(bench: Bench) -> None:
        await bench.say(HELLO)
        await bench.settle()
        assert bench.worker.recv(10) == b""

    run(check, refuse=True)


def test_the_handler_hears_of_the_end_once_and_what_is_sent_later_is_dropped() -> None:
    async def check(bench: Bench) -> None:
        await bench.say(HELLO)
        await bench.settle()
        bench.worker.close()
        await bench.settle()
        bench.link.send([Data(1, b"x")])
        bench.link.close("again")
        await bench.settle()
        assert len(bench.handler.reasons) == 1

    run(check)
