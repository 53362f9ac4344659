"""The URLs that may be fetched: one strict grammar, and which hosts a list of patterns names.

Owns how a URL is read; never looks a name up and never connects. What two readers could read in two ways is refused, not
mended: no other library is asked what the host is, so none can see another one. Offsets and lengths in characters.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes, urljoin

import msgspec

from tiffin.errors import TiffinError

MAX_URL = 8_192
MAX_NAME = 255  # longest file name that is taken from a URL
_DEFAULT_PORTS = {"http": 80, "https": 443}

_SHAPE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)\Z", re.DOTALL)
_SCHEME = re.compile(r"[^/?#]*:")  # a relative path must not have a colon in its first part
_STRANGE = re.compile(r"[^!-~]|[\\^`{|}<>\"]")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([1-9][0-9]{0,4}))?\Z")
_PLAIN = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})"
_TARGET = re.compile(rf"(/{_PLAIN}*)(\?(?:{_PLAIN}|\?)*)?\Z")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
# A last label that some resolvers take for a number makes an address of a name: "127.1", "0x7f000001", "10.0.0.0x1".
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")


class Refused(TiffinError):
    """A file that is not fetched; the text is the reason, fit for the client: no address and nothing that a server said."""


class Url(msgspec.Struct, frozen=True):
    """One URL, read.

    Attributes:
        scheme: "http" or "https". host: name or address in lower case, without brackets.
        port: written or by the scheme. target: path and query as sent to the server.
        literal: whether the host is an IP address.
    """

    scheme: str
    host: str
    port: int
    target: str
    literal: bool

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def file_name(self) -> str:
        """The last part of the path, decoded, or "" where that would be no plain file name."""
        last = unquote_to_bytes(self.target.partition("?")[0].rpartition("/")[2])
        try:
            name = last.decode()
        except UnicodeDecodeError:
            return ""
        plain = name.isprintable() and name not in (".", "..") and not re.search(r"[/\\]", name)
        return name if plain and len(last) <= MAX_NAME else ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def read_url(text: str) -> Url:
    """Read a URL.

    Args:
        text: all of it; nothing around it is stripped.

    Raises:
        Refused: with the reason, for the person who sent it.
    """
    if len(text) > MAX_URL:
        raise Refused(f"a URL of {len(text)} characters is too long: at most {MAX_URL}")
    strange = _STRANGE.search(text)
    if strange:
        raise Refused(f"a URL must not contain {strange[0]!a}: percent-encode it; a host name is xn--…")
    shape = _SHAPE.match(text)
    if not shape:
        raise Refused("not a URL: it must start with http:// or https://")
    scheme, authority, rest = shape[1].lower(), shape[2], shape[3]
    if scheme not in _DEFAULT_PORTS:
        raise Refused(f"a URL of the scheme {scheme[:20]!r} is not fetched: only http and https are")
    if "@" in authority:
        raise Refused("a URL must not carry a user name or password")
    if "#" in rest:
        raise Refused("a URL must not have a fragment (#…)")
    parts = _AUTHORITY.match(authority)
    if not parts:
        raise Refused("the host of the URL must be a plain name or address, and its port a number")
    target = rest if rest[:1] != "?" else ""
    if not _TARGET.match(target or "/") or (rest and not target):
        raise Refused("the path of the URL must start with / and percent-encode what is not plain")
    host = parts[1].lower()
    port = int(parts[2]) if parts[2] else _DEFAULT_PORTS[scheme]
    if port > 65_535:
        raise Refused(f"port {port} does not exist")
    literal = _check_host(host)
    return Url(scheme, host.strip("[]"), port, target or "/", literal)


def read_redirect(base: Url, location: str) -> Url:
    """Read where a redirect leads: a whole URL or one relative to `base`.

    Raises:
        Refused: as `read_url`; also where it leads from https to http.
    """
    if not location or len(location) > MAX_URL or _STRANGE.search(location):
        raise Refused("the server redirects to something that is no URL")
    scheme = _SCHEME.match(location)
    if scheme or location.startswith("//"):
        url = read_url(location if scheme else f"{base.scheme}:{location}")
    else:
        # Only a path is joined, and the result is read by the one grammar again.
        url = read_url(urljoin(str(base), location))
    if base.scheme == "https" and url.scheme != "https":
        raise Refused("a redirect from https to http is not followed")
    return url


def named(host: str, patterns: Iterable[str]) -> bool:
    """Tell whether a host is in a list: by its name, as a name below "*.…", or as an address, "[…]" where it is IPv6."""
    for pattern in patterns:
        if pattern.startswith("*."):
            if host.endswith(pattern[1:]) and len(host) >= len(pattern):
                return True
        elif host == pattern.strip("[]"):
            return True
    return False


def _check_host(host: str) -> bool:
    """Tell whether a host in lower case is an address (in its one spelling) and not a name.

    Raises:
        Refused: it is neither.
    """
    if host.startswith("["):
        try:
            address = ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise Refused("the host of the URL is no IPv6 address") from None
        if str(address) != host[1:-1]:
            raise Refused("an IPv6 address in a URL must be written in its shortest form")
        return True
    labels = host.split(".")
    if _NUMBER.match(labels[-1]):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise Refused("an address in a URL must be four decimal numbers, as in 192.0.2.1") from None
        return True
    if len(labels) < 2 or len(host) > 253 or not all(_LABEL.match(label) for label in labels):
        raise Refused("the host of the URL must be a full name such as files.example.com")
    return False
