import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from tiffin.web import pages


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def text(name):
    found = pages.asset(name)
    assert found is not None
    return found[0].decode()


def test_every_name_has_a_body_and_a_type():
    for name in pages.NAMES:
        found = pages.asset(name)
        assert found is not None
        assert found[0]
        assert "/" in found[1]


@pytest.mark.parametrize(
    "name", ["", "__init__.py", "../openapi.py", "/etc/passwd", "docs.html/", "docs.js\x00", "DOCS.HTML"]
)
def test_nothing_else_can_be_had(name):
    assert pages.asset(name) is None


def test_the_page_has_no_inline_script_or_style_and_names_only_files_beside_it():
    tags = Tags()
    tags.feed(text("docs.html"))
    assert len(tags.found) > 20
    for tag, attributes in tags.found:
        assert tag != "style"
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        if tag == "script":
            assert attributes["src"] == "docs/docs.js"
        for name in ("src", "href"):
            assert re.fullmatch(r"#?[a-z.]+(/[a-z.]+)?", attributes.get(name, "x"))


def test_script_and_style_are_named_with_their_hash():
    page = text("docs.html")
    for name in ("docs.js", "docs.css"):
        digest = base64.b64encode(hashlib.sha384(text(name).encode()).digest()).decode()
        assert f'docs/{name}" integrity="sha384-{digest}"' in page
    assert "@docs" not in page


def test_no_file_names_another_server():
    for name in pages.NAMES:
        found = text(name).replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|[\"'(]//|@import|url\(", found), name


def test_the_script_makes_no_markup_from_text():
    script = text("docs.js")
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "location.search",
        "srcdoc",
    ):
        assert word not in script, word
