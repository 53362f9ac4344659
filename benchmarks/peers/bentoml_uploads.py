"""BentoML: a photograph uploaded, resized, looked at."""

import bentoml
import PIL.Image

from benchmarks.upload_model import Network


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Uploads:
    """Looks at photographs."""

    def __init__(self) -> None:
        self.network = Network()

    @bentoml.api
    def predict(self, image: PIL.Image.Image) -> list[float]:
        """Score a photograph."""
        return self.network([image])[0].tolist()
