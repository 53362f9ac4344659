"""What the server in the world of `fetch_world` serves."""

from pathlib import Path
from typing import Any

import PIL.Image

import tiffin

Image = PIL.Image.Image


@tiffin.service
class Pictures:
    """Says what it was given."""

    @tiffin.api(run_limit=1.0)
    def size(self, image: Image) -> list[int]:
        """Return width and height."""
        return list(image.size)

    @tiffin.api(batchable=True, one_row=True, max_batch_size=8, run_limit=1.0)
    def rows(self, images: list[Image]) -> list[list[int]]:
        """Return width and height of each."""
        return [list(image.size) for image in images]

    @tiffin.api
    def several(self, images: list[Image], docs: list[Path]) -> dict[str, Any]:
        """Return what the files are."""
        return {
            "sizes": [list(image.size) for image in images],
            "docs": [(doc.read_text(), doc.client_name, doc.media_type) for doc in docs],  # type: ignore[attr-defined]
        }

    @tiffin.api
    def note(self, text: str) -> str:
        """Return a text, which a URL is here."""
        return text
