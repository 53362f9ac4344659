"""File parameters and results through the codec of a method: every way in and out, and what a client hears of a wrong one."""

import base64
import dataclasses
import io
import os
from pathlib import Path
from typing import Annotated, Any, Optional

import msgspec
import numpy as np
import PIL.Image
import pytest

from tests.unit.codecs.forms import form, part, picture
from tests.unit.codecs.method import checker, refused, spec
from tiffin.codecs.file_codec import FileCodec
from tiffin.codecs.media import accept_media, body_media, gives, takes
from tiffin.codecs.multipart import read_parts
from tiffin.codecs.uploads import Incoming, Uploads
from tiffin.config.parts import FilesConfig
from tiffin.errors import Code, Error, SpecError
from tiffin.messages.link import Media
from tiffin.service.annotations import type_of
from tiffin.service.markers import ContentType
from tiffin.spec.types import FileType, ListType, NullType, UnionType

Image = PIL.Image.Image
WAV = b"RIFF\x04\x00\x00\x00WAVE"
JSON, MSGPACK, BYTES, MULTIPART = Media.JSON, Media.MSGPACK, Media.BYTES, Media.MULTIPART
NAMES = {"image/png": BYTES, "application/json": JSON}


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = Uploads()
    yield made
    made.close()
    assert list(tmp_path.iterdir()) == []


class Svc:
    def whole(self, image: Image, /) -> Image: ...  # type: ignore[empty-body]
    def one(self, image: Image) -> dict[str, Any]: ...  # type: ignore[empty-body]
    def mixed(self, image: Image, size: int, note: str = "", tags: list[str] = []) -> None: ...  # noqa: B006
    def maybe(self, image: Optional[Image] = None) -> Image | None: ...  # noqa: UP045
    def several(self, images: Annotated[list[Image], msgspec.Meta(min_length=1, max_length=2)]) -> list[Image]: ...  # type: ignore[empty-body]
    def sound(self, audio: Annotated[bytes, ContentType("audio/*"), msgspec.Meta(max_length=20)]) -> None: ...
    def path(self, doc: Path, more: list[Path | None] | None = None) -> None: ...
    def table(self, doc: Annotated[Path, ContentType("text/csv")]) -> None: ...
    def plain(self, data: bytes, image: Image) -> None: ...
    def array(self, image: Image, x: np.ndarray) -> None: ...


def codec(function: Any, **options: Any) -> FileCodec:
    return FileCodec(spec(function, **options), function, FilesConfig())


def sent(
    function: Any, uploads: Uploads, media: int, body: bytes, content_type: str = "", **options: Any
) -> dict[str, Any]:
    """Return the arguments that a body makes, seen by the front first."""
    front = checker(function, **options)
    if media in (BYTES, MULTIPART):
        front.check_file(media, body, content_type)
    else:
        front.check(media, body)
    return codec(function, **options).decode(media, memoryview(body), Incoming(content_type, uploads))


def wrong(function: Any, uploads: Uploads, media: int, body: bytes, content_type: str = "") -> list[tuple[str, str]]:
    return refused(codec(function).decode, media, memoryview(body), Incoming(content_type, uploads))


def b64(data: bytes) -> bytes:
    return msgspec.json.encode(data)


# -- annotations -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "found"),
    [
        (Image, FileType(form="image")),
        (Path, FileType(form="path")),
        (Annotated[Image, ContentType("image/webp")], FileType(form="image", media="image/webp")),
        (Annotated[Path, ContentType("audio/*")], FileType(form="path", media="audio/*")),
        (Annotated[bytes, ContentType("audio/wav")], FileType(form="bytes", media="audio/wav")),
        (
            Annotated[bytes, msgspec.Meta(max_length=9), ContentType("a/b")],
            FileType(form="bytes", media="a/b", max_length=9),
        ),
        (
            Annotated[bytes, ContentType("a/b"), msgspec.Meta(max_length=9)],
            FileType(form="bytes", media="a/b", max_length=9),
        ),
        (list[Path], ListType(item=FileType(form="path"))),
        (Annotated[list[bytes], ContentType("a/b")], ListType(item=FileType(form="bytes", media="a/b"))),
        (Optional[Image], UnionType(variants=(FileType(form="image"), NullType()))),  # noqa: UP045
    ],
)
def test_annotations(annotation: Any, found: Any) -> None:
    assert type_of(annotation, "x") == found
    assert type_of(annotation, "x", "serialization") == found


@pytest.mark.parametrize(
    "annotation", [dict[str, Image], tuple[Image, Image], Image | str, Image | Path, list[list[Image]], set[Path]]
)
def test_files_where_nobody_can_send_them_are_refused(annotation: Any) -> None:
    with pytest.raises(SpecError, match=r"parameter 'x' of S\.m: .*: a file"):
        type_of(annotation, "parameter 'x' of S.m")


def test_images_of_a_format_that_is_not_read_are_refused() -> None:
    with pytest.raises(SpecError, match="images of type 'image/svg"):
        type_of(Annotated[Image, ContentType("image/svg+xml")], "x")


@pytest.mark.parametrize(
    "annotation", [Annotated[Image, ContentType("image/*")], Annotated[Image, ContentType("image/svg+xml")]]
)
def test_results_that_nobody_can_write_are_refused(annotation: Any) -> None:
    def method(self):
        raise NotImplementedError

    method.__annotations__["return"] = annotation
    with pytest.raises(SpecError, match=r"result of Svc\.method"):
        spec(method)


# -- media types -----------------------------------------------------------------------------------------------------------


def test_what_is_taken() -> None:
    assert takes(spec(Svc.whole)) == (BYTES, MULTIPART, JSON, MSGPACK)
    assert takes(spec(Svc.one)) == (JSON, BYTES, MULTIPART, MSGPACK)
    assert takes(spec(Svc.mixed)) == (JSON, MULTIPART, MSGPACK)
    assert takes(spec(Svc.several)) == (JSON, MULTIPART, MSGPACK)
    assert body_media(b"image/jpeg", spec(Svc.one)) == BYTES
    assert body_media(b"multipart/form-data; boundary=x", spec(Svc.mixed)) == MULTIPART
    assert body_media(b"application/octet-stream", spec(Svc.one)) == BYTES


@pytest.mark.parametrize(
    ("function", "media"),
    [(Svc.mixed, b"image/png"), (Svc.sound, b"image/png"), (Svc.one, b"text/plain"), (Svc.one, b"multipart/mixed")],
)
def test_what_is_not_taken(function: Any, media: bytes) -> None:
    with pytest.raises(Error) as caught:
        body_media(media, spec(function))
    assert caught.value.code == Code.UNSUPPORTED_MEDIA


@pytest.mark.parametrize(
    ("function", "accept", "media"),
    [
        (Svc.whole, b"", BYTES),
        (Svc.whole, b"image/png", BYTES),
        (Svc.whole, b"image/*", BYTES),
        (Svc.whole, b"application/json", JSON),
        (Svc.whole, b"image/webp, image/apng, */*;q=0.8", BYTES),
        (Svc.several, b"", MULTIPART),
        (Svc.several, b"application/json", JSON),
        (Svc.several, b"multipart/form-data", MULTIPART),
    ],
)
def test_what_is_answered(function: Any, accept: bytes, media: int) -> None:
    assert accept_media(accept, spec(function)) == media


def test_what_is_not_answered() -> None:
    with pytest.raises(Error) as caught:
        accept_media(b"image/webp", spec(Svc.whole))
    assert caught.value.code == Code.NOT_ACCEPTABLE


# -- in --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [Svc.whole, Svc.one])
def test_one_image_every_way(function: Any, uploads: Uploads) -> None:
    data = picture()
    wanted = np.asarray(PIL.Image.open(io.BytesIO(data)))
    named = function is Svc.one
    content_type, body = form(part("image", data, "x.png", "image/png"))
    ways = [
        (BYTES, data, "image/png"),
        (BYTES, data, "application/octet-stream"),
        (JSON, b'{"image": %b}' % b64(data) if named else b64(data), ""),
        (MSGPACK, msgspec.msgpack.encode({"image": data} if named else data), ""),
        (MULTIPART, body, content_type),
    ]
    for media, sent_body, kind in ways:
        found = sent(function, uploads, media, sent_body, kind)
        assert np.array_equal(np.asarray(found["image"]), wanted), media


def test_a_form_with_other_fields(uploads: Uploads) -> None:
    content_type, body = form(
        part("size", b"3"), part("image", picture(), "x"), part("note", "hé 12".encode()), part("tags", b'["a", "b"]')
    )
    found = sent(Svc.mixed, uploads, MULTIPART, body, content_type)
    assert found.pop("image").size == (12, 8)
    assert found == {"size": 3, "note": "hé 12", "tags": ["a", "b"]}


def test_a_form_with_an_array(uploads: Uploads) -> None:
    content_type, body = form(part("x", b"[1, 2]"), part("image", picture(), "x"))
    found = sent(Svc.array, uploads, MULTIPART, body, content_type)
    assert found["x"].tolist() == [1, 2]


def test_plain_bytes_are_a_file_in_a_form_and_bytes_elsewhere(uploads: Uploads) -> None:
    content_type, body = form(part("data", b"\x00\xff", "x"), part("image", picture(), "x"))
    assert sent(Svc.plain, uploads, MULTIPART, body, content_type)["data"] == b"\x00\xff"
    body = b'{"data": "AP8=", "image": %b}' % b64(picture())
    assert sent(Svc.plain, uploads, JSON, body)["data"] == b"\x00\xff"


def test_optionals(uploads: Uploads) -> None:
    content_type, body = form()
    assert sent(Svc.maybe, uploads, MULTIPART, body, content_type) == {}
    content_type, body = form(part("image", b"null", media="application/json"))
    assert sent(Svc.maybe, uploads, MULTIPART, body, content_type) == {"image": None}
    assert sent(Svc.maybe, uploads, JSON, b'{"image": null}') == {"image": None}
    assert sent(Svc.maybe, uploads, JSON, b"{}") == {}
    content_type, body = form(part("image", picture(), "x"))
    assert sent(Svc.maybe, uploads, MULTIPART, body, content_type)["image"].size == (12, 8)


def test_lists(uploads: Uploads) -> None:
    content_type, body = form(part("images", picture(3, 3), "x"), part("images", picture(4, 4), "y"))
    assert [image.size for image in sent(Svc.several, uploads, MULTIPART, body, content_type)["images"]] == [
        (3, 3),
        (4, 4),
    ]
    body = b'{"images": [%b]}' % b64(picture(5, 5))
    assert [image.size for image in sent(Svc.several, uploads, JSON, body)["images"]] == [(5, 5)]


def test_paths_have_our_names_and_tell_the_clients(uploads: Uploads, tmp_path: Path) -> None:
    content_type, body = form(
        part("doc", b"a,b\n1,2", "../../etc/pass wd;$(x).csv", "text/csv"), part("more", picture(), "/abs/x.exe")
    )
    found = sent(Svc.path, uploads, MULTIPART, body, content_type)
    doc, (more,) = found["doc"], found["more"]
    assert doc.read_bytes() == b"a,b\n1,2"
    assert (doc.name, doc.client_name, doc.media_type) == ("0.csv", "pass wd__(x).csv", "text/csv")
    assert (more.name, more.client_name, more.media_type) == ("1.png", "x.exe", "image/png")
    assert doc.parent.parent == tmp_path
    assert doc.stat().st_mode & 0o777 == 0o600
    assert doc.parent.stat().st_mode & 0o777 == 0o700
    assert isinstance(doc, Path)
    assert doc.parent.client_name == ""  # type: ignore[attr-defined]
    assert sent(Svc.path, uploads, JSON, b'{"doc": "aGk="}')["doc"].read_bytes() == b"hi"


# -- wrong -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "parts", "path", "reason"),
    [
        (Svc.mixed, [part("size", b"3")], "image", "required, but missing"),
        (Svc.mixed, [part("image", picture(), "x")], "size", "required, but missing"),
        (Svc.mixed, [part("image", picture(), "x"), part("size", b"x")], "size", "not JSON"),
        (Svc.mixed, [part("image", picture(), "x"), part("size", b'3, "note": "x"')], "size", "not JSON"),
        (Svc.mixed, [part("image", picture(), "x"), part("size", b'"3"')], "size", "expected int, got str"),
        (Svc.mixed, [part("image", picture(), "x"), part("size", b"3"), part("size", b"4")], "size", "given twice"),
        (Svc.mixed, [part("image", picture(), "x"), part("size", b"3"), part("note", b"\xff")], "note", "UTF-8"),
        (Svc.mixed, [part("../image", picture(), "x")], "../image", "unknown field; known are image, "),
        (Svc.mixed, [part("image", picture(), "x")] * 2 + [part("size", b"3")], "image", "expected one file, got 2"),
        (Svc.one, [part("image", b"", "x")], "image", "the file is empty"),
        (Svc.one, [part("image", b"hello", "x.png", "image/png")], "image", "bytes that are no image"),
        (Svc.one, [part("image", b"https://x.example/y.png")], "image", "a URL, which is not fetched here"),
        (Svc.one, [part("image", b"y.png")], "image", "got the text 'y.png': with curl, a file is image=@y.png"),
        (Svc.one, [part("image", picture(), "x"), part("image2", b"")], "image2", "unknown field"),
        (Svc.several, [part("images", picture(), "x")] * 3, "images", "expected 2 files at most, got 3"),
        (Svc.several, [part("images", picture(), "x"), part("images", b"x", "x")], "images[1]", "no image"),
        (Svc.several, [part("images", b"[]", media="application/json")], "images", "expected 1 files at least, got 0"),
        (Svc.sound, [part("audio", b"GIF89a", "x", "audio/wav")], "audio", "expected audio/*, got image/gif"),
        (
            Svc.sound,
            [part("audio", b"hello", "x", "audio/wav")],
            "audio",
            "expected audio/*, got bytes that are no such",
        ),
        (Svc.sound, [part("audio", WAV + b"x" * 20, "x")], "audio", "expected a file of 20 bytes at most, got 32"),
        (Svc.table, [part("doc", b"a,b", "x", "text/html")], "doc", "expected text/csv, got text/html"),
    ],
)
def test_what_is_wrong_with_a_form_is_said(
    function: Any, parts: list[bytes], path: str, reason: str, uploads: Uploads
) -> None:
    content_type, body = form(*parts)
    ((found, said),) = wrong(function, uploads, MULTIPART, body, content_type)
    assert found == path
    assert reason in said


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"image": "https://x.example/y.png"}', "a URL, which is not fetched here"),
        (b'{"image": "file:///etc/passwd"}', "a URL, which is not fetched here"),
        (b'{"image": "not base64!"}', "base64"),
        (b'{"image": 3}', "expected str, got int"),
        (b'{"image": "aGVsbG8="}', "no image"),
        (b'{"image": ""}', "the file is empty"),
    ],
)
def test_what_is_wrong_with_json_is_said(body: bytes, reason: str, uploads: Uploads) -> None:
    ((path, said),) = wrong(Svc.one, uploads, JSON, body)
    assert path == "image"
    assert reason in said


def test_the_front_refuses_what_it_can_see() -> None:
    front = checker(Svc.sound)
    assert front.check_file(BYTES, WAV, "audio/wav") == 1
    assert refused(front.check_file, BYTES, b"hello", "audio/wav")[0][0] == "audio"
    assert refused(front.check_file, BYTES, b"", "audio/wav")[0][1] == "the file is empty"
    content_type, body = form(part("audio", WAV))
    assert front.check_file(MULTIPART, body, content_type) == 1
    assert "last boundary" in refused(front.check_file, MULTIPART, body[:-6], content_type)[0][1]
    assert "begin" in refused(front.check_file, MULTIPART, b"x" + body, content_type)[0][1]
    assert "boundary" in refused(front.check_file, MULTIPART, body, "multipart/form-data")[0][1]


def test_s_http_07_a_field_that_is_no_file_and_too_large(uploads: Uploads) -> None:
    content_type, body = form(part("image", picture(), "x"), part("size", b"3"), part("note", b"x" * 1_048_577))
    with pytest.raises(Error) as caught:
        codec(Svc.mixed).decode(MULTIPART, body, Incoming(content_type, uploads))
    assert caught.value.code == Code.TOO_LARGE
    assert "note: a field of 1048577 bytes" in caught.value.message


# -- batches ---------------------------------------------------------------------------------------------------------------


class Rows:
    def images(self, images: list[Image]) -> list[Image]: ...  # type: ignore[empty-body]
    def files(self, docs: list[Path], notes: list[str]) -> list[int]: ...  # type: ignore[empty-body]
    def raw(self, data: list[bytes]) -> list[bytes]: ...  # type: ignore[empty-body]


def test_s_dec_04_rows_of_a_form_are_counted_by_the_front() -> None:
    options = {"batchable": True, "max_batch_size": 8}
    content_type, body = form(*[part("docs", b"1", "x")] * 3, part("notes", b'["a", "b", "c"]'))
    assert checker(Rows.files, **options).check_file(MULTIPART, body, content_type) == 3
    content_type, body = form(*[part("images", picture(), "x")] * 5)
    assert checker(Rows.images, **options).check_file(MULTIPART, body, content_type) == 5
    content_type, body = form(part("images", b"x" * 1_100_000, "x"))
    assert checker(Rows.images, **options).check_file(MULTIPART, body, content_type) == 8  # alone, the worker counts


def test_a_bad_image_does_not_spoil_its_mates(uploads: Uploads) -> None:
    options = {"batchable": True, "one_row": True}
    good, cut = picture(20, 20), picture(20, 20)[:-200]
    content_type, body = form(part("images", picture(30, 30), "x"))
    members = [
        (BYTES, good, Incoming("image/png", uploads)),
        (BYTES, cut, Incoming("image/png", uploads)),
        (MULTIPART, body, Incoming(content_type, uploads)),
        (JSON, b'{"images": "https://x.example/"}', Incoming("", uploads)),
        (JSON, b'{"images": %b}' % b64(picture(40, 40)), Incoming("", uploads)),
    ]
    batch = codec(Rows.images, **options).decode_batch(members)
    assert [image.size for image in batch.arguments["images"]] == [(20, 20), (30, 30), (40, 40)]
    assert sorted(batch.errors) == [1, 3]
    assert {str(error.code) for error in batch.errors.values()} == {"INVALID_INPUT"}
    assert batch.counts == [1, 1, 1]


def test_large_batches_are_decoded_at_once_and_in_order(uploads: Uploads) -> None:
    bodies = [os.urandom(20_000) for _ in range(24)]
    forms = [form(part("docs", body, "x"), part("notes", b'["n"]')) for body in bodies]
    forms[7] = form(part("docs", b"x" * 20_000, "x"))
    members = [(MULTIPART, body, Incoming(kind, uploads)) for kind, body in forms]
    batch = codec(Rows.files, batchable=True).decode_batch(members)
    assert list(batch.errors) == [7]
    assert [path.read_bytes() for path in batch.arguments["docs"]] == bodies[:7] + bodies[8:]


def test_calls_with_several_rows(uploads: Uploads) -> None:
    one, two = (
        form(*[part("docs", b"1", "x")] * count, part("notes", notes))
        for count, notes in ((2, b'["a", "b"]'), (1, b'["c"]'))
    )
    uneven = form(part("docs", b"1", "x"), part("notes", b'["c", "d"]'))
    members = [(MULTIPART, body, Incoming(kind, uploads)) for kind, body in (one, uneven, two)]
    batch = codec(Rows.files, batchable=True).decode_batch(members)
    assert batch.arguments["notes"] == ["a", "b", "c"]
    assert len({path.name for path in batch.arguments["docs"]}) == 3
    assert batch.counts == [2, 1]
    assert list(batch.errors) == [1]


def test_rows_are_answered_each_as_its_client_asked() -> None:
    images = [PIL.Image.new("RGB", (size, size)) for size in (3, 4, 5)]
    answers = codec(Rows.images, batchable=True, one_row=True).encode_batch(images, [1, 1, 1], [BYTES, JSON, BYTES])
    assert [answer[1:] for answer in answers] == [(BYTES, "image/png"), (JSON, ""), (BYTES, "image/png")]  # type: ignore[index]
    first, second = codec(Rows.images, batchable=True).encode_batch(images, [2, 1], [MULTIPART, JSON])
    assert [one.name for one in read_parts(first[2], first[0], FilesConfig())] == ["0", "1"]  # type: ignore[index]
    assert len(msgspec.json.decode(second[0])) == 1  # type: ignore[index]


# -- out -------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Both:
    image: Image
    score: float
    sound: Annotated[bytes, ContentType("audio/wav")]
    more: list[Annotated[Image, ContentType("image/webp")]]
    none: Image | None = None


def answered(annotation: Any, value: Any, accept: int) -> tuple[bytes, int, str]:
    def method(self):
        raise NotImplementedError

    method.__annotations__["return"] = annotation
    return codec(method).encode(value, accept)


def test_one_file_is_answered_raw_or_in_json() -> None:
    image = PIL.Image.new("RGB", (3, 2))
    body, media, name = answered(Image, image, BYTES)
    assert (media, name) == (BYTES, "image/png")
    assert PIL.Image.open(io.BytesIO(body)).size == (3, 2)
    body, media, name = answered(Image, image, JSON)
    assert media == JSON
    assert base64.b64decode(msgspec.json.decode(body))[:4] == b"\x89PNG"
    assert answered(Annotated[Image, ContentType("image/webp")], image, -1)[2] == "image/webp"
    assert answered(Annotated[bytes, ContentType("audio/wav")], WAV, -1) == (WAV, BYTES, "audio/wav")
    assert answered(Image | None, None, BYTES) == (b"null", JSON, "")


def test_a_path_is_answered_as_its_file(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(picture())
    assert answered(Path, path, BYTES) == (picture(), BYTES, "image/png")
    path.write_bytes(b"<script>")
    assert answered(Path, path, BYTES) == (b"<script>", BYTES, "application/octet-stream")  # never a page


def test_files_among_other_values_are_parts_or_base64() -> None:
    image = PIL.Image.new("RGB", (3, 2))
    value = Both(image, 0.5, WAV, [image, image])
    body, media, name = answered(Both, value, MULTIPART)
    assert media == MULTIPART
    parts = [(one.name, one.filename, one.media) for one in read_parts(name, body, FilesConfig())]
    assert parts == [
        ("image", "image.png", "image/png"),
        ("score", "", "application/json"),
        ("sound", "sound.wav", "audio/wav"),
        ("more", "more.webp", "image/webp"),
        ("more", "more.webp", "image/webp"),
        ("none", "", "application/json"),
    ]
    body, media, name = answered(Both, value, JSON)
    found = msgspec.json.decode(body)
    assert (media, name) == (JSON, "")
    assert base64.b64decode(found["sound"]) == WAV
    assert [base64.b64decode(one)[8:12] for one in found["more"]] == [b"WEBP", b"WEBP"]
    assert found["none"] is None
    packed = msgspec.msgpack.decode(answered(Both, value, MSGPACK)[0])
    assert packed["sound"] == WAV


def test_an_image_that_no_annotation_speaks_of() -> None:
    image = PIL.Image.new("RGB", (3, 2))
    assert answered(dict, {"a": image}, JSON)[0][:10] == b'{"a":"iVBO'
    assert answered(Any, image, -1)[1:] == (BYTES, "image/png")


@pytest.mark.parametrize("key", ["a\r\nset-cookie: x", "a\x00", "\n"])
def test_s_http_13_a_key_that_would_break_a_header_is_refused(key: str) -> None:
    with pytest.raises(Error) as caught:
        answered(dict[str, Image], {key: PIL.Image.new("RGB", (3, 2))}, MULTIPART)
    assert caught.value.code == Code.BAD_OUTPUT


def test_s_http_13_a_file_name_that_would_break_a_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a\r\nset-cookie: x"
    path.write_bytes(b"1")
    with pytest.raises(Error) as caught:
        answered(dict[str, Path], {"a": path}, MULTIPART)
    assert caught.value.code == Code.BAD_OUTPUT


@pytest.mark.parametrize("value", ["text", 3, Path("/nowhere/at all")])
def test_a_result_that_is_no_file_is_said(value: Any) -> None:
    with pytest.raises(Error) as caught:
        answered(Image, value, BYTES)
    assert caught.value.code == Code.BAD_OUTPUT
    assert "method 'method' returned what cannot be sent" in caught.value.message


def test_gives_says_the_same_for_rows() -> None:
    assert gives(spec(Rows.images, batchable=True, one_row=True)) == (BYTES, JSON, MSGPACK)
    assert gives(spec(Rows.images, batchable=True)) == (MULTIPART, JSON, MSGPACK)
