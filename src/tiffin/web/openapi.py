"""The service described for others: an OpenAPI 3.1 document, and Tiffin's own shorter /schema.json.

Owns both documents' shape; never serves them and never checks a value. Which media types a method takes and gives is asked of
`codecs.media`, so that the documents say what the edge does; msgpack, by which services call each other, is left out. Times in
seconds.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tiffin.codecs.files import gives_files, takes_files
from tiffin.codecs.media import gives, takes
from tiffin.config.parts import TrafficConfig
from tiffin.errors import FACTS, Code
from tiffin.messages.link import Media
from tiffin.spec.schema import array_text, json_schema
from tiffin.spec.service import Application, MethodSpec, Param, ServiceSpec
from tiffin.spec.types import ArrayType, BytesType, Type, one_row, table_of
from tiffin.web.example import TooLargeError, example
from tiffin.web.forms import answer_names, body_names, form, form_answer, form_example, raw_schema
from tiffin.web.meanings import MEANINGS, table

Json = dict[str, Any]

_REF = "#/components/schemas/"


def _by_status() -> dict[int, list[Code]]:
    """Return the codes that a client can see, by rising status."""
    codes: dict[int, list[Code]] = {}
    for code, facts in sorted(FACTS.items(), key=lambda item: item[1].status):
        if code is not Code.CANCELLED:
            codes.setdefault(facts.status, []).append(code)
    return codes


_BY_STATUS = _by_status()


def openapi(application: Application, base: str = "/", version: str = "", *, title: str = "") -> Json:
    """Return the OpenAPI 3.1 document of an application's entry service.

    Args:
        application: what is served. base: path prefix of the server, "/" for none.
        version: of Tiffin, shown as the API's. title: shown name; the service's own where it is "".
    """
    entry = application.entry
    definitions: Json = {}
    paths: Json = {method.route: {"post": _operation(entry, method, definitions)} for method in entry.methods}
    return {
        "openapi": "3.1.0",
        "info": {"title": title or entry.name, "version": version or "0", "description": entry.doc},
        "servers": [{"url": base or "/"}],
        "tags": [{"name": entry.name, "description": entry.doc}, {"name": "server"}],
        "paths": {**paths, **_system_paths()},
        "components": {
            "schemas": {**definitions, "tiffin.Error": _ERROR},
            "parameters": _PARAMETERS,
            "headers": _HEADERS,
            "responses": {f"Error{status}": _error_response(status, codes) for status, codes in _BY_STATUS.items()},
        },
        "x-tiffin-codes": table(),
    }


def schema(application: Application) -> Json:
    """Return Tiffin's own description of an application: methods, types as JSON Schema, batching, defaults, error codes."""
    entry = application.entry
    definitions: Json = {}
    return {
        "format": 1,
        "service": entry.name,
        "doc": entry.doc,
        "methods": [_method(entry, method, definitions) for method in entry.methods],
        "depends": sorted(entry.depends.values()),
        "definitions": definitions,
        "defaults": msgspec.to_builtins(_traffic(entry)),
        "errors": table(),
    }


def _traffic(entry: ServiceSpec) -> TrafficConfig:
    return msgspec.convert(msgspec.to_builtins(TrafficConfig()) | entry.traffic, TrafficConfig)


def _timeout_s(entry: ServiceSpec, method: MethodSpec) -> float | None:
    """Return the deadline that the method or its service names; None where the server's setting counts."""
    return method.timeout_s if method.timeout_s is not None else entry.traffic.get("timeout_s")


def _client_type(method: MethodSpec, type: Type, *, batched: bool) -> Type:
    """Return the type as a client sends or gets it: one row where the method is called with one."""
    return one_row(type, method.batch_dim) if batched and method.one_row else type


def _shown(type: Type, definitions: Json, ref: str) -> Json:
    shown = json_schema(type, definitions, ref)
    if isinstance(type, ArrayType):
        if type.shape is None:
            shown["examples"] = [[True if type.dtype == "bool" else "text" if type.dtype.startswith("str") else 1]]
    elif isinstance(type, BytesType):
        shown = {**shown, "x-tiffin-type": "bytes (base64 in JSON)"}
    elif table_of(type) is not None:
        shown = {**shown, "x-tiffin-type": "table"}
    return shown


def _param_schema(method: MethodSpec, param: Param, definitions: Json, ref: str) -> Json:
    type = _client_type(method, param.type, batched=param.batched)
    shown = _shown(type, definitions, ref)
    table = table_of(type)
    if table is not None and table.library != "series" and not table.single:
        shown["description"] = "A list of row objects, or an object of columns: both are read."
    return shown


def _body_schema(method: MethodSpec, definitions: Json, ref: str) -> Json:
    """Return the schema of a JSON body: the one parameter's own, or an object of all of them."""
    if method.whole_body:
        return _param_schema(method, method.params[0], definitions, ref)
    return {
        "type": "object",
        "properties": {param.name: _param_schema(method, param, definitions, ref) for param in method.params},
        "required": [param.name for param in method.params if param.required],
    }


def _takes(method: MethodSpec) -> list[int]:
    """Return the `Media` numbers that the method's bodies may have, the one without a header first."""
    return [number for number in takes(method) if number != Media.MSGPACK]


def _gives(method: MethodSpec) -> list[int]:
    """Return the `Media` numbers that the method can answer with, its own choice first."""
    return [number for number in gives(method) if number not in (Media.MSGPACK, -1)]


# -- the OpenAPI document --------------------------------------------------------------------------------------------------


def _operation(entry: ServiceSpec, method: MethodSpec, definitions: Json) -> Json:
    bodies = _takes(method)
    operation: Json = {
        "operationId": method.name,
        "tags": [entry.name],
        "summary": method.doc.strip().split("\n", 1)[0] or method.name,
        "description": method.doc.strip(),
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in _PARAMETERS],
        "requestBody": {
            "required": any(param.required for param in method.params),
            "content": {
                name: _body(method, number, name, definitions)
                for number, name in zip(bodies, body_names(method, bodies), strict=True)
            },
        },
        "responses": {
            "200": {
                "description": "The answer." if not method.streams else "The stream; an error after its start ends it.",
                "headers": {"x-request-id": {"$ref": "#/components/headers/x-request-id"}},
                "content": _answers(method, definitions),
            },
            **{str(status): {"$ref": f"#/components/responses/Error{status}"} for status in _BY_STATUS},
            "default": {
                "description": "An error with a code of the service's own, which starts with `app.`.",
                "content": {"application/json": {"schema": {"$ref": f"{_REF}tiffin.Error"}}},
            },
        },
        "x-tiffin": {**_facts(method), "timeout_s": _timeout_s(entry, method)},
    }
    return operation


def _facts(method: MethodSpec) -> Json:
    return {
        "kind": method.kind,
        "streams": method.streams,
        "batchable": method.batchable,
        "batch_dim": method.batch_dim if method.batchable else None,
        "one_row": method.one_row,
        "max_batch_size": method.max_batch_size if method.batchable else None,
        "max_latency_s": method.max_latency_s,
        "idempotent": method.idempotent,
    }


def _body(method: MethodSpec, number: int, name: str, definitions: Json) -> Json:
    """Return the media type object of a body."""
    if number == Media.MULTIPART:
        shown = form(method, lambda param: _param_schema(method, param, definitions, _REF))
        return {**shown, **form_example(method, _example(shown["schema"], definitions))}
    if number == Media.JSON:
        shown = _body_schema(method, definitions, _REF)
        body: Json = {"schema": shown, **_example(shown, definitions)}
        if not method.whole_body:
            body["x-tiffin-fields"] = True
            body["x-tiffin-batched"] = [param.name for param in method.params if param.batched]
        return body
    if number == Media.NPY:
        param = method.params[0]
        return _npy(_client_type(method, param.type, batched=param.batched))
    if number == Media.CSV:
        return _csv(method.params[0].type)
    if number == Media.TEXT:
        shown = _body_schema(method, definitions, _REF)
        return {"schema": shown, **_example(shown, definitions)}
    return {"schema": raw_schema(name) if takes_files(method) else _RAW}


def _example(shown: Json, definitions: Json) -> Json:
    try:
        return {"example": example(shown, definitions)}
    except TooLargeError:
        return {}


def _answers(method: MethodSpec, definitions: Json) -> Json:
    returns = _client_type(method, method.returns, batched=method.batchable)
    if method.media:
        return {method.media: {"schema": raw_schema(method.media) if gives_files(returns) else _RAW}}
    answers: Json = {}
    numbers = _gives(method)
    for number, name in zip(numbers, answer_names(returns, numbers), strict=True):
        if number == Media.MULTIPART:
            answers[name] = form_answer(returns, _shown(returns, definitions, _REF))
        elif number == Media.BYTES and gives_files(returns):
            answers[name] = {"schema": raw_schema(name)}
        elif method.streams:
            # OpenAPI 3.1 has no word for the items of a stream: the extension says it to our page, the text to people.
            answers[name] = {"schema": {"type": "string"}, "x-tiffin-item": _shown(returns, definitions, _REF)}
        elif number == Media.JSON:
            answers[name] = {"schema": _shown(returns, definitions, _REF)}
        elif number == Media.NPY:
            answers[name] = _npy(returns)
        else:
            answers[name] = {"schema": {"type": "string"} if number in (Media.TEXT, Media.CSV) else _RAW}
    return answers


def _csv(type: Type) -> Json:
    """Return the media type object of a table's CSV, with a header and one row as an example."""
    body: Json = {"schema": {"type": "string", "description": "A header, then rows; an empty cell is a missing value."}}
    row: Any = _example(_shown(one_row(table_of(type) or type), {}, _REF), {}).get("example")
    row = row if hasattr(row, "items") else {"value": row}  # a series
    names: list[str] = list(row)
    texts = [str(cell).lower() if isinstance(cell, bool) else str(cell) for cell in row.values()]
    if all(text.isprintable() and not set(text) & set(',"') for text in (*names, *texts)):
        body["example"] = f"{','.join(names)}\n{','.join(texts)}\n"
    return body


def _npy(type: Type) -> Json:
    return {
        "schema": {
            "contentMediaType": "application/x-npy",
            "description": "numpy's .npy format, little-endian, without Python objects.",
            "x-tiffin-type": array_text(type if isinstance(type, ArrayType) else ArrayType()),
        }
    }


def _error_response(status: int, codes: list[Code]) -> Json:
    headers = {"x-request-id": {"$ref": "#/components/headers/x-request-id"}}
    if status in (429, 503):
        headers["retry-after"] = {"$ref": "#/components/headers/retry-after"}
    code = codes[0]
    shown = {
        "code": code.value,
        "message": MEANINGS[code],
        "request_id": "a1b2c3-1",
        "retryable": FACTS[code].retryable,
    }
    return {
        "description": "\n\n".join(f"`{code.value}`: {MEANINGS[code]}" for code in codes),
        "headers": headers,
        "content": {
            "application/json": {"schema": {"$ref": f"{_REF}tiffin.Error"}, "example": {"error": shown}},
        },
    }


def _system_paths() -> Json:
    def path(name: str, summary: str, media: str, *, may_fail: bool = False) -> Json:
        shown: Json = {"type": "object"} if media == "application/json" else {"type": "string"}
        answer: Json = {"description": summary, "content": {media: {"schema": shown}}}
        responses: Json = {"200": answer}
        if may_fail:
            responses["503"] = {**answer, "description": "Not ready; the body says why."}
        return {
            "get": {"operationId": f"server.{name}", "tags": ["server"], "summary": summary, "responses": responses}
        }

    return {
        "/livez": path("livez", "The process lives.", "application/json"),
        "/readyz": path("readyz", "Calls are answered.", "application/json", may_fail=True),
        "/healthz": path("healthz", "The same as /readyz.", "application/json", may_fail=True),
        "/metrics": path("metrics", "Metrics in Prometheus' text format.", "text/plain"),
        "/schema.json": path("schema", "Tiffin's own description of the service.", "application/json"),
        "/openapi.json": path("openapi", "This document.", "application/json"),
    }


_RAW: Json = {"x-tiffin-type": "bytes"}
_PARAMETERS: Json = {
    "x-request-id": {
        "name": "x-request-id",
        "in": "header",
        "description": "Names the call in logs and in the answer; made up where it is missing.",
        "schema": {"type": "string", "maxLength": 128},
    },
    "tiffin-timeout-ms": {
        "name": "tiffin-timeout-ms",
        "in": "header",
        "description": "The call's deadline in milliseconds from its arrival, up to the server's longest.",
        "schema": {"type": "integer", "minimum": 1},
    },
}
_HEADERS: Json = {
    "x-request-id": {"description": "The call's name in logs.", "schema": {"type": "string"}},
    "retry-after": {"description": "Seconds after which to try again.", "schema": {"type": "integer", "minimum": 1}},
}
_ERROR: Json = {
    "type": "object",
    "description": "The body of every error.",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {
                    "anyOf": [
                        {"enum": [code.value for code in Code]},
                        {"type": "string", "pattern": "^app\\."},
                    ]
                },
                "message": {"type": "string"},
                "request_id": {"type": "string"},
                "retryable": {"type": "boolean", "description": "Whether the same call may succeed when sent again."},
                "retry_after_s": {"type": "number", "description": "Seconds after which to try again."},
                "details": {
                    "description": "More about the error, for example the path and reason of each wrong field."
                },
            },
            "required": ["code", "message", "request_id", "retryable"],
        }
    },
    "required": ["error"],
}


# -- /schema.json ----------------------------------------------------------------------------------------------------------


def _method(entry: ServiceSpec, method: MethodSpec, definitions: Json) -> Json:
    ref = "#/definitions/"
    return {
        "name": method.name,
        "route": method.route,
        "doc": method.doc,
        **_facts(method),
        "timeout_s": _timeout_s(entry, method),
        "run_limit_s": method.run_limit_s,
        "whole_body": method.whole_body,
        "takes": body_names(method, _takes(method)),
        "gives": [method.media]
        if method.media
        else answer_names(_client_type(method, method.returns, batched=method.batchable), _gives(method)),
        "params": [
            {
                "name": param.name,
                "required": param.required,
                "batched": param.batched,
                "schema": _param_schema(method, param, definitions, ref),
            }
            for param in method.params
        ],
        "returns": _shown(_client_type(method, method.returns, batched=method.batchable), definitions, ref),
    }
