"""Files on the interactive page, in a real browser against a real server: chosen, sent, and the answer seen."""

import io
import os
import re
from pathlib import Path
from typing import Annotated, TypedDict

import PIL.Image
import pytest

import tiffin
from tests.process.test_docs_page import browser, one, send, status, text, until  # noqa: F401  browser is a fixture
from tiffin import ContentType

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

RED, BLUE = (200, 30, 30), (30, 60, 200)


class Halves(TypedDict):
    left: PIL.Image.Image
    notes: str
    sound: Annotated[bytes, ContentType("audio/wav")]


@tiffin.service
class Pictures:
    """Turns pictures."""

    @tiffin.api
    def mirror(self, image: PIL.Image.Image, times: int = 1) -> PIL.Image.Image:
        """Mirror an image, left to right."""
        return image.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT) if times % 2 else image

    @tiffin.api
    def describe(self, image: PIL.Image.Image, note: str) -> dict[str, object]:
        """Say what an image is."""
        return {"size": list(image.size), "note": note}

    @tiffin.api
    def halves(self, images: list[PIL.Image.Image]) -> Halves:
        """Cut images in two."""
        width, height = images[0].size
        return {
            "left": images[0].crop((0, 0, width // 2, height)),
            "notes": f"{len(images)} <b>given</b>",
            "sound": b"RIFF\x04\x00\x00\x00WAVE",
        }

    @tiffin.api(batchable=True, one_row=True)
    def dots(self, images: list[PIL.Image.Image]) -> list[int]:
        """Say how wide each image is."""
        return [image.width for image in images]


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A picture that is red on its left and blue on its right."""
    image = PIL.Image.new("RGB", (60, 40), RED)
    image.paste(BLUE, (30, 0, 60, 40))
    path = tmp_path_factory.mktemp("pictures") / "red and blue.png"
    image.save(path)
    return path


@pytest.fixture
def page(browser):  # noqa: F811
    with tiffin.serve(Pictures) as server:
        browser.get_log("browser")
        browser.get(f"{server.url}/docs")
        one(browser, "#method-halves")
        yield browser
        refused = "status of 400"  # the browser writes down every answer that is no success
        assert [line for line in browser.get_log("browser") if refused not in line["message"]] == []
        browser.get("about:blank")


def choose(browser, method, *paths):  # noqa: F811
    one(browser, f"#method-{method} .form-fields input[type=file]").send_keys("\n".join(str(path) for path in paths))


def body_type(browser, method, media):  # noqa: F811
    field = one(browser, f"#method-{method} .settings select")
    field.find_element("css selector", f"option[value='{media}']").click()


def write(browser, note):  # noqa: F811
    field = one(browser, "#method-describe textarea[name=note]")
    field.clear()
    field.send_keys(note)


def colour(browser, selector):  # noqa: F811
    """Return the colour near the left edge of a picture that is shown."""
    one(browser, selector)
    script = "return [...document.querySelector(arguments[0]).getContext('2d').getImageData(5, 5, 1, 1).data]"
    return tuple(browser.execute_script(script, selector))[:3]


def test_a_picture_is_chosen_sent_and_its_answer_shown(page, picture):
    choose(page, "mirror", picture)
    assert colour(page, "#method-mirror .pictures canvas") == RED
    assert "multipart/form-data" in one(page, "#method-mirror select").get_property("value")
    assert f"-F 'image=@\"{picture.name}\"'" in text(page, "#method-mirror .curl pre")
    send(page, "mirror")
    assert status(page, "mirror") == "200 OK"
    assert colour(page, "#method-mirror .answer canvas") == BLUE
    assert "60 × 40" in text(page, "#method-mirror .answer figcaption")
    assert one(page, "#method-mirror .answer canvas").size == {"width": 122, "height": 82}, "twice, and an edge"
    link = one(page, "#method-mirror .answer a.download")
    assert link.get_attribute("download") == "answer.png"
    if shot := os.environ.get("TIFFIN_TEST_SCREENSHOT"):
        page.execute_script("document.querySelector('#method-mirror').scrollIntoView()")
        Path(shot).write_bytes(page.get_screenshot_as_png())


def test_fields_go_with_the_file(page, picture):
    choose(page, "describe", picture)
    write(page, "<i>hé</i>")
    send(page, "describe")
    assert status(page, "describe") == "200 OK"
    until(lambda: '"note": "<i>hé</i>"' in text(page, "#method-describe .answer pre[aria-label]"), "the note")
    assert "[60, 40]" in text(page, "#method-describe .answer pre[aria-label]")


def test_an_answer_of_several_parts_is_shown_part_by_part(page, picture):
    choose(page, "halves", picture, picture)
    send(page, "halves")
    assert status(page, "halves") == "200 OK"
    assert colour(page, "#method-halves .parts canvas") == RED
    titles = [node.text for node in page.find_elements("css selector", "#method-halves .part h4")]
    assert titles == ["left", "notes", "sound"]
    assert text(page, "#method-halves .part pre") == "2 <b>given</b>"
    saved = [node.get_attribute("download") for node in page.find_elements("css selector", "#method-halves a.download")]
    assert saved == ["left.png", "sound.wav"]


def test_what_is_missing_is_said(page):
    assert text(page, "#method-mirror .hint") == "Choose a file for image."
    body_type(page, "dots", "image/*")
    assert text(page, "#method-dots .hint") == "Choose a file."


def test_a_picture_alone_is_a_body_of_its_own(page, picture):
    assert "image/* (the file alone)" in text(page, "#method-dots .fields")
    assert "application/json (files in base64)" in text(page, "#method-dots .fields")
    assert text(page, "#method-dots dt small") == "required", "one image a call: no rows"
    body_type(page, "dots", "image/*")
    one(page, "#method-dots .try > label > input[type=file]").send_keys(str(picture))
    send(page, "dots")
    assert status(page, "dots") == "200 OK"
    until(lambda: text(page, "#method-dots .answer pre[aria-label]") == "60", "the width")


def test_an_answer_goes_when_another_body_is_chosen_and_the_button_says_what_it_does(page, picture):
    button = "#method-dots .actions button:last-of-type"
    assert text(page, button) == "Clear"
    choose(page, "dots", picture)
    send(page, "dots")
    assert status(page, "dots") == "200 OK"
    assert one(page, "#method-dots .answer").is_displayed()
    body_type(page, "dots", "application/json")
    assert not one(page, "#method-dots .answer").is_displayed()
    assert text(page, "#method-describe .actions button:last-of-type") == "Example"


def test_the_curl_line_sends_the_same(page, picture):
    choose(page, "describe", picture)
    write(page, "it's")
    line = text(page, "#method-describe .curl pre")
    assert "content-type" not in line
    assert re.search(r"--form-string 'note=it'\\''s'", line)


def test_a_file_that_is_no_picture_is_refused_by_the_server_and_not_shown(page, tmp_path):
    path = tmp_path / "evil.png"
    path.write_bytes(b"<script>window.pwned = 1</script>")
    choose(page, "mirror", path)
    send(page, "mirror")
    assert status(page, "mirror").startswith("400")
    until(lambda: "bytes that are no image" in text(page, "#method-mirror .answer pre[aria-label]"), "the reason")
    assert not page.find_elements("css selector", "#method-mirror canvas")
    assert page.execute_script("return window.pwned") is None


def test_the_pictures_of_the_tests_are_what_they_seem(picture):
    assert PIL.Image.open(io.BytesIO(picture.read_bytes())).getpixel((5, 5)) == RED
