"""FastAPI: the MLP, one row per call, on the event loop: nothing else is answered while it runs."""

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
async def predict(body: In) -> list[float]:
    """Classify one row; inline, because a thread hand-over costs more than this model."""
    return model(np.asarray([body.x], dtype=np.float32))[0].tolist()
