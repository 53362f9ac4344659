"""A made-up service as a client sees it, and a server made of a list of answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import msgspec

import tiffin
from tiffin.client.schema import ServiceSchema, read_given

IMAGES = {
    "type": "array",
    "items": {"type": "array", "items": {"type": "number"}},
    "x-tiffin-type": "array of float32 [*, 2]",
}
LOOSE = {"type": ["array", "number", "boolean"], "x-tiffin-type": "array"}
NPY = ["application/json", "application/x-npy"]
FORM = ["application/json", "multipart/form-data"]
TABLE = ["application/json", "application/vnd.apache.arrow.stream"]

ITEM = {
    "title": "Item",
    "type": "object",
    "description": "One thing.",
    "properties": {
        "name": {"type": "string"},
        "price": {"type": "number"},
        "next": {"anyOf": [{"$ref": "#/definitions/Item"}, {"type": "null"}]},
    },
    "required": ["name"],
}


def method(name: str, params: dict[str, Any] | None = None, returns: Any = None, **more: Any) -> dict[str, Any]:
    optional = more.pop("optional", ())
    return {
        "name": name,
        "route": f"/{name}",
        "params": [
            {"name": one, "required": one not in optional, "schema": schema} for one, schema in (params or {}).items()
        ],
        "returns": {"type": "integer"} if returns is None else returns,
        **more,
    }


def schema(*methods: dict[str, Any], **more: Any) -> ServiceSchema:
    return read_given({"format": 1, "service": "Shop", "methods": list(methods), "definitions": {"Item": ITEM}, **more})


METHODS = (
    method("predict", {"images": IMAGES}, IMAGES, takes=NPY, gives=NPY, doc="Double the images.\n\nEach row."),
    method(
        "both", {"left": LOOSE, "right": LOOSE, "how": {"enum": ["add", "sub"]}}, LOOSE, optional=("how",), gives=NPY
    ),
    method(
        "reprice",
        {"item": {"$ref": "#/definitions/Item"}, "factor": {"type": "number"}},
        {"$ref": "#/definitions/Item"},
    ),
    method(
        "shout",
        {"text": {"type": "string"}},
        {"type": "string"},
        whole_body=True,
        takes=["text/plain"],
        gives=["text/plain"],
    ),
    method("tokens", {"n": {"type": "integer"}}, {"type": "string"}, streams=True, gives=["text/event-stream"]),
    method("once", {"x": {"type": "integer"}}, idempotent=False),
    method("pay", {"x": {"type": "integer"}}),
    method(
        "classify",
        {
            "image": {"type": "string", "format": "binary", "x-tiffin-type": "image"},
            "label": {"type": "string"},
            "top": {"type": "integer"},
        },
        {"type": "array", "items": {"type": "string"}},
        takes=FORM,
        optional=("label", "top"),
    ),
    method("close", {"list": {"type": "array", "items": {"type": "integer"}}}, doc='It says """quoted\\" things.'),
)
SHOP = schema(*METHODS)


class Server:
    """Answers with what it was given, in order; what is an exception is raised.

    Attributes:
        requests: what came. slept: seconds that the client waited.
    """

    def __init__(self, *answers: httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.slept: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)

    def client(self, known: Any = SHOP, **options: Any) -> tiffin.SyncHTTPClient:
        client = tiffin.SyncHTTPClient("http://shop", schema=known, transport=httpx.MockTransport(self), **options)
        client._sleep = self.slept.append
        return client


def ok(value: Any) -> httpx.Response:
    return httpx.Response(200, headers={"content-type": "application/json"}, content=msgspec.json.encode(value))


def failed(
    status: int, code: str, message: str = "no", *, headers: dict[str, str] | None = None, **more: Any
) -> httpx.Response:
    said = {"code": code, "message": message, "request_id": "r-1", "retryable": False, **more}
    return httpx.Response(status, headers=headers, content=msgspec.json.encode({"error": said}))
