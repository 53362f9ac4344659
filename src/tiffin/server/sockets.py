"""The sockets that outlive every front: HTTP and the workers' link.

Owns how they are opened, and the answer to "who has that port"; never accepts a connection.
"""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from tiffin.errors import StartError

_LISTEN = "0A"
_MAX_PATH_BYTES = 100  # the kernel's limit is 107; "link.sock" and a separator come on top of the folder
LINK_NAME = "link.sock"


def open_http(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Listen on every address that the host name stands for.

    Args:
        host: name or address, "" for all. port: 0 takes a free one, the same for all addresses. backlog: accept queue.

    Raises:
        StartError: the name is unknown, the port is taken (and by whom) or not allowed.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise StartError(
            f"http.host {host!r} is unknown: {error.strerror}", hint="use an address of this machine, such as 127.0.0.1"
        ) from error
    opened: list[socket.socket] = []
    try:
        for family, kind, protocol, _name, address in dict.fromkeys(found):
            sock = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
            opened.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # Else the two of "localhost" or of "all addresses" would be in each other's way.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address[0], port, *address[2:]))
            sock.listen(backlog)
            port = sock.getsockname()[1]
    except OSError as error:
        for sock in opened:
            sock.close()
        raise _refused(host, port, error) from error
    return opened


def open_link(folder: Path) -> socket.socket:
    """Listen on the Unix socket of the workers, in a folder that only this user can enter.

    Raises:
        StartError: it cannot be made there.
    """
    path = folder / LINK_NAME
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.bind(str(path))
        sock.listen(128)
    except OSError as error:
        sock.close()
        raise StartError(f"cannot make the socket {path}: {error.strerror}") from error
    return sock


def make_runtime_folder() -> Path:
    """Make a new folder that only this user can enter, for the sockets of one run.

    Raises:
        StartError: no place to make it in.
    """
    name = f"tiffin-{os.getpid()}-{os.urandom(4).hex()}"
    tried: list[str] = []
    for parent in (os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("TMPDIR"), "/tmp"):  # noqa: S108 - the folder is private
        if not parent or len(os.fsencode(parent)) + len(name) + len(LINK_NAME) + 2 > _MAX_PATH_BYTES:
            continue
        try:
            _sweep(Path(parent))
            (Path(parent) / name).mkdir(mode=0o700)
        except OSError as error:
            tried.append(f"{parent}: {error.strerror}")
            continue
        return Path(parent) / name
    raise StartError(
        "no folder for the workers' socket: " + ("; ".join(tried) or "every path is too long"),
        hint="set TMPDIR to a short path of a folder that can be written",
    )


def remove_runtime_folder(folder: Path) -> None:
    """Remove the folder of a run and the socket in it."""
    try:
        (folder / LINK_NAME).unlink(missing_ok=True)
        folder.rmdir()
    except OSError:  # somebody put something there; it is a temporary folder
        pass


def _sweep(parent: Path) -> None:
    """Remove our folders of runs that were killed."""
    for folder in parent.glob("tiffin-*-????????"):
        pid = folder.name.split("-")[1]
        try:
            if pid.isdigit() and not Path(f"/proc/{pid}").exists() and folder.stat().st_uid == os.getuid():
                remove_runtime_folder(folder)
        except OSError:  # gone in between
            continue


def _refused(host: str, port: int, error: OSError) -> StartError:
    """Return what to tell about an address that the kernel does not give us."""
    if error.errno == errno.EADDRINUSE:
        return StartError(
            f"port {port} on {host or 'this machine'} is taken by {holder(port)}",
            hint=f"stop it, or choose another port: --port {port + 1 if port < 65535 else 0}",
        )
    if error.errno == errno.EACCES:
        return StartError(
            f"port {port} is not allowed: {error.strerror}", hint="choose a port from 1024 on, for example --port 3000"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return StartError(
            f"http.host {host!r} is no address of this machine", hint="use one that is, such as 127.0.0.1 or 0.0.0.0"
        )
    return StartError(f"cannot listen on {host!r} port {port}: {error.strerror}")


def holder(port: int) -> str:
    """Return who listens on a TCP port, for people: command and pid."""
    inodes = _listeners(port)
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            for fd in (process / "fd").iterdir():
                if str(fd.readlink()) in inodes:
                    command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                    return f"{command[:100] or process.name} (pid {process.name})"
        except OSError:  # another user's, or it ended while we looked
            continue
    return "a process of another user (its name can be seen as root: ss -ltnp)"


def _listeners(port: int) -> set[str]:
    """Return the sockets that listen on a port, as they read in /proc/PID/fd."""
    found: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:  # no IPv6
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found
