"""FastAPI with a hand-written batcher: the MLP."""

import asyncio
from contextlib import asynccontextmanager

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.models import MLP_BATCH, Mlp
from benchmarks.peers.batcher import Batcher

model = Mlp()


@asynccontextmanager
async def lifespan(app):
    """Run the batcher beside the app."""
    app.state.batcher = Batcher(lambda rows: model(np.asarray(rows, dtype=np.float32)).tolist(), MLP_BATCH)
    task = asyncio.create_task(app.state.batcher.run())
    yield
    task.cancel()


app = FastAPI(lifespan=lifespan)


class In(BaseModel):
    """The request: 64 features."""

    x: list[float]


@app.post("/predict")
async def predict(body: In) -> list[float]:
    """Classify one row in a batch."""
    return await app.state.batcher.call(body.x)
