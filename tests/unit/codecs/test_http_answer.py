"""S-FETCH-06, where it is decided: an answer is read strictly, and no more of it than the limit."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.codecs.http_answer import Answer
from tiffin.codecs.urls import Refused

LIMIT = 100
OK = b"HTTP/1.1 200 OK\r\n"


class Server:
    """Gives what a server sent in pieces of so many bytes; counts what was taken."""

    def __init__(self, data: bytes, size: int = 65_536, *, endless: bytes = b"") -> None:
        self.data, self.size, self.endless, self.taken = data, size, endless, 0

    def receive(self, size):
        if not self.data:
            self.data += self.endless
        piece = self.data[: min(size, self.size)]
        self.data = self.data[len(piece) :]
        self.taken += len(piece)
        return piece


def read(data: bytes, size: int = 65_536, limit: int = LIMIT) -> bytes:
    answer = Answer(Server(data, size).receive)
    return answer.body(answer.head(), limit)


def refusal(data: bytes, limit: int = LIMIT) -> str:
    reasons = set()
    for size in (1, 65_536):
        with pytest.raises(Refused) as caught:
            read(data, size, limit)
        reasons.add(str(caught.value))
    assert len(reasons) == 1
    return reasons.pop()


def test_a_head_is_read_with_its_names_in_lower_case():
    head = Answer(Server(b"HTTP/1.0 404\r\nContent-Type: Image/PNG ; q=1\r\nX:\t a  b \r\nx:\r\n\r\n").receive).head()
    assert (head.status, head.minor, head.media_type) == (404, 0, "image/png")
    assert head.fields["x"] == ["a  b", ""]


@pytest.mark.parametrize("value", ["", "png", "image/", "image/png\x7f", "a/b/c", "ä/b", "x" * 65 + "/y"])
def test_a_media_type_that_is_none_is_not_taken(value):
    assert Answer(Server(OK + f"Content-Type: {value}\r\n\r\n".encode("latin-1")).receive).head().media_type == ""


def test_interim_answers_are_skipped_up_to_a_number():
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    assert read(interim * 7 + OK + b"Content-Length: 2\r\n\r\nab") == b"ab"
    assert "interim" in refusal(interim * 8 + OK + b"Content-Length: 2\r\n\r\nab")


@given(st.binary(max_size=LIMIT), st.lists(st.integers(1, 40), max_size=20), st.integers(1, 300))
def test_a_body_arrives_whole_however_it_is_cut(body, sizes, piece):
    assert read(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body, piece) == body
    chunks, rest = b"", body
    for size in [*sizes, LIMIT]:
        part, rest = rest[:size], rest[size:]
        if part:
            chunks += b"%X ; a=b\r\n" % len(part) + part + b"\r\n"
    assert read(OK + b"Transfer-Encoding: Chunked\r\n\r\n" + chunks + b"0\r\nTrailer: x\r\n\r\n", piece) == body


@pytest.mark.parametrize(
    "status",
    [
        b"HTTP/2 200 OK",
        b"HTTP/1.1 200\tOK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1 2000",
        b"HTTP/1.1 600",
        b"HTTP/1.1 0200",
        b"HTTP/1.1 200 \x00",
        b"ICY 200 OK",
        b"http/1.1 200 OK",
        b" HTTP/1.1 200 OK",
        b"<html>",
        b"",
        b"HTTP/1.1 200 a\rb",
        b"HTTP/1.1 200 OK\nX: y",
    ],
)
def test_what_is_no_status_line_is_no_answer(status):
    assert "HTTP/1.1" in refusal(status + b"\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    "field", [b"X", b"X : y", b" X: y", b": y", b"X: a\x00b", b"X: a\rb", b"X: a\nY: b", b"X\xc3\xa9: y", b"\tfolded"]
)
def test_a_malformed_field_is_refused(field):
    assert "malformed" in refusal(OK + b"Content-Length: 0\r\n" + field + b"\r\n\r\n")


LENGTHS = {
    "none": b"",
    "two": b"Content-Length: 3\r\nContent-Length: 3\r\n",
    "two that differ": b"Content-Length: 3\r\nContent-Length: 4\r\n",
    "list": b"Content-Length: 3, 3\r\n",
    "plus": b"Content-Length: +3\r\n",
    "minus": b"Content-Length: -1\r\n",
    "hexadecimal": b"Content-Length: 0x3\r\n",
    "underscore": b"Content-Length: 1_0\r\n",
    "point": b"Content-Length: 3.0\r\n",
    "other digits": "Content-Length: \u00b3\r\n".encode("latin-1"),
    "no number": b"Content-Length: many\r\n",
    "empty": b"Content-Length:\r\n",
    "as well as chunked": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    "another coding": b"Transfer-Encoding: gzip, chunked\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "identity": b"Transfer-Encoding: identity\r\n",
}


@pytest.mark.parametrize("fields", LENGTHS.values(), ids=LENGTHS)
def test_s_fetch_06_a_length_that_cannot_be_believed_is_refused(fields):
    body = b"3\r\nabc\r\n0\r\n\r\n" if b"Transfer" in fields else b"abc"
    assert refusal(OK + fields + b"\r\n" + body)


def test_s_fetch_06_chunks_in_http_1_0_are_refused():
    assert "two ways" in refusal(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "chunks",
    [
        b"-1\r\nabc\r\n0\r\n\r\n",
        b"+3\r\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"\r\nabc\r\n",
        b"3\nabc\r\n0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3\r\nabc0\r\n\r\n",
        b" 3\r\nabc\r\n0\r\n\r\n",
        b"3_0\r\nabc\r\n0\r\n\r\n",
        b"1" * 13 + b"\r\nabc\r\n0\r\n\r\n",
        b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    ],
)
def test_s_fetch_06_chunks_of_a_wrong_form_are_refused(chunks):
    assert refusal(OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 4\r\n\r\nabc",
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nab",
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
        b"Content-Len",
        b"",
    ],
)
def test_s_fetch_06_a_body_that_ends_early_is_no_file(rest):
    assert "ended" in refusal(OK + rest)


def test_s_fetch_06_a_body_longer_than_it_says_is_no_file():
    with pytest.raises(Refused, match="more than the length"):
        read(OK + b"Content-Length: 3\r\n\r\nabcd")


@pytest.mark.parametrize(
    "coding", [b"gzip", b"x-gzip", b"br", b"zstd", b"deflate", b"identity, gzip", b"gzip\r\nContent-Encoding: gzip"]
)
def test_s_fetch_06_a_compressed_body_is_never_inflated(coding):
    bomb = gzip.compress(bytes(100_000))
    server = Server(OK + b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (coding, len(bomb)) + bomb)
    answer = Answer(server.receive)
    with pytest.raises(Refused, match=r"compressed|2 fields content-encoding"):
        answer.body(answer.head(), 100_000)


def test_s_fetch_06_a_body_above_the_limit_is_refused_by_its_length_before_it_is_read():
    server = Server(OK + b"Content-Length: 10737418240\r\n\r\n", endless=b"x" * 1_000)
    answer = Answer(server.receive)
    with pytest.raises(Refused, match="too large: at most 100 bytes"):
        answer.body(answer.head(), LIMIT)
    assert server.taken < 100


@pytest.mark.parametrize(
    ("start", "endless", "reason"),
    [
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"20\r\n" + b"x" * 32 + b"\r\n", "too large"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFF\r\n", b"x", "too large"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n", "line"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x" * 100, "line"),
        (OK, b"X: y\r\n", "fields"),
        (OK, b"X: " + b"y" * 5_000 + b"\r\n", "line"),
        (OK + b"X: ", b"y" * 1_000, "line"),
        (b"", b"H" * 1_000, "line"),
    ],
)
def test_s_fetch_06_an_answer_without_end_is_cut_off(start, endless, reason):
    server = Server(start, endless=endless)
    answer = Answer(server.receive)
    with pytest.raises(Refused, match=reason):
        answer.body(answer.head(), LIMIT)
    assert server.taken < 200_000


def test_s_fetch_06_tiny_chunks_are_cut_off_before_they_cost_much():
    server = Server(OK + b"Transfer-Encoding: chunked\r\n\r\n", endless=b"1\r\nx\r\n" * 1_000)
    answer = Answer(server.receive)
    with pytest.raises(Refused, match="too small"):
        answer.body(answer.head(), 10_000_000)
    assert server.taken < 300_000
