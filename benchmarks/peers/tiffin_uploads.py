"""Tiffin: a photograph uploaded, resized, looked at; batched."""

import numpy as np
import PIL.Image
import tiffin

from benchmarks.upload_model import BATCH, Network


@tiffin.service
class Uploads:
    """Looks at photographs."""

    def __init__(self) -> None:
        self.network = Network()

    @tiffin.api(batchable=True, max_batch_size=BATCH, one_row=True)
    def predict(self, image: list[PIL.Image.Image]) -> np.ndarray:
        """Score photographs."""
        return self.network(image)


@tiffin.service(threads=2)
class Threads:
    """Looks at photographs, one a call, on two threads."""

    def __init__(self) -> None:
        self.network = Network()

    @tiffin.api
    def predict(self, image: PIL.Image.Image) -> list[float]:
        """Score a photograph."""
        return self.network([image])[0].tolist()
