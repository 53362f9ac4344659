"""FastAPI: the noop, in its fastest form (`async def`, pydantic models)."""

from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class In(BaseModel):
    """The request."""

    x: float


class Out(BaseModel):
    """The answer."""

    y: float


@app.post("/predict")
async def predict(body: In) -> Out:
    """Double a number."""
    return Out(y=body.x * 2)
