"""S-FETCH-02 and S-FETCH-05, where they are decided: which texts are URLs, which addresses are public."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.codecs.addresses import is_public
from tiffin.codecs.urls import Refused, Url, named, read_redirect, read_url

GOOD = {
    "http://files.example.com/a.png": ("http", "files.example.com", 80, "/a.png"),
    "HTTPS://Files.Example.COM/A?b=c&d=%20/?": ("https", "files.example.com", 443, "/A?b=c&d=%20/?"),
    "https://a.b": ("https", "a.b", 443, "/"),
    "https://xn--bcher-kva.example:8443/": ("https", "xn--bcher-kva.example", 8443, "/"),
    "http://8.8.8.8/x": ("http", "8.8.8.8", 80, "/x"),
    "http://[2606:4700::1111]:80/x": ("http", "2606:4700::1111", 80, "/x"),
    "http://a.b/@127.0.0.1/:80//x": ("http", "a.b", 80, "/@127.0.0.1/:80//x"),
    "http://_dmarc.1a.b-c.d/": ("http", "_dmarc.1a.b-c.d", 80, "/"),
}

# S-FETCH-02: spellings of inner addresses. The second field says whether the grammar or the list of ranges refuses it.
SPELLINGS = [
    ("127.1", "grammar"),
    ("127.0.1", "grammar"),
    ("0x7f000001", "grammar"),
    ("0x7F.0.0.1", "grammar"),
    ("0x7f.0x0.0x0.0x1", "grammar"),
    ("2130706433", "grammar"),
    ("0177.0.0.1", "grammar"),
    ("017700000001", "grammar"),
    ("127.0.0.01", "grammar"),
    ("127.0.0.1.", "grammar"),
    ("127.0.0.256", "grammar"),
    ("1.2.3.4.5", "grammar"),
    ("0", "grammar"),
    ("example.0x7f000001", "grammar"),
    ("a.0x", "grammar"),
    ("localhost", "grammar"),
    ("localhost.", "grammar"),
    ("LOCALHOST", "grammar"),
    ("metadata", "grammar"),
    ("files.example.com.", "grammar"),
    ("a..b", "grammar"),
    (".a.b", "grammar"),
    ("-a.b", "grammar"),
    ("a-.b", "grammar"),
    ("a" * 64 + ".b", "grammar"),
    (".".join(["a" * 50] * 6), "grammar"),
    ("①②⑦.0.0.1", "grammar"),
    ("１２７.0.0.1", "grammar"),
    ("127。0。0。1", "grammar"),
    ("127%2e0.0.1", "grammar"),
    ("%31%32%37.0.0.1", "grammar"),
    ("lo\u00adcalhost.a", "grammar"),
    ("bücher.example", "grammar"),
    ("[::ffff:127.0.0.1]", "grammar"),
    ("[0:0:0:0:0:0:0:1]", "grammar"),
    ("[::0001]", "grammar"),
    ("[64:ff9b::127.0.0.1]", "grammar"),
    ("[fe80::1%lo]", "grammar"),
    ("[fe80::1%25lo]", "grammar"),
    ("[::1", "grammar"),
    ("::1", "grammar"),
    ("[127.0.0.1]", "grammar"),
    ("[v1.a]", "grammar"),
    ("[]", "grammar"),
    ("", "grammar"),
    ("0.0.0.0", "range"),
    ("0.1.2.3", "range"),
    ("10.0.0.1", "range"),
    ("100.64.0.1", "range"),
    ("100.100.100.200", "range"),
    ("127.0.0.1", "range"),
    ("127.255.255.254", "range"),
    ("168.63.129.16", "range"),
    ("169.254.169.254", "range"),
    ("172.16.0.1", "range"),
    ("172.31.255.255", "range"),
    ("192.0.0.9", "range"),
    ("192.0.0.192", "range"),
    ("192.0.2.1", "range"),
    ("192.88.99.1", "range"),
    ("192.168.0.1", "range"),
    ("198.18.0.1", "range"),
    ("198.19.255.255", "range"),
    ("198.51.100.1", "range"),
    ("203.0.113.1", "range"),
    ("224.0.0.1", "range"),
    ("239.255.255.255", "range"),
    ("240.0.0.1", "range"),
    ("255.255.255.255", "range"),
    ("[::]", "range"),
    ("[::1]", "range"),
    ("[::7f00:1]", "range"),
    ("[::ffff:7f00:1]", "range"),
    ("[::ffff:808:808]", "range"),
    ("[::ffff:0:7f00:1]", "range"),
    ("[64:ff9b::7f00:1]", "range"),
    ("[64:ff9b::808:808]", "range"),
    ("[64:ff9b:1::7f00:1]", "range"),
    ("[100::1]", "range"),
    ("[2001::7f00:1]", "range"),
    ("[2001:0:4136:e378:8000:63bf:80ff:fffe]", "range"),
    ("[2001:2::1]", "range"),
    ("[2001:10::1]", "range"),
    ("[2001:20::1]", "range"),
    ("[2001:db8::1]", "range"),
    ("[2002:7f00:1::1]", "range"),
    ("[2002:808:808::1]", "range"),
    ("[3fff::1]", "range"),
    ("[4000::1]", "range"),
    ("[5f00::1]", "range"),
    ("[fc00::1]", "range"),
    ("[fd00::1]", "range"),
    ("[fd00:ec2::254]", "range"),
    ("[fe80::1]", "range"),
    ("[fec0::1]", "range"),
    ("[ff02::1]", "range"),
    ("[ff0e::1]", "range"),
]

# S-FETCH-05: what two readers of URLs read in two ways, and what is no URL to fetch at all.
DIFFERENTIALS = [
    "http://ok.example\\@127.0.0.1/",
    "http://ok.example\\.127.0.0.1/",
    "http:\\\\127.0.0.1/",
    "http:/\\127.0.0.1/",
    "http://ok.example#@127.0.0.1/",
    "http://ok.example/#x",
    "http://127.0.0.1\\.ok.example/",
    "http://ok.example?@127.0.0.1/",
    "http://ok.example;@127.0.0.1/",
    "http://user@ok.example/",
    "http://user:password@ok.example/",
    "http://@ok.example/",
    "http://:@ok.example/",
    "http://ok.example:80@127.0.0.1:80/",
    "http://127.0.0.1:80:80/",
    "http://ok.example:/",
    "http://ok.example:0/",
    "http://ok.example:080/",
    "http://ok.example:+80/",
    "http://ok.example:٨٠/",
    "http://ok.example:65536/",
    "http://ok.example:80 /",
    "http://ok.example: 80/",
    "http://ok.example:99999999999/",
    "http://ok.example\t/",
    "http://ok.ex\tample/",
    "ht\ntp://ok.example/",
    "http://ok.example/\r\nHost: 127.0.0.1",
    "http://ok.example/a b",
    "http://ok.example/%",
    "http://ok.example/%zz",
    "http://ok.example/\x00",
    "http://ok.example/\u2028",
    "http://ok.example/é",
    "http://ok.example,127.0.0.1/",
    "http://ok.example&127.0.0.1/",
    "http://[::1]ok.example/",
    "http://ok.example[::1]/",
    "http://{ok}.example/",
    " http://ok.example/",
    "http://ok.example/ ",
    "http:///ok.example/",
    "http:ok.example/",
    "http:/ok.example/",
    "//ok.example/",
    "ok.example/a.png",
    "",
    "http://",
    "http",
    "file:///etc/hostname",
    "file://ok.example/x",
    "data:image/png;base64,AAAA",
    "ftp://ok.example/x",
    "gopher://ok.example/x",
    "unix:///run/x.sock",
    "http+unix://ok.example/x",
    "jar:http://ok.example/x",
    "URL:http://ok.example/",
    "javascript://ok.example/x",
    "http://ok.example/" + "a" * 8_192,
]


@pytest.mark.parametrize("text", GOOD)
def test_a_plain_url_is_read(text):
    url = read_url(text)
    assert (url.scheme, url.host, url.port, url.target) == GOOD[text]
    assert read_url(str(url)) == url


@pytest.mark.parametrize(("host", "by"), SPELLINGS)
def test_s_fetch_02_no_spelling_of_an_inner_address_passes(host, by):
    for text in (f"http://{host}/", f"https://{host}:443/x"):
        if by == "grammar":
            with pytest.raises(Refused):
                read_url(text)
        else:
            url = read_url(text)
            assert url.literal
            assert not is_public(url.host)


@pytest.mark.parametrize("text", DIFFERENTIALS)
def test_s_fetch_05_what_two_readers_read_in_two_ways_is_refused(text):
    with pytest.raises(Refused) as caught:
        read_url(text)
    assert str(caught.value).isascii() or "…" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("http://user:password@ok.example/", "must not carry a user name or password"),
        ("http://ok.example/#@127.0.0.1", "must not have a fragment"),
        ("http://ok.example/\u00e9", r"must not contain '\\xe9'"),
        ("ftp://ok.example/", "the scheme 'ftp' is not fetched"),
        ("http://127.1/", "four decimal numbers"),
        ("http://[::0001]/", "shortest form"),
        ("http://localhost/", "a full name"),
    ],
)
def test_the_reason_says_what_to_mend(text, reason):
    with pytest.raises(Refused, match=reason):
        read_url(text)


@pytest.mark.parametrize(
    "text", ["127.1", "localhost", "", "fe80::1%lo", "2606:4700::1111%1", "8.8.8.8:80", "[::1]", "08.8.8.8"]
)
def test_what_is_no_plain_address_is_not_public(text):
    assert not is_public(text)


@pytest.mark.parametrize("text", ["8.8.8.8", "1.1.1.1", "100.128.0.1", "172.32.0.1", "198.20.0.1", "223.255.255.255"])
def test_public_ipv4_addresses_are_public(text):
    assert is_public(text)


@pytest.mark.parametrize("text", ["2606:4700:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888", "2003::1"])
def test_public_ipv6_addresses_are_public(text):
    assert is_public(text)


def in_network(network):
    first, last = int(network.network_address), int(network.broadcast_address)
    return st.integers(first, last).map(type(network.network_address))


NON_GLOBAL_V4 = st.sampled_from(
    [ipaddress.IPv4Network(host) for host in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
    )]
).flatmap(in_network)  # fmt: skip
NON_GLOBAL_V6 = st.sampled_from(
    [ipaddress.IPv6Network(host) for host in (
        "::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:db8::/32", "2002::/16",
        "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    )]
).flatmap(in_network)  # fmt: skip


def spellings_v4(address):
    number = int(address)
    a, b, c, d = address.packed
    return st.sampled_from([
        str(address), str(number), hex(number), f"{number:#o}", f"0{number:o}", f"{a}.{number & 0xFFFFFF}", f"{a}.{b}.{c << 8 | d}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"{a:03}.{b:03}.{c:03}.{d:03}", f"{address}.",
        f"[::ffff:{address}]", f"[::ffff:{a << 8 | b:x}:{c << 8 | d:x}]", f"[64:ff9b::{a << 8 | b:x}:{c << 8 | d:x}]",
        f"[2002:{a << 8 | b:x}:{c << 8 | d:x}::1]", f"[::{address}]", f"[::{a << 8 | b:x}:{c << 8 | d:x}]",
        str(address).translate({ord("0") + n: ord("０") + n for n in range(10)}),
        str(address).replace(".", "%2e"), str(address).replace(".", "。"), f"x@{address}", f"ok.example\\@{address}",
    ])  # fmt: skip


def spellings_v6(address):
    return st.sampled_from([
        f"[{address}]", f"[{address.exploded}]", f"[{str(address).upper()}]", f"[{address}%lo]", f"[{address}%25lo]", str(address),
    ])  # fmt: skip


def passes(host: str) -> bool:
    """Tell whether a fetch would connect to this host by its text alone."""
    try:
        url = read_url(f"http://{host}/")
    except Refused:
        return False
    assert url.literal, f"{host} was taken for a name, and a resolver might make an address of it"
    return is_public(url.host)


@given(NON_GLOBAL_V4.flatmap(spellings_v4))
def test_s_fetch_02_any_inner_ipv4_address_in_any_spelling_is_refused(host):
    assert not passes(host)


@given(NON_GLOBAL_V6.flatmap(spellings_v6))
def test_s_fetch_02_any_inner_ipv6_address_in_any_spelling_is_refused(host):
    assert not passes(host)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_nothing_that_python_calls_not_global_is_public(address):
    assert not is_public(str(address)) or (address.is_global and not address.is_multicast)


@given(st.text(alphabet=st.sampled_from("http://ok.example127[]:@\\#?%&/ \t\r\n\0é。"), max_size=40))
def test_what_is_read_reads_the_same_again_and_holds_no_line_end(text):
    try:
        url = read_url(f"http://{text}")
    except Refused:
        return
    assert read_url(str(url)) == url
    assert str(url).isascii()
    assert str(url).isprintable()


BASE = Url("https", "a.example", 443, "/x/y?z", literal=False)


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("/other", "https://a.example/other"),
        ("other", "https://a.example/x/other"),
        ("../other?q=1", "https://a.example/other?q=1"),
        ("//b.example/c", "https://b.example/c"),
        ("https://b.example:444", "https://b.example:444/"),
    ],
)
def test_a_redirect_leads_where_it_says(location, leads_to):
    assert str(read_redirect(BASE, location)) == leads_to


@pytest.mark.parametrize(
    "location",
    [
        "", "http://a.example/x", "ftp://a.example/", "unix:/x", "gopher://a.example/", "//user@b.example/", "//127.1/", "///x",
        "https://b.example\\@127.0.0.1/", "/a b", "/\r\nx: y", "/é", "https://[::1", "//[x]/", "#x", "//b.example:0/", "https:",
    ],
)  # fmt: skip
def test_s_fetch_03_a_redirect_is_read_as_strictly_as_a_url(location):
    with pytest.raises(Refused):
        read_redirect(BASE, location)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/a/b.png?x=y/z", "b.png"),
        ("/a/", ""),
        ("/", ""),
        ("/b%C3%BC.txt", "bü.txt"),
        ("/%2e%2e", ""),
        ("/..", ""),
        ("/a%2fb", ""),
        ("/a%5cb", ""),
        ("/a%00b", ""),
        ("/a%0ab", ""),
        ("/%ff", ""),
        ("/" + "a" * 256, ""),
    ],
)
def test_a_file_name_is_the_plain_last_part_of_the_path(target, name):
    assert Url("http", "a.example", 80, target, literal=False).file_name == name


@pytest.mark.parametrize(
    ("host", "patterns", "found"),
    [
        ("a.example", ("a.example",), True),
        ("b.a.example", ("a.example",), False),
        ("b.a.example", ("*.a.example",), True),
        ("c.b.a.example", ("*.a.example",), True),
        ("a.example", ("*.a.example",), False),
        ("evila.example", ("*.a.example", "a.example"), False),
        ("a.example.evil", ("a.example", "*.example"), False),
        ("2606:4700::1", ("[2606:4700::1]",), True),
        ("a.example", (), False),
    ],
)
def test_a_list_of_hosts_names_whole_names(host, patterns, found):
    assert named(host, patterns) is found
