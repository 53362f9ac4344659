"""FastAPI: a photograph uploaded, resized, looked at, in the thread pool as FastAPI advises for blocking work."""

import io

import PIL.Image
from fastapi import FastAPI, File

from benchmarks.upload_model import Network

app = FastAPI()
network = Network()


@app.post("/predict")
def predict(image: bytes = File()) -> list[float]:
    """Score a photograph."""
    return network([PIL.Image.open(io.BytesIO(image))])[0].tolist()
