"""The front as the supervisor sees it: its process, its control channel, its next start.

Owns the process and the channel; never knows what the front should be told (the owner tells it all when it is ready).
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from typing import Protocol

from tiffin.config.parts import Config
from tiffin.errors import StartError
from tiffin.messages.control import FrontReady, FrontSetup, ToFront, ToSupervisor
from tiffin.server.channel import Channel
from tiffin.server.loop import Loop, Timer
from tiffin.server.processes import Child, describe_exit
from tiffin.server.report import Report
from tiffin.server.restarts import Restarts

CONTROL_VARIABLE = "TIFFIN_CONTROL_FD"
_ARGV = (
    sys.executable,
    "-P",
    "-m",
    "tiffin.server.front",
)  # -P: no file of the user's folder may stand in for a library

_LIVED_S = 1.0  # a front that lived so long is started again at once


class FrontOwner(Protocol):
    """Who is told what the front says."""

    def front_ready(self) -> None:
        """A front accepts connections and knows nothing yet."""
        ...

    def front_said(self, message: ToSupervisor) -> None:
        """The front sent a message."""
        ...

    def front_lost(self) -> None:
        """The front is gone; another one follows unless `close` was called."""
        ...


class FrontProcess:
    """Keeps one front running.

    Args:
        loop, report: what it works with. config, http, link, urls: what every front gets. owner: who is told.
        argv: what to run.
    """

    def __init__(
        self,
        loop: Loop,
        report: Report,
        config: Config,
        http: Callable[[], list[socket.socket]],
        link: socket.socket,
        urls: list[str],
        owner: FrontOwner,
        argv: tuple[str, ...] = _ARGV,
    ) -> None:
        self._loop = loop
        self._report = report
        self._config = config
        self._http = http
        self._link = link
        self._urls = urls
        self._owner = owner
        self._argv = argv
        self._restarts = Restarts(config.workers)
        self._child: Child | None = None
        self._channel: Channel | None = None
        self._timer: Timer | None = None
        self._started = 0.0
        self._ever_ready = False
        self._closed = False
        self.ready = False

    @property
    def pid(self) -> int | None:
        """Number of its process, None between two."""
        return None if self._child is None else self._child.pid

    def start(self) -> None:
        """Start a front on the sockets.

        Raises:
            OSError: no process to be had.
        """
        self._timer = None
        self._started = self._loop.clock()
        ours, theirs = socket.socketpair()
        fds = [sock.fileno() for sock in self._http()]
        env = {**os.environ, CONTROL_VARIABLE: str(theirs.fileno())}
        try:
            self._child = Child(self._loop, self._argv, env, [*fds, self._link.fileno(), theirs.fileno()], self._ended)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._channel = Channel(self._loop, ours, self._said, self._channel_closed)
        self._channel.send(FrontSetup(self._config, fds, self._link.fileno(), self._urls))

    def send(self, message: ToFront) -> None:
        """Send a message to a front that is ready; dropped otherwise, for a new front is told all when it is ready."""
        if self.ready and self._channel is not None:
            self._channel.send(message)

    def close(self) -> None:
        """Let it end: it goes when the channel closes. No other one is started."""
        self._closed = True
        self.ready = False
        if self._timer is not None:
            self._timer.cancel()
        if self._channel is not None:
            self._channel.close()

    def discard(self) -> None:
        """Kill it and reap it now."""
        self.close()
        if self._child is not None:
            self._child.discard()
            self._child = None

    def _said(self, message: ToSupervisor) -> None:
        if isinstance(message, FrontReady):
            self.ready = True
            self._ever_ready = True
            self._owner.front_ready()
        else:
            self._owner.front_said(message)

    def _channel_closed(self, reason: str) -> None:
        """The front cannot be talked to any more: whatever it is, it is over."""
        if reason:
            self._report.error(f"the front spoke nonsense: {reason}")
        self.ready = False
        if self._child is not None:
            self._child.kill()

    def _ended(self, status: int) -> None:
        self._child = None
        self.ready = False
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if not self._closed and not self._ever_ready:
            raise StartError(f"the front could not start ({describe_exit(status)})", hint="see the lines above")
        if not self._closed:
            self._report.error(f"the front died ({describe_exit(status)}); starting it again")
            now = self._loop.clock()
            pause_s = 0.0
            if now - self._started > _LIVED_S:
                self._restarts.ready()
            else:
                pause_s = self._restarts.died_in_load(now)
            self._timer = self._loop.later(pause_s, self._again)
        self._owner.front_lost()

    def _again(self) -> None:
        try:
            self.start()
        except OSError as error:  # no process or no descriptor to be had just now
            pause_s = self._restarts.died_in_load(self._loop.clock())
            self._report.error(f"the front cannot be started: {error}; again in {pause_s:g} s")
            self._timer = self._loop.later(pause_s, self._again)
