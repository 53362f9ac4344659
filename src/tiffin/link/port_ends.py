"""The EnginePort over a stream socket: an edge in one process, the engine in another, the same messages.

Owns the two ends; never reads a call. Payloads in an arena stay there (both sides are on one machine); others ride in frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar, cast

import msgspec

from tiffin.link.frames import BadFrame, FrameReader, encode_frame
from tiffin.messages.port import EdgePort, EnginePort, ToEdge, ToEngine

M = TypeVar("M")


class _End(asyncio.Protocol, Generic[M]):
    """One end: what is sent within a round of the loop leaves as one frame."""

    def __init__(self, reader: FrameReader[M], take: Callable[[M], None]) -> None:
        self._reader = reader
        self._take = take
        self._transport: asyncio.Transport | None = None
        self._out: list[msgspec.Struct] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport (asyncio calls this)."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """The other side is gone (asyncio calls this)."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Cut frames and hand their messages on (asyncio calls this)."""
        try:
            messages = self._reader.feed(data)
        except BadFrame:
            if self._transport is not None:
                self._transport.abort()
            return
        for message in messages:
            self._take(message)

    def put(self, message: msgspec.Struct) -> None:
        """Send with the rest of this round; after the other side is gone it is dropped."""
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(message)

    def close(self) -> None:
        """Close; what comes later is dropped."""
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None:
            self._transport.write(encode_frame(out))


class EdgeEnd(_End[ToEdge]):
    """The edge's end: an `EnginePort` whose engine is elsewhere.

    Args:
        edge: gets the answers.
    """

    def __init__(self, edge: EdgePort) -> None:
        super().__init__(FrameReader(msgspec.msgpack.Decoder(list[ToEdge]).decode), edge.receive)

    def send(self, message: ToEngine) -> None:
        """See `EnginePort.send`."""
        self.put(message)


class EngineEnd(_End[ToEngine]):
    """The engine's end: an `EdgePort` whose edge is elsewhere.

    Args:
        engine: gets the calls.
    """

    def __init__(self, engine: EnginePort) -> None:
        super().__init__(FrameReader(msgspec.msgpack.Decoder(list[ToEngine]).decode), engine.send)

    def receive(self, message: ToEdge) -> None:
        """See `EdgePort.receive`."""
        self.put(message)
