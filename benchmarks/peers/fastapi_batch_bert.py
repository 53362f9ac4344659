"""FastAPI with a hand-written batcher: DistilBERT."""

import asyncio
from contextlib import asynccontextmanager

from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.models import BERT_BATCH, Bert
from benchmarks.peers.batcher import Batcher

model = Bert()


@asynccontextmanager
async def lifespan(app):
    """Run the batcher beside the app."""
    app.state.batcher = Batcher(lambda texts: model(texts).tolist(), BERT_BATCH)
    task = asyncio.create_task(app.state.batcher.run())
    yield
    task.cancel()


app = FastAPI(lifespan=lifespan)


class In(BaseModel):
    """The request."""

    text: str


@app.post("/predict")
async def predict(body: In) -> list[float]:
    """Classify one text in a batch."""
    return await app.state.batcher.call(body.text)
