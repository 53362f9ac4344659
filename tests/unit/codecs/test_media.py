"""Content-Type and Accept: what a method takes and gives, and nothing by surprise."""

from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import numpy as np
import pytest
from pydantic import BaseModel

from tests.unit.codecs.method import spec
from tiffin.codecs.media import accept_media, body_media
from tiffin.errors import Error
from tiffin.service.markers import ContentType, DType

JSON, NPY, MSGPACK, TEXT, BYTES, SSE, NDJSON = range(7)


class Model(BaseModel):
    a: int


class Svc:
    def fields(self, a: int, b: str) -> dict[str, int]:
        raise NotImplementedError

    def array(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def words(self, x: Annotated[np.ndarray, DType("str")]) -> list[str]:
        raise NotImplementedError

    def text(self, x: str, /) -> str:
        raise NotImplementedError

    def raw(self, x: bytes, /) -> bytes:
        raise NotImplementedError

    def model(self, x: Model, /):
        raise NotImplementedError

    def wave(self) -> Annotated[bytes, ContentType("audio/wav")]:
        raise NotImplementedError

    def tokens(self, prompt: str) -> Iterator[str]:
        raise NotImplementedError

    async def events(self, prompt: str) -> AsyncIterator[dict[str, int]]:
        yield {}

    def chunks(self) -> Iterator[bytes]:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("function", "header", "media"),
    [
        (Svc.fields, b"", JSON),
        (Svc.fields, b"application/json", JSON),
        (Svc.fields, b"Application/JSON; charset=UTF-8", JSON),
        (Svc.fields, b"application/vnd.api+json", JSON),
        (Svc.fields, b"application/msgpack", MSGPACK),
        (Svc.array, b"application/x-npy", NPY),
        (Svc.array, b"", JSON),
        (Svc.text, b"", TEXT),
        (Svc.text, b"text/plain; charset=utf-8", TEXT),
        (Svc.text, b"application/json", JSON),
        (Svc.raw, b"", BYTES),
        (Svc.raw, b"image/png", BYTES),
        (Svc.raw, b"application/x-pickle", BYTES),
        (Svc.raw, b"application/json", JSON),
    ],
)
def test_body(function: Any, header: bytes, media: int) -> None:
    assert body_media(header, spec(function)) == media


@pytest.mark.parametrize(
    ("function", "header"),
    [
        (Svc.fields, b"text/plain"),  # what a browser's form can send without asking is never JSON
        (Svc.fields, b"application/x-www-form-urlencoded"),
        (Svc.fields, b"multipart/form-data; boundary=x"),
        (Svc.fields, b"application/x-npy"),
        (Svc.fields, b"application/x-pickle"),
        (Svc.fields, b"application/octet-stream"),
        (Svc.fields, b"application/json; charset=utf-16"),
        (Svc.fields, b"\xff\xfe"),
        (Svc.fields, b"," * 9_000),
        (Svc.words, b"application/x-npy"),
        (Svc.text, b"application/octet-stream"),
        (Svc.raw, b"multipart/form-data"),
        (Svc.model, b"text/plain;charset=pickle"),
    ],
)
def test_unsupported_body(function: Any, header: bytes) -> None:
    with pytest.raises(Error) as caught:
        body_media(header, spec(function))
    assert caught.value.status == 415
    assert len(caught.value.message) < 300


def test_who_forgot_the_type_with_curl_is_told_so() -> None:
    with pytest.raises(Error, match="with curl: -H 'content-type: …'$"):
        body_media(b"application/x-www-form-urlencoded", spec(Svc.fields))
    with pytest.raises(Error, match="send [^;]*$"):
        body_media(b"text/plain", spec(Svc.fields))


@pytest.mark.parametrize(
    ("function", "header", "media"),
    [
        (Svc.fields, b"", JSON),
        (Svc.fields, b"*/*", JSON),
        (Svc.fields, b"text/html, application/xhtml+xml;q=0.9, */*;q=0.8", JSON),
        (Svc.fields, b"application/*", JSON),
        (Svc.fields, b"application/msgpack, application/json;q=0.5", MSGPACK),
        (Svc.array, b"application/x-npy", NPY),
        (Svc.array, b"application/json;q=0.1, application/x-npy;q=0.2", NPY),
        (Svc.array, b"application/json;q=0, */*", NPY),
        (Svc.text, b"", TEXT),
        (Svc.text, b"text/*", TEXT),
        (Svc.text, b"application/json", JSON),
        (Svc.raw, b"", BYTES),
        (Svc.model, b"", -1),
        (Svc.model, b"*/*", -1),
        (Svc.model, b"text/plain", TEXT),
        (Svc.wave, b"audio/wav", -1),
        (Svc.wave, b"application/json", -1),
        (Svc.tokens, b"", TEXT),
        (Svc.tokens, b"text/event-stream", SSE),
        (Svc.events, b"", SSE),
        (Svc.events, b"application/x-ndjson", NDJSON),
        (Svc.chunks, b"*/*", BYTES),
    ],
)
def test_answer(function: Any, header: bytes, media: int) -> None:
    assert accept_media(header, spec(function)) == media


@pytest.mark.parametrize(
    "header", [b"text/html", b"application/json;q=0", b"application/json;q=x", b"image/*", b"\xff", b"," * 9_000]
)
def test_no_such_answer(header: bytes) -> None:
    with pytest.raises(Error) as caught:
        accept_media(header, spec(Svc.fields))
    assert caught.value.status == 406
    assert caught.value.details == {"supported": ["application/json", "application/msgpack"]}


def test_rows_of_a_batch_are_no_text() -> None:
    def words(self, x: list[str]) -> list[str]:
        raise NotImplementedError

    assert accept_media(b"", spec(words, batchable=True)) == JSON
    with pytest.raises(Error):
        body_media(b"text/plain", spec(words, batchable=True))
