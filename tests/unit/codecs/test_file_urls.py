"""URLs in bodies: where they are found, and that the body with the files in their places is what a client could have sent."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.codecs.forms import form, part, picture
from tests.unit.codecs.method import checker, refused, spec
from tiffin.codecs.fetch import Fetched
from tiffin.codecs.file_codec import FileCodec
from tiffin.codecs.file_urls import FileUrls, Found, may_hold
from tiffin.codecs.multipart import read_parts
from tiffin.codecs.uploads import Incoming, Uploads
from tiffin.config.parts import FilesConfig
from tiffin.errors import Code, Error
from tiffin.messages.link import Media
from tiffin.service.markers import ContentType

JSON, MULTIPART = Media.JSON, Media.MULTIPART
PNG = picture()
A, B = Fetched(b"aaa", "text/plain", "a.txt"), Fetched(b"\x00\xff" * 60_000, "", "")
LIMITS = FilesConfig(max_parts=5)


class Svc:
    def one(self, doc: Path) -> None: ...
    def whole(self, doc: Path, /) -> None: ...
    def mixed(self, doc: Path, note: str = "", size: int = 0) -> None: ...
    def many(self, docs: Annotated[list[Path | None], msgspec.Meta(max_length=3)]) -> None: ...
    def all(self, docs: list[Path], /) -> None: ...
    def plain(self, data: bytes, doc: Path) -> None: ...
    def sound(self, audio: Annotated[bytes, ContentType("audio/*"), msgspec.Meta(max_length=200)]) -> None: ...


def find(function: Any, body: Any, media: int = JSON, content_type: str = "") -> Found | None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return FileUrls(spec(function), LIMITS).find(media, raw, content_type)


def wanted(function: Any, body: Any, media: int = JSON, content_type: str = "") -> list[tuple[str, str]]:
    found = find(function, body, media, content_type)
    return [] if found is None else [(file.url, file.path) for file in found.wanted]


def found_in(function: Any, body: Any, media: int = JSON, content_type: str = "") -> Found:
    found = find(function, body, media, content_type)
    assert found is not None
    return found


def decoded(function: Any, found: Found, *files: Fetched) -> dict[str, Any]:
    """Return the arguments of the filled body as a worker reads them: the bytes of paths, and their names."""
    body, content_type = found.filled(files)
    uploads = Uploads()
    try:
        media = MULTIPART if content_type else JSON
        arguments = FileCodec(spec(function), function, LIMITS).decode(media, body, Incoming(content_type, uploads))
        return {name: _read(value) for name, value in arguments.items()}
    finally:
        uploads.close()


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return [_read(item) for item in value]
    return (value.read_bytes(), value.client_name, value.media_type) if isinstance(value, Path) else value  # type: ignore[attr-defined]


def test_a_url_in_json_is_replaced_by_its_file() -> None:
    body = {"doc": "https://a.example/x", "note": "http://stays.example", "size": 3}
    found = found_in(Svc.mixed, body)
    assert [file[:2] for file in found.wanted] == [("https://a.example/x", "doc")]
    filled, content_type = found.filled([B])
    assert content_type == ""
    assert json.loads(filled) == {**body, "doc": base64.b64encode(B.body).decode()}
    assert decoded(Svc.mixed, found, A)["doc"][0] == b"aaa"


def test_the_whole_body_may_be_a_url() -> None:
    assert decoded(Svc.whole, found_in(Svc.whole, b' "HTTP://a.example/x" '), A)["doc"][0] == b"aaa"
    found = found_in(Svc.all, ["http://a.example", "YmJi", "http://b.example"])
    assert [file.path for file in found.wanted] == ["[0]", "[2]"]
    assert [item[0] for item in decoded(Svc.all, found, A, B)["docs"]] == [b"aaa", b"bbb", B.body]


def test_items_of_a_list_are_replaced_and_the_others_stay() -> None:
    found = found_in(Svc.many, {"docs": [None, "http://a.example/1", "YmJi"]})
    assert [file[:2] for file in found.wanted] == [("http://a.example/1", "docs[1]")]
    assert [item and item[0] for item in decoded(Svc.many, found, A)["docs"]] == [None, b"aaa", b"bbb"]


def test_escaped_slashes_are_a_url_too() -> None:
    body = rb'{"doc":"http:\/\/a.example\/x"}'
    assert may_hold(body)
    assert wanted(Svc.one, body) == [("http://a.example/x", "doc")]


def test_the_front_lets_a_url_pass_that_is_longer_than_the_file_may_be() -> None:
    checker(Svc.sound).check(JSON, json.dumps({"audio": "http://a.example/" + "x" * 400}).encode())
    with pytest.raises(Error):
        checker(Svc.sound).check(JSON, json.dumps({"audio": "A" * 20_000}).encode())


def test_what_is_no_url_for_a_file_stays() -> None:
    assert wanted(Svc.mixed, {"doc": "YWFh", "note": "http://a.example"}) == []
    assert wanted(Svc.plain, {"data": "http://a.example", "doc": "YWFh"}) == []  # plain bytes are no file in JSON
    assert wanted(Svc.one, {"doc": "data:text/plain,x"}) == []
    assert wanted(Svc.one, {"doc": {"url": "http://a.example"}}) == []
    assert wanted(Svc.many, {"docs": "http://a.example"}) == []
    assert wanted(Svc.one, {"doc": ["http://a.example"]}) == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"doc":"http://a.example"', b'{"doc":"\\ud800http://"}', b"\xff" * 9]
)
def test_a_body_that_is_wrong_is_left_to_the_worker(body: bytes) -> None:
    assert wanted(Svc.one, body) == []


def test_nothing_is_fetched_for_more_files_than_are_taken() -> None:
    assert wanted(Svc.many, {"docs": ["http://a.example"] * 4}) == []
    content_type, body = form(*[part("docs", b"http://a.example")] * 4)
    assert wanted(Svc.many, body, MULTIPART, content_type) == []
    content_type, body = form(*[part("doc", b"http://a.example")] * 2)
    assert wanted(Svc.one, body, MULTIPART, content_type) == []
    with pytest.raises(Error) as caught:
        find(Svc.all, ["http://a.example"] * 6)
    assert caught.value.code == Code.TOO_LARGE


def test_other_schemes_are_named_so_that_the_fetcher_refuses_them() -> None:
    urls = ["ftp://a.example", "file:///etc/passwd", "s3://a/b"]
    assert [url for url, _path in wanted(Svc.many, {"docs": urls})] == urls


def test_a_text_part_of_a_form_is_replaced_by_a_file_and_the_others_stay() -> None:
    content_type, body = form(
        part("note", b"http://stays.example"), part("doc", b"http://a.example/x"), part("size", b"3")
    )
    found = found_in(Svc.mixed, body, MULTIPART, content_type)
    assert [file[:2] for file in found.wanted] == [("http://a.example/x", "doc")]
    arguments = decoded(Svc.mixed, found, A)
    assert arguments == {"doc": (b"aaa", "a.txt", "text/plain"), "note": "http://stays.example", "size": 3}


def test_the_files_of_a_form_keep_their_order_names_and_bytes() -> None:
    content_type, body = form(
        part("docs", PNG, 'a"b\\c.png', "image/png"),
        part("docs", b"http://a.example"),
        part("docs", b"http://x", "x.txt"),
    )
    found = found_in(Svc.many, body, MULTIPART, content_type)
    assert [file[:2] for file in found.wanted] == [("http://a.example", "docs[1]")]
    docs = decoded(Svc.many, found, A)["docs"]
    assert [doc[0] for doc in docs] == [PNG, b"aaa", b"http://x"]
    assert docs[0][2] == "image/png"


def test_a_file_that_looks_like_a_url_is_not_one_again() -> None:
    again = Fetched(b"http://b.example", "", "")
    content_type, body = form(part("doc", b"http://a.example"))
    filled, filled_type = found_in(Svc.one, body, MULTIPART, content_type).filled([again])
    assert wanted(Svc.one, filled, MULTIPART, filled_type) == []
    assert read_parts(filled_type, filled, LIMITS)[0].filename == "file"
    assert decoded(Svc.one, found_in(Svc.one, {"doc": "http://a.example"}), again)["doc"][0] == b"http://b.example"


def test_json_within_a_form_is_looked_at_too() -> None:
    content_type, body = form(part("docs", b'["http://a.example",null]', media="application/json"))
    found = found_in(Svc.many, body, MULTIPART, content_type)
    assert [file.path for file in found.wanted] == ["docs[0]"]
    assert decoded(Svc.many, found, A)["docs"] == [(b"aaa", "", ""), None]


def test_a_form_with_a_field_that_is_not_known_is_left_to_the_worker() -> None:
    content_type, body = form(part("doc", b"http://a.example"), part("other", b"1"))
    assert wanted(Svc.one, body, MULTIPART, content_type) == []


def test_a_file_that_was_fetched_is_checked_like_an_upload() -> None:
    found = found_in(Svc.sound, *_form_of("audio", b"http://a.example"))
    assert refused(found.check, 0, Fetched(PNG, "audio/wav", "x.wav")) == [("audio", "expected audio/*, got image/png")]
    found.check(0, Fetched(b"RIFF\x04\x00\x00\x00WAVE", "text/html", ""))


def _form_of(name: str, data: bytes) -> tuple[bytes, int, str]:
    content_type, body = form(part(name, data))
    return body, MULTIPART, content_type


@given(st.lists(st.one_of(st.none(), st.just("http://a.example"), st.binary(max_size=9)), max_size=3), st.binary())
def test_any_list_comes_out_as_if_the_client_had_sent_the_files(items: list[Any], fetched: bytes) -> None:
    sent = [base64.b64encode(item).decode() if isinstance(item, bytes) else item for item in items]
    found = find(Svc.many, {"docs": sent})
    if found is None:
        assert "http://a.example" not in items
        return
    file = Fetched(fetched, "", "")
    body, _type = found.filled([file] * len(found.wanted))
    expected = [
        base64.b64encode(fetched).decode() if item == "http://a.example" else text
        for item, text in zip(items, sent, strict=True)
    ]
    assert json.loads(body) == {"docs": expected}
