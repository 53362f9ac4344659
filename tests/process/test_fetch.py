"""S-FETCH-01 to S-FETCH-07 with real sockets, real lookups and real certificates, in a network of the tests' own.

Canaries listen on inner addresses: whatever a client sends, they must see no connection. Nothing can leave the namespace.
"""

from __future__ import annotations

import time
from urllib.parse import quote

import pytest

from tests.process.fetch_outside import made_world
from tests.process.fetch_world import BAD, GOOD, GOOD6, INNER, PUBLIC

world = pytest.fixture(scope="module")(made_world)


def test_the_canaries_live(world):
    for address in (*INNER, *PUBLIC):
        assert world.tell({"call": address})[address] >= 1


def test_a_file_comes_from_a_public_server(world):
    report = world.fetch(
        "http://good.example/file/a.png", "https://good.example/file/b", f"http://{GOOD}/file/c", f"https://{GOOD}/file/d",
        "http://six.example/file/e", "https://six.example/file/f", f"http://[{GOOD6}]/file/g", "http://both.example/file/h",
    )  # fmt: skip
    assert [outcome.get("body") for outcome in report["outcomes"]] == [f"file {name}" for name in ("a.png", *"bcdefgh")]
    assert report["outcomes"][0]["type"] == "image/png"


def test_a_certificate_must_be_trusted_and_be_the_hosts(world):
    reason = "the certificate of the URL's server is not valid for its host"
    assert world.refused("https://good.example/file/a", trusts=False) == [reason]
    assert world.refused("https://other.example/file/a", f"https://{BAD}/file/a") == [reason] * 2


def test_the_request_has_the_name_and_no_cookie_credential_or_proxy(world):
    place = quote("http://good.example/echo/2", safe="")
    first, second = world.fetch("http://good.example/echo/1", f"http://other.example/to?{place}")["outcomes"]
    for number, outcome in enumerate((first, second), 1):
        lines = outcome["body"].lower().splitlines()
        assert lines[:2] == [f"get /echo/{number} http/1.1", "host: good.example"]
        assert not [line for line in lines if line.startswith(("cookie", "authorization", "proxy", "referer", "via"))]


def test_s_fetch_01_while_it_is_off_nothing_is_asked_or_connected_to(world):
    urls = [
        "http://169.254.169.254/latest/meta-data",
        "http://good.example/file/a",
        "file:///etc/hostname",
        "data:text/plain,x",
    ]
    report = world.fetch(*urls, enabled=False)
    assert (report["connections"], report["questions"]) == ({}, {})
    assert all("not accepted" in outcome["refused"] for outcome in report["outcomes"])


def test_s_fetch_02_no_spelling_of_an_inner_address_is_connected_to(world):
    hosts = [
        "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "127.0.0.1", "127.0.0.2", "0.0.0.0", "0", "[::]", "[::1]",
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::1]", "localhost",
        "localhost.", "LOCALHOST", "①②⑦.0.0.1", "127。0。0。1", "10.0.0.1", "100.64.0.1", "192.0.0.192", "198.18.0.1",
        "192.168.1.1", "169.254.169.254", "224.0.0.1", "255.255.255.255", "[fd00::1]", "[fe80::1]", "[fe80::1%lo]",
        "[fe80::1%25lo]", "[ff02::1]", "good.example.",
    ]  # fmt: skip
    report = world.fetch(*(f"{scheme}://{host}/file/x" for host in hosts for scheme in ("http", "https")))
    assert all("refused" in outcome for outcome in report["outcomes"])
    assert (report["connections"], report["questions"]) == ({}, {})


def test_s_fetch_02_no_name_of_an_inner_address_is_connected_to(world):
    names = ["inner", "meta", "nat64", "mapped", "sixtofour", "zero", "local"]
    report = world.fetch(*(f"http://{name}.example/file/x" for name in names), "http://missing.example/file/x")
    assert report["connections"] == {}
    reasons = {outcome["refused"] for outcome in report["outcomes"]}
    assert reasons == {"invalid input: image: the host of the URL has no public address"}
    assert {f"{name}.example 1" for name in names} <= set(report["questions"])


def test_s_fetch_02_search_domains_do_not_complete_a_name(world):
    report = world.fetch("http://good.example/file/x", "http://files.default/file/x")
    assert set(report["questions"]) == {
        f"{name} {kind}" for name in ("good.example", "files.default") for kind in (1, 28)
    }


@pytest.mark.parametrize(
    "place",
    ["http://127.0.0.1/file/x", "http://169.254.169.254/x", "//10.0.0.1/x", "http://inner.example/x", "https://[::1]/x",
     "http://127.1/", "http://2130706433/", "http://good.example\\@127.0.0.1/", "http://u:p@good.example/file/x",
     "gopher://127.0.0.1:80/x", "ftp://good.example/x", "unix:/run/x", "file:///etc/hostname", "http://good.example:22/"],
)  # fmt: skip
def test_s_fetch_03_a_redirect_inside_is_refused(world, place):
    report = world.fetch(f"http://other.example/to?{quote(place, safe='')}")
    assert report["outcomes"][0]["details"][0]["reason"].startswith("redirect 1: ")
    assert report["connections"] == {BAD: 1}


def test_s_fetch_03_three_redirects_are_followed_and_twenty_are_not(world):
    report = world.fetch("http://good.example/steps/3")
    assert report["outcomes"][0]["body"] == "file end"
    assert report["connections"] == {GOOD: 4}
    report = world.fetch("http://good.example/steps/20")
    assert "redirects more than 3 times" in report["outcomes"][0]["refused"]
    assert report["connections"] == {GOOD: 4}


def test_s_fetch_03_from_https_to_http_is_refused_and_the_other_way_followed(world):
    down, up = quote("http://good.example/file/x", safe=""), quote("https://good.example/file/x", safe="")
    assert world.refused(f"https://good.example/to?{down}") == [
        "redirect 1: a redirect from https to http is not followed"
    ]
    assert world.fetch(f"http://good.example/to?{up}")["outcomes"][0]["body"] == "file x"


def test_s_fetch_04_the_checked_address_is_connected_to_and_the_name_not_asked_again(world):
    report = world.fetch("http://rebind.example/file/x")
    assert report["outcomes"][0]["body"] == "file x"
    assert report["questions"] == {"rebind.example 1": 1, "rebind.example 28": 1}
    assert world.refused("http://rebind.example/file/x") == ["the host of the URL has no public address"]


def test_s_fetch_04_a_name_that_changes_between_redirects_is_refused(world):
    report = world.fetch("http://rebind-later.example/steps/3")
    assert report["outcomes"][0]["details"][0]["reason"] == "redirect 2: the host of the URL has no public address"
    assert report["connections"] == {GOOD: 2}


def test_s_fetch_04_one_inner_address_among_public_ones_refuses_the_host(world):
    report = world.fetch("http://mixed.example/file/x", "http://mixed6.example/file/x")
    assert all("no public address" in outcome["refused"] for outcome in report["outcomes"])
    assert report["connections"] == {}


@pytest.mark.parametrize(
    "url",
    ["http://good.example\\@127.0.0.1/file/x", "http://good.example#@127.0.0.1/file/x", "http://127.0.0.1\\.good.example/file/x",
     "http://127.0.0.1#.good.example/file/x", "http://good.example?@127.0.0.1/file/x", "http://good.example@127.0.0.1/file/x",
     "http://good.example:80@127.0.0.1/file/x", "http://127.0.0.1@good.example/file/x", "http://good.example\t/file/x",
     "http://good.example/file/x\r\nHost: 127.0.0.1", "\nhttp://good.example/file/x", "http:\\\\good.example/file/x",
     "http://good.example:80:80/file/x", "http://good.example /file/x", "http:good.example/file/x"],
)  # fmt: skip
def test_s_fetch_05_what_two_readers_read_in_two_ways_is_refused(world, url):
    report = world.fetch(url)
    assert "refused" in report["outcomes"][0]
    assert (report["connections"], report["questions"]) == ({}, {})


def test_s_fetch_06_bodies_without_end_are_cut_off_at_the_limit(world):
    report = world.fetch("http://good.example/endless", "http://good.example/huge", max_bytes=1_000_000)
    assert all("at most 1000000 bytes" in outcome["refused"] for outcome in report["outcomes"])
    assert report["sent"]["endless"] < 20_000_000  # what was under way in the kernel's buffers
    assert report["sent"].get("huge", 0) < 20_000_000


def test_s_fetch_06_slow_servers_are_left(world):
    paths = ["drip", "drip-head", "silent"]
    report = world.fetch(*(f"http://good.example/{path}" for path in paths), connect_timeout_s=0.5, timeout_s=60)
    assert {outcome["details"][0]["reason"] for outcome in report["outcomes"]} == {"the server of the URL is too slow"}
    assert all(0.4 < outcome["seconds"] < 10 for outcome in report["outcomes"])


@pytest.mark.parametrize("limits", [{"timeout_s": 1}, {"timeout_s": 60, "deadline_s": 1}])
def test_s_fetch_06_a_fetch_ends_in_time_although_bytes_keep_coming(world, limits):
    report = world.fetch("http://good.example/flow", **limits)
    assert report["outcomes"][0]["details"][0]["reason"] == "fetching the file takes too long"
    assert 0.9 < report["outcomes"][0]["seconds"] < 10


def test_s_fetch_06_a_resolver_that_does_not_answer_holds_no_fetch(world):
    report = world.fetch("http://silent.example/file/x", connect_timeout_s=0.5)
    assert report["outcomes"][0]["details"][0]["reason"] == "the host of the URL cannot be looked up in time"
    assert report["outcomes"][0]["seconds"] < 4


def test_s_fetch_06_nothing_is_inflated(world):
    refused, taken = world.fetch("http://good.example/gzip", "http://good.example/gzip-file", max_bytes=100_000)[
        "outcomes"
    ]
    assert "compressed" in refused["refused"]
    assert (taken["type"], taken["body"][:2]) == ("application/gzip", "\x1f\x8b")
    assert taken["size"] < 100_000


def test_s_fetch_06_wrong_lengths_are_refused(world):
    reasons = world.refused(*(f"http://good.example/{path}" for path in ("short", "long", "no-length")))
    assert [
        "ended the connection" in reasons[0],
        "more than the length" in reasons[1],
        "does not say" in reasons[2],
    ] == [True] * 3


def test_an_answer_that_is_no_file_keeps_its_words(world):
    assert world.refused("http://good.example/secret", "http://good.example/none") == [
        "the server answers with status 403",
        "the server answers with status 404",
    ]


def test_s_fetch_07_good_and_bad_fetches_at_the_same_time_do_not_touch_each_other(world):
    bad = [
        "http://127.0.0.1/file/x", "http://inner.example/file/x", "http://mixed.example/file/x", "http://good.example@127.0.0.1/file/x",
        f"http://good.example/to?{quote('http://169.254.169.254/file/x', safe='')}", "http://good.example/short", "http://[::1]/file/x",
    ]  # fmt: skip
    good = [
        "http://good.example/file/{}",
        "https://good.example/file/{}",
        f"http://{GOOD}/file/{{}}",
        "http://six.example/file/{}",
    ]
    urls = [good[n // 2 % len(good)].format(n) if n % 2 else bad[n // 2 % len(bad)] for n in range(400)]
    start = time.monotonic()
    outcomes = world.fetch(*urls, concurrency=200, connect_timeout_s=20)["outcomes"]
    for number, outcome in enumerate(outcomes):
        if number % 2:
            assert outcome.get("body") == f"file {number}", (urls[number], outcome)
        else:
            assert "refused" in outcome, (urls[number], outcome)
    assert time.monotonic() - start < 60


def test_s_fetch_07_fetchers_of_different_settings_do_not_share_them(world):
    assert world.refused("http://good.example/file/x", hosts=["other.example"])
    assert world.fetch("http://good.example/file/x", hosts=["*.example"])["outcomes"][0]["body"] == "file x"
    assert world.refused("http://good.example/file/x", enabled=False)
    assert world.fetch("http://good.example/file/x")["outcomes"][0]["body"] == "file x"
