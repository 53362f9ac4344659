"""The rules of one fetch, with a resolver, a connection and a clock that a test writes."""

from __future__ import annotations

import json
import threading
from typing import Any

import msgspec
import pytest

from tests.unit.codecs.method import codec
from tiffin.codecs.fetch import MAX_TRIES, Fetched, Fetcher
from tiffin.codecs.media import JSON
from tiffin.config.parts import FetchConfig
from tiffin.errors import Error

PUBLIC, OTHER, INNER = "93.184.216.34", "2606:4700::1111", "10.0.0.1"
FILE = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 3\r\n\r\nabc"


def redirect(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


class Connection:
    """A connected socket: gives an answer, in pieces that each take a time on the clock."""

    def __init__(self, world, answer, seconds, piece):
        self.world, self.answer, self.seconds, self.piece = world, answer, seconds, piece
        self.sent, self.closed, self.timeout = b"", False, None

    def settimeout(self, seconds):
        assert seconds > 0
        self.timeout = seconds

    def sendall(self, data):
        self.sent += data

    def recv(self, size):
        if self.seconds > self.timeout:
            self.world.now += self.timeout
            raise TimeoutError
        self.world.now += self.seconds
        data, self.answer = self.answer[: self.piece], self.answer[self.piece :]
        return data

    def close(self):
        self.closed = True


class World:
    """Names, servers and time."""

    def __init__(self, settings=None, **options):
        self.now = 1_000.0
        self.names: dict[str, list[Any]] = {"a.example": [[PUBLIC]], "b.example": [[OTHER]], "in.example": [[INNER]]}
        self.answers = {}
        self.seconds, self.piece = 0.0, 65_536
        self.dead = set()
        self.lookups, self.connects, self.connections = [], [], []
        settings = settings or FetchConfig(enabled=True, schemes=("http",), **options)
        self.fetcher = Fetcher(settings, resolve=self.resolve, connect=self.connect, clock=lambda: self.now)

    def resolve(self, host, port):
        self.lookups.append((host, port))
        answers = self.names.get(host)
        if answers is None:
            raise OSError(-2, f"Name {host} not known at 10.0.0.53")
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def connect(self, address, timeout):
        self.connects.append(address)
        if address[0] in self.dead:
            raise ConnectionRefusedError(111, f"{address} refused")
        connection = Connection(self, self.answers.get(address[0], FILE), self.seconds, self.piece)
        if isinstance(connection.answer, list):
            connection.answer = connection.answer.pop(0)
        self.connections.append(connection)
        return connection

    def fetch(self, url, deadline_s=3_600.0):
        fetched = self.fetcher.fetch(url, "image", self.now + deadline_s)
        assert all(connection.closed for connection in self.connections)
        return fetched

    def refusal(self, url, deadline_s=3_600.0):
        """Return why a URL is refused; whatever the reason, it tells the field and nothing of the inside."""
        with pytest.raises(Error) as caught:
            self.fetch(url, deadline_s)
        error = caught.value
        assert (error.code, error.status) == ("INVALID_INPUT", 400)
        assert error.details[0]["path"] == "image"
        assert error.__cause__ is None
        assert error.__suppress_context__
        for inner in (PUBLIC, OTHER, INNER, "10.0.0.53", "secret", "abc"):
            assert inner not in json.dumps([error.message, error.details])
        assert all(connection.closed for connection in self.connections)
        return error.details[0]["reason"]


def test_a_file_is_fetched_with_its_type_and_name():
    world = World()
    assert world.fetch("http://A.example/x/b%20c.png?d") == Fetched(b"abc", "image/png", "b c.png")
    assert world.lookups == [("a.example", 80)]
    assert world.connects == [(PUBLIC, 80)]


def test_the_request_names_the_host_and_carries_nothing_of_ours(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:3128")
    world = World(ports=(80, 8080))
    world.fetch("http://a.example:8080/x?y=1")
    (connection,) = world.connections
    head, end = connection.sent.split(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    assert line == "GET /x?y=1 HTTP/1.1"
    names = [field.split(": ")[0] for field in fields]
    assert names == ["Host", "User-Agent", "Accept", "Accept-Encoding", "Connection"]
    assert fields[0] == "Host: a.example:8080"
    assert "Accept-Encoding: identity" in fields
    assert end == b""
    assert world.connects == [(PUBLIC, 8080)]


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/x", "http://a.example/x", "file:///etc/hostname", "data:,x", ""]
)
def test_s_fetch_01_nothing_is_looked_up_or_connected_to_while_it_is_off(url):
    world = World(FetchConfig())
    assert "not accepted" in world.refusal(url)
    assert (world.lookups, world.connects) == ([], [])


def test_s_fetch_01_a_text_that_is_a_url_stays_a_text():
    def method(self, text: str): ...

    body = b'{"text": "http://169.254.169.254/latest/meta-data"}'
    assert codec(method).decode(JSON, body) == {"text": "http://169.254.169.254/latest/meta-data"}


@pytest.mark.parametrize(
    "address", [INNER, "127.0.0.1", "::1", "::ffff:93.184.216.34", "fe80::1%lo", "64:ff9b::7f00:1", "nonsense", ""]
)
def test_s_fetch_02_a_name_that_leads_inside_is_not_connected_to(address):
    world = World()
    world.names["a.example"] = [[address]]
    assert "no public address" in world.refusal("http://a.example/")
    assert world.connects == []


def test_a_name_that_leads_inside_and_one_that_does_not_exist_look_the_same():
    world = World()
    assert world.refusal("http://in.example/") == world.refusal("http://missing.example/")


@pytest.mark.parametrize("answer", [[PUBLIC, INNER], [INNER, PUBLIC], [PUBLIC, OTHER, "::1"], []])
def test_s_fetch_04_one_inner_address_in_an_answer_refuses_all(answer):
    world = World()
    world.names["a.example"] = [answer]
    assert "no public address" in world.refusal("http://a.example/")
    assert world.connects == []


def test_s_fetch_04_a_name_is_looked_up_once_and_the_checked_address_is_used():
    world = World()
    world.names["a.example"] = [[PUBLIC], [INNER]]
    world.fetch("http://a.example/")
    assert (len(world.lookups), world.connects) == (1, [(PUBLIC, 80)])
    world.refusal("http://a.example/")
    assert (len(world.lookups), world.connects) == (2, [(PUBLIC, 80)])


def test_s_fetch_04_a_redirect_to_the_same_name_is_looked_up_and_checked_anew():
    world = World()
    world.names["a.example"] = [[PUBLIC], [INNER]]
    world.answers[PUBLIC] = redirect("/again")
    assert world.refusal("http://a.example/").startswith("redirect 1: the host of the URL has no public address")
    assert world.connects == [(PUBLIC, 80)]


def test_s_fetch_04_only_ipv6_is_fine():
    world = World()
    assert world.fetch("http://b.example/").body == b"abc"
    assert world.connects == [(OTHER, 80)]


def test_an_address_in_the_url_is_not_looked_up():
    world = World()
    world.fetch(f"http://[{OTHER}]/")
    assert (world.lookups, world.connects) == ([], [(OTHER, 80)])
    assert b"Host: [2606:4700::1111]\r\n" in world.connections[0].sent


def test_the_next_address_is_tried_where_one_does_not_answer():
    world = World()
    world.names["a.example"] = [[PUBLIC, OTHER]]
    world.dead.add(PUBLIC)
    assert world.fetch("http://a.example/").body == b"abc"
    assert world.connects == [(PUBLIC, 80), (OTHER, 80)]


def test_a_host_with_many_dead_addresses_costs_few_tries():
    world = World()
    world.names["a.example"] = [[f"93.184.216.{n}" for n in range(1, 200)]]
    world.dead.update(world.names["a.example"][0])
    assert "cannot be connected to" in world.refusal("http://a.example/")
    assert len(world.connects) == MAX_TRIES


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_and_the_first_name_kept(status):
    world = World()
    world.answers[PUBLIC] = redirect("http://b.example/y", status)
    assert world.fetch("http://a.example/x.png") == Fetched(b"abc", "image/png", "x.png")
    assert world.lookups == [("a.example", 80), ("b.example", 80)]


def test_s_fetch_03_no_more_redirects_than_allowed():
    world = World()
    world.answers[PUBLIC] = [redirect(f"/{n}") for n in range(3)] + [FILE]
    assert world.fetch("http://a.example/").body == b"abc"
    world.answers[PUBLIC] = [redirect(f"/{n}") for n in range(20)]
    assert world.refusal("http://a.example/") == "the server redirects more than 3 times"
    assert len(world.connects) == 8


def test_s_fetch_03_no_redirect_where_none_is_allowed():
    world = World(max_redirects=0)
    world.answers[PUBLIC] = redirect("/x")
    assert "more than 0 times" in world.refusal("http://a.example/")


@pytest.mark.parametrize(
    "location",
    ["http://10.0.0.1/secret", "http://in.example/secret", "http://127.1/secret", "http://a.example:81/secret", "ftp://a.example/secret",
     "gopher://a.example/secret", "unix:/secret", "file:///secret", "http://u:secret@a.example/", "", "//[::1]/secret"],
)  # fmt: skip
def test_s_fetch_03_every_redirect_is_checked_like_the_first_url(location):
    world = World()
    world.answers[PUBLIC] = redirect(location)
    assert world.refusal("http://a.example/").startswith("redirect 1: ")
    assert world.connects == [(PUBLIC, 80)]


def test_s_fetch_03_a_redirect_without_or_with_two_places_is_refused():
    world = World()
    world.answers[PUBLIC] = [redirect("/x").replace(b"Location", b"X"), redirect("/x\r\nLocation: /y")]
    assert "no URL" in world.refusal("http://a.example/")
    assert "2 fields location" in world.refusal("http://a.example/")


def test_a_list_of_hosts_holds_for_redirects_and_does_not_open_inner_addresses():
    world = World(hosts=("a.example", "in.example", "*.c.example"))
    world.fetch("http://a.example/")
    assert "not one that files are fetched from" in world.refusal("http://b.example/")
    assert "no public address" in world.refusal("http://in.example/")
    world.answers[PUBLIC] = redirect("http://b.example/")
    assert "redirect 1: the host of the URL is not one" in world.refusal("http://a.example/")
    assert world.connects == [(PUBLIC, 80)] * 2


@pytest.mark.parametrize(
    "url", ["http://a.example:22/", "http://a.example:8080/", "https://a.example/", "https://a.example:80/"]
)
def test_ports_and_schemes_that_are_not_allowed_are_not_tried(url):
    world = World()
    assert "must have the" in world.refusal(url)
    assert (world.lookups, world.connects) == ([], [])


@pytest.mark.parametrize("status", [201, 204, 206, 304, 400, 401, 403, 404, 500, 503, 101, 300])
def test_only_a_whole_file_is_an_answer_and_its_words_stay_with_the_server(status):
    world = World()
    world.answers[PUBLIC] = f"HTTP/1.1 {status} secret\r\nContent-Length: 6\r\nX: secret\r\n\r\nsecret".encode()
    assert world.refusal("http://a.example/") == f"the server answers with status {status}"


def test_s_fetch_06_a_slow_server_is_left_when_the_average_is_too_low():
    world = World(connect_timeout_s=5, min_bytes_per_s=100, timeout_s=1_000)
    world.answers[PUBLIC] = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000)
    world.seconds, world.piece = 1.0, 1
    start = world.now
    assert world.refusal("http://a.example/") == "the server of the URL is too slow"
    assert 5 <= world.now - start <= 6


def test_s_fetch_06_a_silent_server_is_left_after_the_first_wait():
    world = World(connect_timeout_s=5, timeout_s=1_000)
    world.seconds = 1e9
    start = world.now
    assert world.refusal("http://a.example/") == "the server of the URL is too slow"
    assert world.now - start == 5


@pytest.mark.parametrize(("timeout_s", "deadline_s"), [(20, 3_600), (3_600, 20)])
def test_s_fetch_06_a_fetch_ends_at_its_time_or_the_calls_deadline_however_fast_bytes_come(timeout_s, deadline_s):
    world = World(connect_timeout_s=5, min_bytes_per_s=1, timeout_s=timeout_s)
    world.answers[PUBLIC] = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000)
    world.seconds, world.piece = 1.0, 1_000
    start = world.now
    assert world.refusal("http://a.example/", deadline_s) == "fetching the file takes too long"
    assert 19 <= world.now - start <= 20


def test_s_fetch_06_the_time_holds_for_all_redirects_together():
    world = World(connect_timeout_s=5, timeout_s=8, max_redirects=20)
    world.answers[PUBLIC] = [redirect(f"/{n}") for n in range(20)]
    world.seconds = 3.0
    start = world.now
    assert world.refusal("http://a.example/") == "redirect 2: fetching the file takes too long"
    assert world.now - start <= 8


def test_s_fetch_06_nothing_starts_after_the_deadline():
    world = World()
    world.refusal(f"http://{PUBLIC}/", deadline_s=0)
    world.refusal("http://a.example/", deadline_s=-5)
    assert world.connects == []


def test_s_fetch_06_a_file_of_just_the_limit_is_taken_and_one_more_byte_is_not():
    assert World(max_bytes=3).fetch("http://a.example/").body == b"abc"
    assert "at most 2 bytes" in World(max_bytes=2).refusal("http://a.example/")


def test_a_broken_connection_is_a_reason_without_its_address(monkeypatch):
    def broken(self, size):
        raise ConnectionResetError(104, f"reset by {INNER}")

    monkeypatch.setattr(Connection, "recv", broken)
    assert World().refusal("http://a.example/") == "the connection to the server of the URL broke"


def test_a_resolver_that_hangs_does_not_hold_a_fetch_and_collects_few_threads():
    hanging = threading.Event()
    started = []

    def resolve(host, port):
        started.append(host)
        hanging.wait(30)
        return [PUBLIC]

    settings = FetchConfig(enabled=True, schemes=("http",), connect_timeout_s=0.001)
    fetcher = Fetcher(settings, resolve=resolve, connect=lambda *_: pytest.fail("connected"))
    fetcher._lookups = threading.BoundedSemaphore(3)
    try:
        for _ in range(6):
            with pytest.raises(Error, match="cannot be looked up in time"):
                fetcher.fetch("http://a.example/", "image", 1e12)
    finally:
        hanging.set()
    assert len(started) <= 3


def test_a_resolver_with_a_bug_is_not_blamed_on_the_client():
    world = World()
    world.names["a.example"] = [None]
    with pytest.raises(TypeError):
        world.fetch("http://a.example/")


def test_a_file_that_was_fetched_cannot_be_changed():
    with pytest.raises(AttributeError):
        World().fetch("http://a.example/").body = b""
    assert msgspec.structs.asdict(Fetched(b"", "", "")) == {"body": b"", "content_type": "", "name": ""}
