"""S-FETCH-01 and files by URL through a running server: in this process, and in a network of the tests' own (see `fetch_world`)."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import tiffin
from tests.process.fetch_outside import World, made_world
from tests.process.fetch_services import Pictures
from tests.process.fetch_world import GOOD, PUBLIC
from tests.unit.codecs.forms import form, part, picture
from tiffin.config.parts import Config, FetchConfig

pytestmark = pytest.mark.timeout(180)

world = pytest.fixture(scope="module")(made_world)
ON = {"TIFFIN_FETCH_ENABLED": "true", "TIFFIN_FETCH_CONNECT_TIMEOUT_S": "20"}
INSIDE = [
    "http://169.254.169.254/latest/meta-data", "http://127.0.0.1/picture/1/1", "http://10.0.0.1/x", "http://[::1]/x",
    "http://inner.example/picture/1/1", "http://mixed.example/x", "http://127.1/x", "http://localhost/x",
    "file:///etc/hostname", "ftp://good.example/x", "data:image/png;base64,AAAA",
]  # fmt: skip


class Canary:
    """Counts the connections to an address of this machine."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.seen = 0
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        try:
            while True:
                self.listener.accept()[0].close()
                self.seen += 1
        except OSError:
            return


@pytest.fixture
def canary() -> Iterator[Canary]:
    made = Canary()
    yield made
    made.listener.close()


@pytest.mark.parametrize("enabled", [False, True])
def test_s_fetch_01_no_url_of_a_client_leads_to_this_machine(canary: Canary, enabled: bool) -> None:
    config = Config(fetch=FetchConfig(enabled=enabled, ports=(80, 443, canary.port)))
    urls = [
        f"http://127.0.0.1:{canary.port}/x", f"http://localhost:{canary.port}/x", f"HTTP://127.1:{canary.port}/",
        "file:///etc/hostname", "data:image/png;base64,AAAA",
    ]  # fmt: skip
    with tiffin.serve(Pictures, config=config) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        for url in urls:
            for answer in (
                client.post("/size", json={"image": url}),
                client.post("/rows", json={"images": url}),
                client.post("/several", json={"images": [url], "docs": []}),
                client.post("/size", files={"image": (None, url)}),
                client.post("/rows", files={"images": (None, url)}),
            ):
                assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_INPUT")
            assert client.post("/note", json={"text": url}).text == url  # a text is a text, as ever
        assert client.post("/size", files={"image": picture()}).json() == [12, 8]
    assert canary.seen == 0
    socket.create_connection(("127.0.0.1", canary.port)).close()  # it does count
    while not canary.seen:
        time.sleep(0.01)


def as_json(path: str, **fields: Any) -> dict[str, str]:
    return {"path": path, "body": json.dumps(fields).encode().hex(), "type": "application/json"}


def as_form(path: str, *parts: bytes) -> dict[str, str]:
    content_type, body = form(*parts)
    return {"path": path, "body": body.hex(), "type": content_type}


def both(path: str, name: str, url: str) -> list[dict[str, str]]:
    return [as_json(path, **{name: url}), as_form(path, part(name, url.encode()))]


def ask(world: World, *requests: dict[str, str], what: str = "ask") -> Any:
    report = world.tell({"server": what, "requests": requests})
    assert report["leaks"] == 0
    return report.get("answers", report)


def test_s_fetch_01_while_it_is_off_a_server_asks_and_connects_to_nothing(world: World) -> None:
    before = world.tell({"server": "start", "env": {}})
    urls = [*INSIDE, "http://good.example/picture/3/2", f"http://{GOOD}/picture/3/2"]
    requests = [request for url in urls for request in (*both("/size", "image", url), *both("/rows", "images", url))]
    answers = ask(world, *requests)
    assert [answer["status"] for answer in answers] == [400] * len(requests)
    after = world.tell({"server": "stop"})
    for counted in ("connections", "questions"):
        assert after[counted] == before[counted]


def test_files_are_fetched_from_public_servers_and_from_no_others(world: World) -> None:
    world.tell({"server": "start", "env": ON})
    good = "http://good.example/picture/3/2"
    answers = ask(world, *both("/size", "image", good), *both("/rows", "images", good), as_json("/note", text=good))
    assert [answer["body"] for answer in answers] == ["[3,2]"] * 4 + [good]

    fields = [
        part("images", picture(), "own.png", "image/png"), part("images", b"http://six.example/picture/5/4"),
        part("docs", b"http://good.example/file/a.txt"), part("docs", b"mine", "b.txt", "text/plain"),
    ]  # fmt: skip
    (answer,) = ask(world, as_form("/several", *fields))
    assert json.loads(answer["body"]) == {
        "sizes": [[12, 8], [5, 4]],
        "docs": [["file a.txt", "a.txt", "image/png"], ["mine", "b.txt", "text/plain"]],
    }

    requests = [request for url in INSIDE for request in (*both("/size", "image", url), *both("/rows", "images", url))]
    answers = ask(world, *requests)
    assert [answer["status"] for answer in answers] == [400] * len(requests)
    told = json.loads(answers[0]["body"])["error"]
    assert told["message"] == "invalid input: image: the host of the URL has no public address"
    (answer,) = ask(world, as_json("/size", image="http://good.example/file/no-image"))
    assert "expected" in answer["body"] or "no image" in answer["body"]
    assert answer["status"] == 400
    report = world.tell({"server": "stop"})
    assert report["leaks"] == 0
    assert set(report["connections"]) <= set(PUBLIC)


def test_sixteen_slow_fetches_delay_no_call_and_cost_no_worker(world: World) -> None:
    pids = world.tell({"server": "start", "env": ON})["pids"]
    gate = "http://good.example/gate/7/6"
    slow = [request for _ in range(8) for request in (as_json("/size", image=gate), as_json("/rows", images=gate))]
    waiting = world.tell({"server": "begin", "requests": slow})
    until = time.monotonic() + 60
    while waiting["sent"].get("gate", 0) < len(slow):
        assert time.monotonic() < until
        waiting = world.tell({"server": "look"})
    begun = time.monotonic()
    upload = part("image", picture(), "own.png", "image/png")
    rows = part("images", picture(), "own.png", "image/png")
    fast = ask(world, *[as_form("/size", upload), as_form("/rows", rows), as_json("/note", text="x")] * 10)
    assert [answer["status"] for answer in fast] == [200] * 30  # answered while all of the others wait
    assert world.tell({"server": "look"})["answered"] == 0
    time.sleep(max(0.0, begun + 1.5 - time.monotonic()))  # longer than the run limit of the methods
    report = world.tell({"server": "open"})
    assert [json.loads(answer["body"]) for answer in report["answers"]] == [[7, 6]] * 16
    assert report["pids"] == pids
    world.tell({"server": "stop"})
