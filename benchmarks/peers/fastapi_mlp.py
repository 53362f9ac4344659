"""FastAPI: the MLP, one row per call, in the thread pool as FastAPI advises for blocking work."""

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.models import Mlp

app = FastAPI()
model = Mlp()


class In(BaseModel):
    """The request: 64 features."""

    x: list[float]


@app.post("/predict")
def predict(body: In) -> list[float]:
    """Classify one row."""
    return model(np.asarray([body.x], dtype=np.float32))[0].tolist()
