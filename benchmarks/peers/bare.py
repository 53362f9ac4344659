"""Two ASGI apps with no framework, the denominators: `noop` doubles a number, `npy` sums an array. No validation, routing or errors."""

import io
import json

import numpy as np

_HEADERS = [(b"content-type", b"application/json")]


async def _read(receive):
    message = await receive()
    if not message.get("more_body"):
        return message["body"]
    parts = [message["body"]]
    while message.get("more_body"):
        message = await receive()
        parts.append(message["body"])
    return b"".join(parts)


async def _answer(send, value):
    body = json.dumps(value).encode()
    headers = [*_HEADERS, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def noop(scope, receive, send):
    """Answer `{"x": 1.0}` with `{"y": 2.0}`."""
    await _answer(send, {"y": json.loads(await _read(receive))["x"] * 2})


async def npy(scope, receive, send):
    """Answer a `.npy` body with the sum of its numbers."""
    array = np.load(io.BytesIO(await _read(receive)), allow_pickle=False)
    await _answer(send, float(array.sum()))
