"""A large payload is written once by the front and copied once by the worker: counted, for one call and for a batch."""

from __future__ import annotations

import asyncio
import io
import os
from typing import Annotated

import numpy as np
import pytest

import tiffin
from tests.wire.support import Wire, post
from tiffin.codecs.copies import copies
from tiffin.codecs.values import MethodCodec
from tiffin.config.parts import Config, HttpConfig, LinkConfig
from tiffin.link.arena import Arena, ArenaView
from tiffin.messages.link import Media, Slot
from tiffin.messages.port import Call, ToEngine
from tiffin.service.application import application_of
from tiffin.web.app import App
from tiffin.web.listener import Listener
from tiffin.web.protocol import Connection
from tiffin.web.respond import Responder
from tiffin.web.system import SystemPages


@tiffin.service
class Sums:
    @tiffin.api(batchable=True)
    def joined(self, x: Annotated[np.ndarray, tiffin.Shape(None, 150_000), tiffin.DType("float32")]) -> np.ndarray:
        sums: np.ndarray = x.sum(axis=1)
        return sums

    @tiffin.api
    def alone(self, x: Annotated[np.ndarray, tiffin.Shape(150_000), tiffin.DType("float32")]) -> float:
        return float(x.sum())


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def receive(arena: Arena, path: str, body: bytes) -> Call:
    """Receive a body in chunks, as from a socket."""
    calls: list[ToEngine] = []

    class Port:
        def send(self, message: ToEngine) -> None:
            calls.append(message)

    pages = SystemPages(lambda: {"ready": True}, lambda _accept: (b"", ""), docs=False, prefix="", version="1")
    app = App(Config(), Port(), Responder(), pages, lambda: 0.0, lambda _method, _code: None)
    app.publish(application_of(Sums))
    connection = Connection(Listener(HttpConfig(), LinkConfig(), app, arena, lambda: 0.0))
    connection.connection_made(Wire())
    request = post(path, body, "Content-Type: application/x-npy\r\n")

    async def feed() -> None:
        for at in range(0, len(request), 65_536):
            connection.data_received(request[at : at + 65_536])

    asyncio.run(feed())
    (call,) = calls
    assert isinstance(call, Call) and isinstance(call.body, Slot)
    return call


@pytest.mark.parametrize(("path", "shape"), [("/alone", (150_000,)), ("/joined", (1, 150_000))])
def test_one_write_and_one_copy(path: str, shape: tuple[int, ...]) -> None:
    arena = Arena(1 << 24)
    sent = np.random.default_rng(1).random(shape, dtype=np.float32)
    call = receive(arena, path, npy(sent))
    assert arena.writes == 1
    assert arena.written_bytes == call.size == len(npy(sent))
    view = ArenaView(os.dup(arena.fd), arena.size)
    spec = application_of(Sums).entry
    codec = MethodCodec(spec.methods[call.method], getattr(Sums, path[1:]))
    before = copies.made
    assert isinstance(call.body, Slot)
    if path == "/alone":
        array = codec.decode(Media.NPY, view.body(call.body))["x"]
    else:
        array = codec.decode_batch([(Media.NPY, view.body(call.body))]).arguments["x"]
    assert copies.made - before == 1
    assert np.array_equal(array, sent)
    assert array.flags.owndata and array.flags.writeable
    array[:] = 0
    assert bytes(view.body(call.body)) == npy(sent), "what a method does to its input reaches no payload"


def test_the_copy_is_the_batchs_concatenation() -> None:
    arena = Arena(1 << 24)
    sent = [np.full((2, 150_000), number, np.float32) for number in range(3)]
    slots = [receive(arena, "/joined", npy(array)).body for array in sent]
    view = ArenaView(os.dup(arena.fd), arena.size)
    codec = MethodCodec(application_of(Sums).entry.methods[0], Sums.joined)
    before = copies.made
    decoded = codec.decode_batch([(Media.NPY, view.body(slot)) for slot in slots if isinstance(slot, Slot)])
    assert arena.writes == 3
    assert copies.made - before == 1
    assert np.array_equal(decoded.arguments["x"], np.concatenate(sent))
    assert decoded.counts == [2, 2, 2]
