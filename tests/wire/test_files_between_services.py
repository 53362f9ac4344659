"""Files that one service hands to another through depends()."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import httpx
import PIL.Image
import pytest

import tiffin
from tests.unit.codecs.forms import picture
from tiffin import ContentType

Image = PIL.Image.Image


@dataclasses.dataclass
class Found:
    label: str
    crop: Image


@tiffin.service
class Tools:
    @tiffin.api
    def mirror(self, image: Image, /) -> Image:
        return image.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)

    @tiffin.api
    def small(self, image: Image, size: int) -> Annotated[Image, ContentType("image/webp")]:
        return image.resize((size, size))

    @tiffin.api
    def find(self, image: Image) -> Found:
        return Found("cat", image.crop((0, 0, 2, 2)))

    @tiffin.api(batchable=True, one_row=True)
    def widths(self, images: list[Image]) -> list[int]:
        return [image.width for image in images]

    @tiffin.api
    def length(self, doc: Path) -> int:
        return len(doc.read_bytes())

    @tiffin.api
    def as_path(self, doc: Path) -> Path:
        return doc


@tiffin.service
class Front:
    tools = tiffin.depends(Tools)

    @tiffin.api
    def through(self, image: Image, doc: Path) -> dict[str, Any]:
        tools = self.tools
        found = tools.find(image)
        return {
            "mirror": tools.mirror(image).getpixel((0, 0)) == image.getpixel((image.width - 1, 0)),
            "small": list(tools.small(image, size=3).size),
            "found": [type(found).__name__, found.label, list(found.crop.size)],
            "widths": tools.widths([image, image.resize((5, 5))]),
            "length": tools.length(doc),
        }

    @tiffin.api
    def path(self, doc: Path) -> int:
        return len(self.tools.as_path(doc).read_bytes())


@pytest.mark.timeout(60)
def test_files_pass_between_services_as_what_they_are() -> None:
    with tiffin.serve(Front) as server:
        files = {"image": picture(12, 8), "doc": b"12345"}
        answer = httpx.post(f"{server.url}/through", files=files, timeout=30, trust_env=False)
        assert answer.json() == {
            "mirror": True,
            "small": [3, 3],
            "found": ["Found", "cat", [2, 2]],
            "widths": [12, 5],
            "length": 5,
        }
        answer = httpx.post(f"{server.url}/path", files={"doc": b"1"}, timeout=30, trust_env=False)
        assert "cannot come from another service as a path" in answer.json()["error"]["message"]
