"""Files that clients send as a URL: fetched from public addresses only, within limits.

Owns the one outgoing connection that an input can cause; never caches, never sends a credential, takes no proxy from the
environment. A fetch shares nothing with another one but the settings. Times in seconds on the given clock, sizes in bytes.

One fetch:  read the URL → is it allowed? → look its host up, once → is every address public? → connect to one of those
            → TLS for the name → GET → an answer, or a redirect: from the start again, at most `max_redirects` times
"""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from tiffin.codecs.addresses import is_public, look_up
from tiffin.codecs.connection import Clock, Paced, open_socket, trust
from tiffin.codecs.http_answer import Answer
from tiffin.codecs.reasons import invalid
from tiffin.codecs.urls import Refused, Url, named, read_redirect, read_url
from tiffin.config.parts import FetchConfig
from tiffin.version import VERSION

Resolve = Callable[[str, int], Sequence[str]]
Connect = Callable[[tuple[str, int], float], socket.socket]

MAX_TRIES = 4  # addresses of one host that are tried, one after the other
MAX_LOOKUPS = 64  # at the same time; one cannot be stopped, so a resolver that hangs must not collect threads
_REDIRECTS = (301, 302, 303, 307, 308)
# One reason for a name that does not exist and for one that leads inside, so that nobody learns inner names by asking.
_NOT_PUBLIC = "the host of the URL has no public address"


class Fetched(msgspec.Struct, frozen=True):
    """A file that was fetched.

    Attributes:
        body: all of it, as sent. content_type: media type as the server calls it, lower case, "" where it says none;
            a claim, like a client's. name: last part of the path of the URL that the client sent, "" for none; for display only.
    """

    body: bytes
    content_type: str
    name: str


class Fetcher:
    """Fetches files by URL; may be used by any number of threads.

    Args:
        settings: limits and what is allowed; nothing is fetched where they are not `enabled`.
        resolve: host name and port → addresses. connect: address and timeout → connected socket.
        clock: seconds that only grow. tls: settings of https; by default `trust()`.
    """

    def __init__(
        self,
        settings: FetchConfig,
        *,
        resolve: Resolve = look_up,
        connect: Connect = open_socket,
        clock: Clock = time.monotonic,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._resolve = resolve
        self._connect = connect
        self._clock = clock
        self._lookups = threading.BoundedSemaphore(MAX_LOOKUPS)
        self._tls = tls
        if tls is None and settings.enabled and "https" in settings.schemes:
            self._tls = trust()

    def fetch(self, url: str, path: str, deadline: float) -> Fetched:
        """Return the file that a URL leads to. Blocks; to be called on a thread.

        Args:
            url: as the client sent it. path: of the field that holds it, for errors.
            deadline: of the call, on the clock; the settings' `timeout_s` holds too.

        Raises:
            Error: INVALID_INPUT with the path and the reason.
        """
        try:
            return self._fetch(url, min(deadline, self._clock() + self._settings.timeout_s))
        except Refused as refused:
            raise invalid(path, str(refused)) from None

    def _fetch(self, text: str, end: float) -> Fetched:
        if not self._settings.enabled:
            raise Refused("a URL is not accepted here: send the file itself")
        first = read_url(text)
        following = self._get(first, end)
        for redirect in range(1, self._settings.max_redirects + 1):
            if isinstance(following, Fetched):
                break
            try:
                following = self._get(read_redirect(*following), end)
            except Refused as refused:
                raise Refused(f"redirect {redirect}: {refused}") from None
        if not isinstance(following, Fetched):
            raise Refused(f"the server redirects more than {self._settings.max_redirects} times")
        return msgspec.structs.replace(following, name=first.file_name)

    def _get(self, url: Url, end: float) -> Fetched | tuple[Url, str]:
        """Return the file, or the URL and where its server redirects to."""
        self._permit(url)
        addresses = self._addresses(url, end)
        with contextlib.closing(self._open(addresses, url, end)) as opened:
            connection = Paced(opened, self._clock, end, self._settings)
            connection.send(_request(url))
            answer = Answer(connection.receive)
            head = answer.head()
            if head.status in _REDIRECTS:
                return url, head.one("location")
            if head.status != 200:
                raise Refused(f"the server answers with status {head.status}")
            return Fetched(answer.body(head, self._settings.max_bytes), head.media_type, "")

    def _permit(self, url: Url) -> None:
        """Refuse what the settings do not allow."""
        settings = self._settings
        if url.scheme not in settings.schemes:
            raise Refused(f"a URL must have the scheme {' or '.join(settings.schemes)}")
        if url.port not in settings.ports:
            raise Refused(f"a URL must have the port {' or '.join(map(str, settings.ports))}")
        if settings.hosts and not named(url.host, settings.hosts):
            raise Refused("the host of the URL is not one that files are fetched from")

    def _addresses(self, url: Url, end: float) -> list[str]:
        """Return the addresses of a host, every one of them public; the only lookup of this hop."""
        found = [url.host] if url.literal else self._look_up(url, end)
        # One inner address among public ones is an attack or an accident: the host is not used at all.
        if not found or not all(is_public(address) for address in found):
            raise Refused(_NOT_PUBLIC)
        return found

    def _look_up(self, url: Url, end: float) -> list[str]:
        """Look a name up on a thread of its own, because nothing else bounds the time of the system's resolver."""
        end = min(end, self._clock() + self._settings.connect_timeout_s)
        answers: queue.SimpleQueue[Sequence[str] | Exception] = queue.SimpleQueue()

        def run() -> None:
            try:
                answers.put(self._resolve(url.host, url.port))
            except Exception as error:  # carried to the thread that waits for it, whatever it is
                answers.put(error)
            finally:
                self._lookups.release()

        if not self._lookups.acquire(timeout=max(end - self._clock(), 0)):
            raise Refused("the host of the URL cannot be looked up in time")
        try:
            threading.Thread(target=run, name="tiffin-lookup", daemon=True).start()
        except BaseException:
            self._lookups.release()
            raise
        try:
            answer = answers.get(timeout=max(end - self._clock(), 0))
        except queue.Empty:
            raise Refused("the host of the URL cannot be looked up in time") from None
        if isinstance(answer, OSError | UnicodeError):
            raise Refused(_NOT_PUBLIC)
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    def _open(self, addresses: Sequence[str], url: Url, end: float) -> socket.socket:
        """Connect to one of the checked addresses, with TLS for the name where the URL has https."""
        opened = None
        for address in addresses[:MAX_TRIES]:
            left = min(end - self._clock(), self._settings.connect_timeout_s)
            if left <= 0:
                break
            with contextlib.suppress(OSError):  # the next one may answer; none is told apart to the client
                opened = self._connect((address, url.port), left)
                break
        if opened is None:
            raise Refused("the server of the URL cannot be connected to")
        if url.scheme != "https":
            return opened
        try:
            return self._encrypted(opened, url, end)
        except BaseException:
            opened.close()
            raise

    def _encrypted(self, opened: socket.socket, url: Url, end: float) -> socket.socket:
        if self._tls is None:
            raise Refused("https is not set up")
        opened.settimeout(max(min(end - self._clock(), self._settings.connect_timeout_s), 0.001))
        try:
            return self._tls.wrap_socket(opened, server_hostname=url.host)
        except ssl.SSLCertVerificationError:
            raise Refused("the certificate of the URL's server is not valid for its host") from None
        except (OSError, ValueError):
            raise Refused("no secure connection to the server of the URL") from None


def _request(url: Url) -> bytes:
    """Return the request; the grammar of URLs leaves nothing in it that could end a line."""
    return (
        f"GET {url.target} HTTP/1.1\r\nHost: {url.authority}\r\nUser-Agent: tiffin/{VERSION}\r\nAccept: */*\r\n"
        "Accept-Encoding: identity\r\nConnection: close\r\n\r\n"
    ).encode("ascii")
