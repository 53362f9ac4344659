"""The outgoing connection of a fetch: opened to an address, trusted by certificate, watched by the clock.

Owns its sockets' timeouts; never looks a name up and never decides where to connect. Times in seconds.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Generator

from tiffin.codecs.urls import Refused
from tiffin.config.parts import FetchConfig

Clock = Callable[[], float]


def open_socket(address: tuple[str, int], timeout: float) -> socket.socket:
    """Connect to an IP address and port; nothing is looked up.

    Raises:
        OSError: it cannot be connected to within the timeout.
    """
    opened = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM)
    try:
        opened.settimeout(timeout)
        opened.connect(address)
    except BaseException:
        opened.close()
        raise
    return opened


def trust() -> ssl.SSLContext:
    """Return the TLS settings: the system's certificate authorities, host names checked, TLS 1.2 or later."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


class Paced:
    """A connection with a last moment for everything: the end of the fetch, or when it has become too slow on average.

    Args:
        connection: connected. clock: seconds that only grow. end: of the fetch, on the clock.
        settings: how long the first bytes may take, and how slow the rest may be.
    """

    def __init__(self, connection: socket.socket, clock: Clock, end: float, settings: FetchConfig) -> None:
        self._connection = connection
        self._clock = clock
        self._end = end
        self._grace_end = clock() + settings.connect_timeout_s
        self._rate = settings.min_bytes_per_s
        self._received = 0

    def send(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            Refused: it takes too long, or the connection breaks.
        """
        with self._watched():
            self._connection.sendall(data)

    def receive(self, size: int) -> bytes:
        """Return the next bytes, at most so many; none at the end.

        Raises:
            Refused: as `send`.
        """
        with self._watched():
            data = self._connection.recv(size)
        self._received += len(data)
        return data

    @contextlib.contextmanager
    def _watched(self) -> Generator[None]:
        """Bound the one wait inside, and name what ended it."""
        left = min(self._end, self._grace_end + self._received / self._rate) - self._clock()
        if left <= 0:
            raise self._slow()
        self._connection.settimeout(left)
        try:
            yield
        except TimeoutError:
            raise self._slow() from None
        except OSError:
            raise Refused("the connection to the server of the URL broke") from None

    def _slow(self) -> Refused:
        if self._clock() >= self._end:
            return Refused("fetching the file takes too long")
        return Refused("the server of the URL is too slow")
