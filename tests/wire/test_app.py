"""The edge's application over a wire without a socket and a scripted engine: ids, hosts, CORS, routes, errors, streams."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.wire.support import Wire, post
from tiffin.config.parts import Config, HttpConfig, LinkConfig
from tiffin.link.arena import Arena
from tiffin.messages.link import Cancel, Data, End, Failure, Reply, Slot, Window
from tiffin.messages.port import Call, ToEngine
from tiffin.spec.service import Application, MethodSpec, Param, ServiceSpec
from tiffin.spec.types import ArrayType, FloatType, StrType
from tiffin.web.app import App
from tiffin.web.listener import Listener
from tiffin.web.protocol import Connection
from tiffin.web.respond import Responder
from tiffin.web.system import SystemPages

METHODS = (
    MethodSpec(
        name="double", route="/double", params=(Param(name="x", type=FloatType()),), returns=FloatType(), timeout_s=5.0
    ),
    MethodSpec(
        name="total",
        route="/total",
        params=(Param(name="a", type=ArrayType(dtype="float32", shape=(None, 2)), batched=True),),
        returns=FloatType(),
        batchable=True,
    ),
    MethodSpec(
        name="talk", route="/talk", kind="generator", params=(Param(name="x", type=FloatType()),), returns=StrType()
    ),
)
APPLICATION = Application(services=(ServiceSpec(name="Maths", target="m:Maths", methods=METHODS),))


class Bench:
    def __init__(self, *, arena: Arena | None = None, published: bool = True, **http: Any) -> None:
        self.sent: list[ToEngine] = []
        self.now = 50.0
        self.refusals: list[tuple[int, str]] = []
        self.responder = Responder()
        self.responder.connect(self)
        self.ready = {"ready": True, "reason": ""}
        config = Config(http=HttpConfig(**http))
        pages = SystemPages(
            lambda: self.ready,
            lambda _accept: (b"metric 1\n", "text/plain"),
            docs=True,
            prefix=config.http.path_prefix,
            version="1",
        )
        self.app = App(config, self, self.responder, pages, lambda: self.now, self.refused)
        if published:
            self.app.publish(APPLICATION)
        listener = Listener(config.http, LinkConfig(arena_threshold_bytes=64), self.app, arena, lambda: self.now)
        self.connection = Connection(listener)
        self.wire = Wire()
        self.connection.connection_made(self.wire)

    def refused(self, method: int, code: str) -> None:
        self.refusals.append((method, code))

    def send(self, message: ToEngine) -> None:
        self.sent.append(message)

    def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        self.wire.sent = b""
        self.connection.data_received(request)
        return self.answer()

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        head, _, body = self.wire.sent.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return (int(first.split()[1]) if first else 0), headers, body

    def call(self) -> Call:
        message = self.sent[-1]
        assert isinstance(message, Call)
        return message

    def error(self, request: bytes) -> dict[str, Any]:
        status, _headers, body = self.ask(request)
        error = json.loads(body)["error"]
        return {"status": status, **error}


def get(path: str, extra: str = "", method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n".encode()


def test_a_call_carries_its_body_its_deadline_and_its_id() -> None:
    bench = Bench()
    bench.ask(post("/double", b'{"x": 2}', "X-Request-Id: mine-1\r\n"))
    call = bench.call()
    assert (call.method, call.rows, call.body, call.request_id) == (0, 1, b'{"x": 2}', "mine-1")
    assert call.deadline == pytest.approx(55.0)
    bench.responder.receive(Reply(call.id, b"4.0"))
    status, headers, body = bench.answer()
    assert (status, body, headers["x-request-id"], headers["content-type"]) == (
        200,
        b"4.0",
        "mine-1",
        "application/json",
    )


def test_ids_are_made_where_none_or_a_bad_one_is_given() -> None:
    bench = Bench()
    seen = set()
    for extra in ("", "X-Request-Id: \x01bad id\r\n", f"X-Request-Id: {'a' * 200}\r\n"):
        bench.ask(post("/double", b'{"x": 2}', extra.replace("\x01", "")))
        seen.add(bench.call().request_id)
        bench.responder.receive(Reply(bench.call().id, b"1"))
    assert len(seen) == 3
    assert all(" " not in id and len(id) < 40 for id in seen)


@pytest.mark.parametrize(("header", "seconds"), [("250", 0.25), ("99999999999", 3600.0)])
def test_a_client_may_ask_for_a_deadline_up_to_the_limit(header: str, seconds: float) -> None:
    bench = Bench()
    bench.ask(post("/double", b'{"x": 2}', f"Tiffin-Timeout-Ms: {header}\r\n"))
    assert bench.call().deadline == pytest.approx(50.0 + seconds)


@pytest.mark.parametrize("header", ["0", "-1", "soon", "1e3", ""])
def test_a_deadline_that_is_no_number_is_refused(header: str) -> None:
    bench = Bench()
    if not header:
        bench.ask(post("/double", b'{"x": 2}', "Tiffin-Timeout-Ms:\r\n"))
        assert bench.call().deadline == pytest.approx(55.0)
        return
    error = bench.error(post("/double", b'{"x": 2}', f"Tiffin-Timeout-Ms: {header}\r\n"))
    assert (error["status"], error["code"]) == (400, "INVALID_INPUT")
    assert header in error["message"]


def test_bad_input_names_the_field_and_reaches_no_engine() -> None:
    bench = Bench()
    error = bench.error(post("/double", b'{"x": "two"}'))
    assert (error["status"], error["code"], error["retryable"]) == (400, "INVALID_INPUT", False)
    assert error["details"][0]["path"] == "x"
    assert bench.refusals == [(0, "INVALID_INPUT")]
    assert bench.sent == []


def test_rows_are_counted() -> None:
    bench = Bench()
    bench.ask(post("/total", b'{"a": [[1, 2], [3, 4], [5, 6]]}'))
    assert bench.call().rows == 3


def test_an_upload_into_the_arena_goes_on_as_a_slot_and_a_refused_one_is_given_back() -> None:
    arena = Arena(1 << 20)
    bench = Bench(arena=arena)
    body = b'{"a": [' + b",".join([b"[1.5, 2.5]"] * 50) + b"]}"
    bench.ask(post("/total", body))
    call = bench.call()
    assert isinstance(call.body, Slot) and bytes(arena.view(call.body)) == body and call.rows == 50
    arena.free(call.body)
    bench.responder.receive(Reply(call.id, b"1"))
    assert bench.error(post("/total", b'{"a": ["' + b"x" * 100 + b'"]}'))["code"] == "INVALID_INPUT"
    assert arena.used_bytes == 0


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (get("/nothing"), 404, "NOT_FOUND"),
        (get("/double"), 405, "METHOD_NOT_ALLOWED"),
        (post("/livez"), 405, "METHOD_NOT_ALLOWED"),
        (post("/double", b"x=1", "Content-Type: application/x-www-form-urlencoded\r\n"), 415, "UNSUPPORTED_MEDIA"),
        (post("/double", b"", "Content-Type: application/x-pickle\r\n"), 415, "UNSUPPORTED_MEDIA"),
    ],
)
def test_what_cannot_be_served_says_why(request_bytes: bytes, status: int, code: str) -> None:
    bench = Bench()
    error = bench.error(request_bytes)
    assert (error["status"], error["code"]) == (status, code)
    assert error["message"] and error["request_id"]
    assert bench.sent == []
    assert [found for _method, found in bench.refusals] == [code]


def test_a_404_names_the_methods_and_405_what_is_allowed() -> None:
    bench = Bench()
    assert "/double" in bench.error(get("/nothing"))["message"]
    assert bench.ask(get("/double"))[1]["allow"] == "POST"


def test_before_the_spec_only_system_pages_answer_and_never_404() -> None:
    bench = Bench(published=False)
    status, headers, body = bench.ask(post("/double", b"{}"))
    assert (status, headers["retry-after"]) == (503, "1")
    assert json.loads(body)["error"]["code"] == "STARTING"
    assert bench.ask(get("/livez"))[0] == 200
    assert bench.ask(get("/openapi.json"))[0] == 503


def test_readiness_follows_the_engine() -> None:
    bench = Bench()
    assert bench.ask(get("/readyz"))[0] == 200
    bench.ready = {"ready": False, "reason": "frozen"}
    status, _headers, body = bench.ask(get("/readyz"))
    assert (status, json.loads(body)["reason"]) == (503, "frozen")


def test_queries_and_percent_encoding_find_the_same_route() -> None:
    bench = Bench()
    assert bench.ask(get("/livez?probe=1"))[0] == 200
    assert bench.ask(get("/%6Civez"))[0] == 200
    assert bench.ask(get("/livez/"))[0] == 404
    assert bench.ask(get("/..//livez"))[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil", "127.0.0.1.evil:3000", "a/x?", "[", "", "a b"])
def test_a_foreign_host_name_is_refused_on_loopback(host: str) -> None:
    status, _headers, _body = Bench().ask(f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert status in (400, 421)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:3000", "127.0.0.1:3000", "[::1]:3000", "127.8.8.8"])
def test_loopback_names_are_answered(host: str) -> None:
    assert Bench().ask(f"GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())[0] == 200


def test_allowed_hosts_are_the_only_ones() -> None:
    bench = Bench(host="0.0.0.0", allowed_hosts=("models.example",))
    assert bench.ask(b"GET /livez HTTP/1.1\r\nHost: models.example:80\r\n\r\n")[0] == 200
    assert bench.ask(b"GET /livez HTTP/1.1\r\nHost: other.example\r\n\r\n")[0] == 421
    assert Bench(host="0.0.0.0").ask(b"GET /livez HTTP/1.1\r\nHost: any.example\r\n\r\n")[0] == 200


def test_a_path_prefix_moves_every_route() -> None:
    bench = Bench(path_prefix="/ml")
    assert bench.ask(get("/ml/livez"))[0] == 200
    assert bench.ask(get("/livez"))[0] == 404
    bench.ask(post("/ml/double", b'{"x": 1}'))
    assert bench.call().method == 0


PREFLIGHT = "Origin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n"


def test_cors_is_off_by_default() -> None:
    status, headers, _body = Bench().ask(get("/double", PREFLIGHT, "OPTIONS"))
    assert status == 403
    assert not [name for name in headers if name.startswith("access-control")]
    assert "access-control-allow-origin" not in Bench().ask(get("/livez", "Origin: https://app.example\r\n"))[1]


def test_cors_answers_the_origins_that_are_configured() -> None:
    bench = Bench(cors_origins=("https://app.example",), cors_credentials=True)
    status, headers, _body = bench.ask(get("/double", PREFLIGHT, "OPTIONS"))
    assert (status, headers["access-control-allow-origin"], headers["vary"]) == (204, "https://app.example", "origin")
    assert headers["access-control-allow-credentials"] == "true"
    assert "content-type" in headers["access-control-allow-headers"]
    bench.ask(post("/double", b'{"x": 1}', "Origin: https://app.example\r\n"))
    bench.responder.receive(Reply(bench.call().id, b"1"))
    assert bench.answer()[1]["access-control-allow-origin"] == "https://app.example"
    for origin in ("https://evil.example", "null"):
        assert "access-control-allow-origin" not in bench.ask(get("/livez", f"Origin: {origin}\r\n"))[1]


def test_a_wildcard_never_goes_with_credentials() -> None:
    headers = Bench(cors_origins=("*",), cors_credentials=True).ask(get("/livez", "Origin: https://a.example\r\n"))[1]
    assert headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in headers


def test_a_failure_becomes_the_error_body_with_retry_after() -> None:
    bench = Bench()
    bench.ask(post("/double", b'{"x": 1}'))
    id = bench.call().id
    bench.responder.receive(Failure(id, "app.busy", "later", 503, True, 2.5, b'{"queue":9}'))
    status, headers, body = bench.answer()
    error = json.loads(body)["error"]
    assert (status, headers["retry-after"]) == (503, "3")
    assert error == {
        "code": "app.busy",
        "message": "later",
        "request_id": bench.call().request_id,
        "retryable": True,
        "retry_after_s": 2.5,
        "details": {"queue": 9},
    }


def test_a_methods_own_headers_cannot_break_the_response() -> None:
    bench = Bench()
    bench.ask(post("/double", b'{"x": 1}'))
    headers = [("X-Model", "v1"), ("X-Bad", "a\r\nSet-Cookie: x"), ("Content-Length", "1"), ("bad name", "x")]
    bench.responder.receive(Reply(bench.call().id, b"12", headers=headers, status=201))
    status, found, body = bench.answer()
    assert (status, body, found["content-length"], found["x-model"]) == (201, b"12", "2", "v1")
    assert "x-bad" not in found and "set-cookie" not in found


def test_a_stream_is_chunked_and_gives_its_window_back() -> None:
    bench = Bench()
    bench.ask(post("/talk", b'{"x": 1}', "Accept: text/event-stream\r\n"))
    id = bench.call().id
    bench.responder.receive(Data(id, b"data: a\n\n", 5))
    bench.responder.receive(Data(id, b"data: b\n\n"))
    assert bench.sent[1:] == [Window(id, 9), Window(id, 9)]
    bench.responder.receive(End(id))
    _status, headers, body = bench.answer()
    assert headers["content-type"] == "text/event-stream"
    assert body == b"9\r\ndata: a\n\n\r\n9\r\ndata: b\n\n\r\n0\r\n\r\n"


def test_a_failure_within_events_is_an_event_and_within_chunks_a_cut() -> None:
    for media, cut in ((5, False), (3, True)):
        bench = Bench()
        bench.ask(post("/talk", b'{"x": 1}'))
        id = bench.call().id
        bench.responder.receive(Data(id, b"x", media))
        bench.responder.receive(Failure(id, "METHOD_FAILED", "no", 500))
        assert bench.wire.aborted is cut
        assert (b"event: error\ndata: " in bench.wire.sent) is not cut


def test_a_client_that_leaves_cancels_its_call() -> None:
    bench = Bench()
    bench.ask(post("/double", b'{"x": 1}'))
    id = bench.call().id
    bench.connection.connection_lost(None)
    assert bench.sent[-1] == Cancel(id)
    bench.responder.receive(Reply(id, b"late"))


def test_the_docs_page_and_its_files_forbid_everything_foreign() -> None:
    bench = Bench()
    status, headers, body = bench.ask(get("/docs"))
    assert (status, headers["content-security-policy"]) == (200, "default-src 'self'")
    assert headers["content-type"].startswith("text/html")
    assert b"http://" not in body and b"https://" not in body
    assert bench.ask(get("/"))[1]["location"] == "/docs"


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://localhost/livez", "localhost", 200),
        ("HTTP://LOCALHOST/livez?x=1", "localhost", 200),
        ("http://evil.example/livez", "localhost", 400),
        ("http://localhost", "localhost", 307),
        ("//livez", "localhost", 404),
        ("/..;/livez", "localhost", 404),
        ("/%2e%2e/livez", "localhost", 404),
        ("/livez%00", "localhost", 404),
        ("/%6civez", "localhost", 200),
    ],
)
def test_routing_and_the_host_rule_see_the_same_target(target: str, host: str, status: int) -> None:
    assert Bench().ask(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())[0] == status


def test_http_1_1_needs_a_host_and_http_1_0_does_not() -> None:
    assert Bench().ask(b"GET /livez HTTP/1.1\r\n\r\n")[0] == 400
    assert Bench().ask(b"GET /livez HTTP/1.0\r\n\r\n")[0] == 200


def test_a_fault_of_our_own_is_answered_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.app._port = None  # type: ignore[assignment]
    bench.app.publish(APPLICATION)
    status, _headers, body = bench.ask(post("/double", b'{"x": 1}', "Content-Type: application/json\r\n"))
    assert (status, json.loads(body)["error"]["code"]) == (500, "INTERNAL")
    assert b"NoneType" not in body and "NoneType" in caplog.text
    assert bench.refusals == [(0, "INTERNAL")]
