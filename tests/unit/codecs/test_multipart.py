"""Forms: what is read as what, at every cut; and S-HTTP-07, everything that a form can be besides a form."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.codecs.forms import BOUNDARY, form, part
from tiffin.codecs import multipart
from tiffin.codecs.multipart import OutPart, boundary_of, read_parts, write_parts
from tiffin.config.parts import FilesConfig
from tiffin.errors import Error

LIMITS = FilesConfig()


def parts_of(content_type: str, body: bytes, limits: FilesConfig = LIMITS) -> list[tuple[str, str, str, bytes]]:
    return [(one.name, one.filename, one.media, bytes(one.data)) for one in read_parts(content_type, body, limits)]


def refused(content_type: str, body: bytes, limits: FilesConfig = LIMITS) -> tuple[int, str]:
    with pytest.raises(Error) as caught:
        read_parts(content_type, body, limits)
    return caught.value.status, caught.value.message


# Pieces of boundaries are what a reader that works in pieces gets wrong.
NEAR = st.lists(
    st.sampled_from([b"\r\n--fron", b"\r\n--frontier", b"\r\n", b"--", b"-", b"\r", b"\n", b"x", b"\r\n--frontierx"]),
    max_size=6,
).map(b"".join)
DATA = (st.binary(max_size=40) | NEAR).filter(lambda data: not re.search(rb"\r\n--frontier", b"\r\n" + data))


@given(st.lists(st.tuples(st.sampled_from("abc"), DATA), max_size=4), st.integers(1, 70))
def test_parts_are_read_back_wherever_the_pieces_are_cut(parts: list[tuple[str, bytes]], piece: int) -> None:
    content_type, body = form(*(part(name, data, "f") for name, data in parts))
    before = multipart._PIECE
    multipart._PIECE = piece
    try:
        found = parts_of(content_type, body)
    finally:
        multipart._PIECE = before
    assert found == [(name, "f", "", data) for name, data in parts]


@given(st.lists(st.tuples(st.text('aé"; =%', min_size=1, max_size=5), st.binary(max_size=40)), max_size=4))
def test_what_is_written_is_read_back(parts: list[tuple[str, bytes]]) -> None:
    parts = [(name, data) for name, data in parts if "%22" not in name]
    body, content_type = write_parts(OutPart(name, f"{name}.bin", "image/png", data) for name, data in parts)
    assert parts_of(content_type, body) == [(name, f"{name}.bin", "image/png", data) for name, data in parts]


def test_parts_are_views_and_no_copies() -> None:
    content_type, body = form(part("a", b"x" * 1_000_000, "f"))
    (found,) = read_parts(content_type, memoryview(body), LIMITS)
    assert found.data.obj is body


def test_headers_are_told() -> None:
    content_type, body = form(part("bild", b"1", "hé.jpg", "image/jpeg"), part("text", "é".encode()))
    assert parts_of(content_type, body) == [("bild", "hé.jpg", "image/jpeg", b"1"), ("text", "", "", "é".encode())]


def test_a_quoted_boundary_and_a_preamble_of_line_ends() -> None:
    _, body = form(part("a", b"1"))
    assert parts_of(f'Multipart/Form-Data; charset=utf-8; boundary="{BOUNDARY}"', b"\r\n" + body)[0][3] == b"1"


@pytest.mark.parametrize("name", ["a\r\nx: y", "a\nb", "a\x00b", "\x1b[31m"])
def test_s_http_13_names_with_line_ends_are_not_written(name: str) -> None:
    for out in (
        OutPart(name, "f", "image/png", b""),
        OutPart("a", name, "image/png", b""),
        OutPart("a", "f", name, b""),
    ):
        with pytest.raises(ValueError, match="control characters"):
            write_parts([out])


def test_a_backslash_in_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="backslash"):
        write_parts([OutPart("a\\", "", "text/plain", b"")])


def test_a_quote_in_a_name_does_not_end_it() -> None:
    body, _ = write_parts([OutPart('a"; filename="x', "", "text/plain", b"")])
    assert b'name="a%22; filename=%22x"' in body


# -- S-HTTP-07 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", ["", "x" * 71, "x" * 10_000_000, "é"])
def test_s_http_07_boundaries_that_are_none(boundary: str) -> None:
    with pytest.raises(Error) as caught:
        boundary_of(f"multipart/form-data; boundary={boundary}")
    assert caught.value.status == 400
    assert "boundary of 1 to 70" in caught.value.message


def test_s_http_07_a_million_parts() -> None:
    content_type, body = form(*[part("a", b"")] * 1_001)
    started = time.process_time()
    assert refused(content_type, body * 1_000) == (413, "more than 1000 parts in one body (files.max_parts)")
    assert time.process_time() - started < 5  # linear, and over after the first thousand


def test_s_http_07_a_thousand_parts_are_taken() -> None:
    content_type, body = form(*[part("a", b"1")] * 1_000)
    assert len(parts_of(content_type, body)) == 1_000


@pytest.mark.parametrize(
    "head", ["X-Long: " + "x" * 1_000_000, "\r\n".join(f"X-{number}: {'y' * 60}" for number in range(1_000))]
)
def test_s_http_07_headers_of_a_part_that_are_too_long_or_too_many(head: str) -> None:
    content_type, body = form(part("a", b"1", more=head))
    status, message = refused(content_type, body)
    assert status in (400, 413)
    assert "header" in message.lower()


def test_s_http_07_headers_of_all_parts_together() -> None:
    content_type, body = form(*[part("a", b"1", more="X: " + "y" * 400)] * 200)
    assert refused(content_type, body)[0] == 413


def test_s_http_07_a_preamble_of_line_ends() -> None:
    content_type, body = form(part("a", b"1"))
    assert parts_of(content_type, b"\r\n" * 1_000_000 + body)[0][3] == b"1"


def test_s_http_07_an_epilogue() -> None:
    content_type, body = form(part("a", b"1"))
    assert parts_of(content_type, body + b"-" * 100_000_000)[0][3] == b"1"


@pytest.mark.parametrize("cut", [1, 4, 7, 12, 30, 60])
def test_s_http_07_no_final_boundary(cut: int) -> None:
    content_type, body = form(part("a", b"12345", "f"))
    if cut > 2:  # without the last line end it is still a whole form
        assert refused(content_type, body[:-cut])[0] == 400
    assert refused(content_type, b"")[0] == 400


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (part("a\x00b", b"1"), "a name that no field has"),
        (part("n" * 10_240, b"1"), "a name that no field has"),
        (b"Content-Disposition: form-data\r\n\r\n1", "its content-disposition has no name"),
        (b"Content-Disposition: attachment; name=a\r\n\r\n1", "no field of a form"),
        (b"X: y\r\n\r\n1", "no field of a form"),
        (b"\r\n1", "no field of a form"),
        (part("a", b"1", media="multipart/mixed; boundary=x"), "multipart itself"),
        (part("a", b"1", more="Content-Transfer-Encoding: base64"), "content-transfer-encoding"),
        (part("a", b"1", more='Content-Disposition: form-data; name="b"'), "two headers"),
        (b"no header at all", "not multipart/form-data"),
    ],
)
def test_s_http_07_parts_that_are_none(one: bytes, reason: str) -> None:
    content_type, body = form(one)
    status, message = refused(content_type, body)
    assert status == 400
    assert reason in message


def test_s_http_07_the_other_way_to_write_a_file_name_does_not_count() -> None:
    one = part("a", b"1", more="").replace(b'name="a"', b'name="a"; filename="x.png"; filename*=UTF-8\'\'..%2Fevil.sh')
    content_type, body = form(one)
    assert parts_of(content_type, body)[0][1] == "x.png"


def test_what_a_client_sends_wrongly_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    content_type, body = form(b"no header at all")
    refused(content_type, body)
    assert caplog.records == []
