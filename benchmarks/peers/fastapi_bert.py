"""FastAPI: DistilBERT, one text per call, in the thread pool as FastAPI advises for blocking work (so it may use every core)."""

from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.models import Bert

app = FastAPI()
model = Bert()


class In(BaseModel):
    """The request."""

    text: str


@app.post("/predict")
def predict(body: In) -> list[float]:
    """Classify one text."""
    return model([body.text])[0].tolist()
