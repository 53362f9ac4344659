"""FastAPI: sentence embeddings, in the thread pool, and with the batcher that people write by hand."""

import asyncio
from contextlib import asynccontextmanager

from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.peers.batcher import Batcher
from benchmarks.peers.minilm import encoder

model = encoder()
app = FastAPI()


class In(BaseModel):
    """The request."""

    text: str


def encode(texts):
    """Embed texts as one batch."""
    return model.encode(texts, batch_size=len(texts), show_progress_bar=False).tolist()


@app.post("/encode")
def one(body: In) -> list[float]:
    """Embed one text."""
    return encode([body.text])[0]


@asynccontextmanager
async def lifespan(app):
    """Run the batcher beside the app."""
    app.state.batcher = Batcher(encode, 64)
    task = asyncio.create_task(app.state.batcher.run())
    yield
    task.cancel()


batched = FastAPI(lifespan=lifespan)


@batched.post("/encode")
async def in_a_batch(body: In) -> list[float]:
    """Embed one text together with those that wait."""
    return await batched.state.batcher.call(body.text)
