"""Images: which are decoded, and S-DEC-01, which are not."""

import io
import struct
import time
import zlib
from typing import Any

import numpy as np
import PIL.Image
import pytest

from tests.unit.codecs.forms import chunk, picture, png, segment, zeros
from tiffin.codecs.images import ImageReader, write_image
from tiffin.config.parts import FilesConfig
from tiffin.errors import Error
from tiffin.spec.types import FileType


def read(data: bytes, media: str = "", **limits: object) -> PIL.Image.Image:
    return ImageReader(FileType(form="image", media=media), FilesConfig(**limits)).read(memoryview(data), "image")  # type: ignore[arg-type]


def refused(data: bytes, media: str = "", **limits: object) -> str:
    with pytest.raises(Error) as caught:
        read(data, media, **limits)
    assert caught.value.code == "INVALID_INPUT"
    assert caught.value.details[0]["path"] == "image"
    return str(caught.value.details[0]["reason"])


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGB"), ("PNG", "L"), ("PNG", "RGBA"), ("WEBP", "RGB"), ("JPEG", "L")]
)
def test_images_are_what_pillow_makes_of_them(kind: str, mode: str) -> None:
    data = picture(40, 30, kind, mode)
    found = read(data)
    wanted = PIL.Image.open(io.BytesIO(data))
    assert found.size == (40, 30)
    assert found.mode == wanted.mode
    assert np.array_equal(np.asarray(found), np.asarray(wanted))
    assert found.format == kind


def test_nothing_of_the_body_is_kept() -> None:
    body = bytearray(picture(40, 30, "WEBP"))
    found = read(body)  # type: ignore[arg-type]
    body += b"x"  # a bytearray that somebody has a view on cannot grow
    assert found.getpixel((1, 1)) is not None


def test_exif_and_a_colour_profile_of_usual_size_are_kept() -> None:
    image = PIL.Image.new("RGB", (8, 8))
    exif = image.getexif()
    exif[0x010E] = "a picture"
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif, icc_profile=b"p" * 100_000)
    found = read(buffer.getvalue())
    assert found.getexif()[0x010E] == "a picture"
    assert len(found.info["icc_profile"]) == 100_000


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats_only_where_they_are_named(kind: str) -> None:
    data = picture(kind=kind)
    assert refused(data) == f"expected an image (jpeg, png, webp), got image/{kind.lower()}"
    assert read(data, f"image/{kind.lower()}").size == (12, 8)
    assert read(data, image_formats=(kind.lower(),)).size == (12, 8)
    assert "expected an image (gif)" in refused(picture(), "image/gif")


def test_a_pattern_takes_of_the_formats_those_that_match() -> None:
    assert read(picture(), "image/*").format == "PNG"
    assert refused(picture(kind="JPEG"), "image/png") == "expected an image (png), got image/jpeg"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_s_dec_01_cut_off(kind: str, part: float) -> None:
    data = picture(200, 200, kind)
    assert "cannot be read" in refused(data[: int(len(data) * part)])


def test_s_dec_01_damaged_anywhere_ends_as_a_wrong_input_or_an_image() -> None:
    for kind in ("PNG", "JPEG", "WEBP"):
        data = picture(60, 60, kind)
        for at in range(0, len(data), max(1, len(data) // 150)):
            bad = bytearray(data)
            bad[at] ^= 0xFF
            try:
                read(bytes(bad))
            except Error as error:
                assert error.code == "INVALID_INPUT"  # noqa: PT017  both ends are right, nothing else is


def test_s_dec_01_a_png_of_900_million_pixels_is_not_decoded() -> None:
    data = png(30_000, 30_000, pixels=zeros(30_000, 30_000))
    assert len(data) < 1_000_000
    started = time.process_time()
    assert "pixels (files.max_pixels)" in refused(data).replace(",", "").replace("more than 89478485 ", "")
    assert time.process_time() - started < 5


def test_s_dec_01_pixels_are_counted_before_they_are_decoded() -> None:
    data = picture(100, 100)
    assert refused(data, max_pixels=9_999) == "the image has 100 × 100 pixels, more than 9999 (files.max_pixels)"
    assert read(data, max_pixels=10_000).size == (100, 100)


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\x00\x00" + b"x" * 20}])
def test_s_dec_01_a_webp_is_measured_before_pillow_makes_room_for_it(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = picture(30, 20, "WEBP", **options)
    monkeypatch.delattr(PIL.Image, "open")
    assert refused(data, max_pixels=599) == "the image has 30 × 20 pixels, more than 599 (files.max_pixels)"
    monkeypatch.undo()
    assert read(data, max_pixels=600).size == (30, 20)


def frames(count: int, kind: str) -> bytes:
    images = [PIL.Image.new("RGB", (8, 8), (number * 60 % 256, 255 - number * 40 % 256, 0)) for number in range(count)]
    buffer = io.BytesIO()
    images[0].save(buffer, kind, save_all=True, append_images=images[1:], duration=20)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_s_dec_01_frames(kind: str) -> None:
    media = f"image/{kind.lower()}"
    assert refused(frames(2, kind), media) == "the image has more than 1 frames (files.max_frames)"
    found = read(frames(3, kind), media, max_frames=3)
    found.seek(2)
    assert abs(found.convert("RGB").getpixel((0, 0))[0] - 120) < 20  # type: ignore[index]
    assert "more than 3 frames" in refused(frames(4, kind), media, max_frames=3)


def test_s_dec_01_a_gif_of_100_000_frames() -> None:
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\x00\x00\x00\xff\xff\xff"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    started = time.process_time()
    assert "more than 1 frames" in refused(head + frame * 100_000 + b"\x3b", "image/gif")
    assert "got image/gif" in refused(head + frame * 100_000 + b"\x3b")
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"SIMPLE  =                    T" + b" " * 4_000, "bytes that are no image"),  # FITS
        (b"\x1f\x8b\x08" + zlib.compress(b"SIMPLE"), "application/gzip"),  # FITS, packed
        (b"\xff\xfe" + b"\x00" * 2_000, "bytes that are no image"),  # GD
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "bytes that are no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "application/postscript"),
        (b"\xc5\xd0\xd3\xc6" + b"\x00" * 100, "bytes that are no image"),  # EPS with a preview
        (b"8BPS\x00\x01" + b"\x00" * 100, "image/vnd.adobe.photoshop"),
        (b"\xd7\xcd\xc6\x9a" + b"\x00" * 100, "bytes that are no image"),  # WMF
        (b"II*\x00" + struct.pack("<IH", 8, 1) + struct.pack("<HHII", 277, 3, 1, 65_535) + b"\x00" * 4, "image/tiff"),
    ],
)
def test_s_dec_01_formats_that_nobody_asked_for(data: bytes, what: str) -> None:
    assert refused(data) == f"expected an image (jpeg, png, webp), got {what}"
    assert "got" in refused(data, "image/png")


def test_s_dec_01_a_tiff_of_65_535_samples() -> None:
    tags = [(256, 3, 1, 100), (257, 3, 1, 100), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
            (277, 3, 1, 65_535), (278, 3, 1, 100), (279, 4, 1, 100)]  # fmt: skip
    data = (
        b"II*\x00"
        + struct.pack("<IH", 8, len(tags))
        + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        + b"\x00" * 4
    )
    assert "cannot be read" in refused(data, "image/tiff")


def test_s_dec_01_exif_of_60_megabytes() -> None:
    data = picture(kind="JPEG")
    exif = b"Exif\x00\x00" + b"x" * 65_000
    started = time.process_time()
    assert "of metadata" in refused(data[:2] + segment(0xE1, exif) * 920 + data[2:])
    assert "of metadata" in refused(png(8, 8, chunk(b"eXIf", b"x" * 60_000_000)))
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + segment(0xFE, b"") * 2_000_000,
        b"\xff\xd8\xff\xe0" + b"\x00\x02" + b"\xff" * 8_000_000,
        b"\xff\xd8\xff\x01" + b"\xff\x01" * 4_000_000,
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", b"") * 500_000,
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
        + chunk(b"tEXt", b"") * 500_000,
        b"RIFF\x00\x00\x00\x00WEBP" + b"XMP \x00\x00\x00\x00" * 1_000_000,
    ],
    ids=["segments", "stuffing", "markers", "pixels", "texts", "webp"],
)
def test_s_dec_01_millions_of_little_pieces(data: bytes) -> None:
    started = time.process_time()
    assert "of metadata" in refused(data)
    assert time.process_time() - started < 10


def test_s_dec_01_a_colour_profile_that_grows() -> None:
    grown = zlib.compress(b"\x00" * 50_000_000, 9)
    assert len(grown) < 60_000
    assert "cannot be read" in refused(png(8, 8, chunk(b"iCCP", b"p\x00\x00" + grown), pixels=zeros(8, 8)))


def test_s_dec_01_a_text_that_grows() -> None:
    grown = zlib.compress(b"\x00" * 50_000_000, 9)
    assert "cannot be read" in refused(png(8, 8, chunk(b"zTXt", b"k\x00\x00" + grown), pixels=zeros(8, 8)))


def test_s_dec_01_pixels_that_are_more_than_said_are_not_unpacked() -> None:
    assert read(png(8, 8, pixels=zeros(30_000, 3_000))).size == (8, 8)


# -- writing ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("media", ["", "image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "F", "I"])
def test_every_kind_of_image_can_be_written(media: str, mode: str) -> None:
    data, name = write_image(PIL.Image.new(mode, (6, 4)), media, "x")
    found = PIL.Image.open(io.BytesIO(data))
    assert found.size == (6, 4)
    assert name == (media or "image/png")


def test_transparency_is_kept_where_the_format_has_it() -> None:
    image = PIL.Image.new("RGBA", (4, 4), (1, 2, 3, 0))
    assert PIL.Image.open(io.BytesIO(write_image(image, "image/webp", "x")[0])).mode == "RGBA"
    assert PIL.Image.open(io.BytesIO(write_image(image, "image/jpeg", "x")[0])).mode == "RGB"


def test_what_is_no_image_is_said() -> None:
    with pytest.raises(TypeError, match="the result is str"):
        write_image("x", "", "the result")
