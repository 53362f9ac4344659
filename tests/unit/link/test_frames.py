"""Frames survive any cutting of the stream, and nonsense is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.link.frames import BadFrame, FrameReader, decode_link, encode_frame
from tiffin.messages.link import Batch, Beat, Data, Hello, LinkMessage, Open, Ran, Reply, Slot

MESSAGES: list[LinkMessage] = [
    Hello(1, 2, 3, 4, "Digits", 1, "ab", "cpu"),
    Batch(
        7,
        0,
        [Open(1, 0, 1, 0, -1, b'{"x":1}', 1.5, "id", "root"), Open(2, 0, 3, 1, 0, Slot(4096, 70_000), 9.0, "i", "r")],
    ),
    Reply(1, b"{}", 0),
    Data(2, b"\x00" * 1000, 5),
    Ran(7, 0.25, 4),
    Beat(0.0, 1.25),
]


@given(st.lists(st.integers(min_value=1, max_value=700), max_size=30))
def test_any_cut_of_the_stream_gives_the_same_messages(cuts: list[int]) -> None:
    stream = b"".join(encode_frame([message]) for message in MESSAGES) + encode_frame(MESSAGES)
    reader = FrameReader(decode_link)
    got: list[LinkMessage] = []
    at = 0
    for size in [*cuts, len(stream)]:
        got += reader.feed(stream[at : at + size])
        at += size
    assert got == MESSAGES + MESSAGES


def test_an_impossible_length_is_refused() -> None:
    with pytest.raises(BadFrame, match="larger"):
        FrameReader(decode_link).feed(b"\xff\xff\xff\xff rest")


@pytest.mark.parametrize("payload", [b"\xc1", b"\x80\x04\x95pickle", b"\x91\x93\x63\x01\x02", b"\x90extra"])
def test_an_undecodable_payload_is_refused(payload: bytes) -> None:
    with pytest.raises(BadFrame, match="undecodable"):
        FrameReader(decode_link).feed(len(payload).to_bytes(4, "little") + payload)
