"""A small Internet in a network namespace: `unshare --net --mount python -m tests.process.fetch_world`.

Public addresses with file servers, inner addresses with canaries that only count, a name server whose answers change, a certificate
authority. Reads one order a line, JSON ({"settings", "urls", "trusts", "deadline_s", "concurrency"}), and writes what
happened. A server that fetches can stand in it, too (see `fetch_serving`).
"""

from __future__ import annotations

import datetime as dt
import gzip
import ipaddress
import json
import os
import resource
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.process.fetch_serving import Serving
from tests.unit.codecs.forms import picture
from tiffin.codecs.fetch import Fetcher
from tiffin.config.parts import FetchConfig
from tiffin.errors import Error

PUBLIC = ("93.184.216.34", "93.184.216.35", "2606:2800:220:1::1")
INNER = (
    "127.0.0.1", "127.0.0.2", "169.254.169.254", "10.0.0.1", "100.64.0.1", "192.0.0.192", "198.18.0.1", "192.168.1.1",
    "::1", "fd00::1", "64:ff9b::7f00:1", "2002:7f00:1::1", "fe80::1%lo",
)  # fmt: skip
GOOD, BAD, GOOD6 = PUBLIC
# Name → answers to successive questions, the last one for ever; None: no answer at all.
NAMES: dict[str, list[list[str]] | None] = {
    "good.example": [[GOOD]],
    "other.example": [[BAD]],
    "six.example": [[GOOD6]],
    "both.example": [[GOOD, GOOD6]],
    "rebind.example": [[GOOD], ["127.0.0.1"]],
    "rebind-later.example": [[GOOD], [GOOD], ["169.254.169.254"]],
    "mixed.example": [[GOOD, "127.0.0.1"]],
    "mixed6.example": [[GOOD, "::1"]],
    "inner.example": [["10.0.0.1"]],
    "meta.example": [["169.254.169.254"]],
    "nat64.example": [["64:ff9b::7f00:1"]],
    "mapped.example": [["::ffff:127.0.0.1"]],
    "sixtofour.example": [["2002:7f00:1::1"]],
    "zero.example": [["0.0.0.0"]],
    "local.example": [["fe80::1"]],
    "silent.example": None,
}
BOMB = gzip.compress(bytes(20_000_000))


class World:
    """Counts connections by address and questions by name."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connections: Counter[str] = Counter()
        self.questions: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.called = 0
        self.gate = threading.Event()  # what /gate waits for

    def leaks(self) -> int:
        """Return how many connections inner addresses ever saw, but for those that show that they listen."""
        with self.lock:
            return sum(self.connections[address] for address in INNER) - self.called

    def count(self, counter: Counter[str], key: str, by: int = 1) -> int:
        with self.lock:
            counter[key] += by
            return counter[key]

    # -- servers -----------------------------------------------------------------------------------------------------------

    def listen(self, address: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        family, _, _, _, where = socket.getaddrinfo(address, port, flags=socket.AI_NUMERICHOST)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(where)
        listener.listen(512)

        def accept() -> None:
            while True:
                connection, _ = listener.accept()
                self.count(self.connections, address)
                threading.Thread(target=self.serve, args=(connection, tls, address), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()

    def serve(self, connection: socket.socket, tls: ssl.SSLContext | None, address: str) -> None:
        # Clients that are refused cut connections in every state.
        with suppress(OSError), connection:
            connection.settimeout(20)
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
            request = b""
            while b"\r\n\r\n" not in request:
                data = connection.recv(65_536)
                if not data:
                    return
                request += data
            target = request.split(b" ")[1].decode()
            self.answer(connection, target, request, address)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)

    def answer(self, connection: socket.socket, target: str, request: bytes, address: str) -> None:
        path, _, query = target.partition("?")
        send = connection.sendall
        _, kind, *more = path.split("/")
        if kind == "file":
            body = f"file {'/'.join(more)}".encode()
            send(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        elif kind == "picture" or (kind == "gate" and self.count(self.sent, kind) and self.gate.wait(60)):
            body = picture(int(more[0]), int(more[1]))
            send(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        elif kind == "echo":
            send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request) + request)
        elif kind == "to":
            place = urllib.parse.unquote(query)
            send(f"HTTP/1.1 302 Found\r\nSet-Cookie: a=b\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())
        elif kind == "steps":
            place = f"/steps/{int(more[0]) - 1}" if more[0] != "1" else "/file/end"
            send(f"HTTP/1.1 307 Again\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())
        elif kind == "endless":
            send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                send(b"2000\r\n" + bytes(0x2000) + b"\r\n")
                self.count(self.sent, kind, 0x2000)
        elif kind == "huge":
            send(b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n")
            while True:
                send(bytes(0x2000))
                self.count(self.sent, kind, 0x2000)
        elif kind == "drip":
            send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while True:
                send(b"x")
                time.sleep(1)
        elif kind == "drip-head":
            for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: " + bytes(1_000):
                send(bytes([byte]))
                time.sleep(1)
        elif kind == "flow":
            send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
            while True:
                send(bytes(1_000))
                time.sleep(0.05)
        elif kind == "silent":
            connection.recv(1)
        elif kind == "gzip":
            length = len(BOMB)
            send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % length + BOMB)
        elif kind == "gzip-file":
            send(b"HTTP/1.1 200 OK\r\nContent-Type: application/gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB)
        elif kind == "short":
            send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")
        elif kind == "long":
            send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n0123456789")
        elif kind == "no-length":
            send(b"HTTP/1.1 200 OK\r\n\r\n0123456789")
        elif kind == "secret":
            send(f"HTTP/1.1 403 secret of {address}\r\nContent-Length: 6\r\n\r\nsecret".encode())
        else:
            send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    # -- names -------------------------------------------------------------------------------------------------------------

    def name_server(self) -> None:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 53))

        def loop() -> None:
            while True:
                query, client = server.recvfrom(4_096)
                reply = self.reply(query)
                if reply:
                    server.sendto(reply, client)

        threading.Thread(target=loop, daemon=True).start()

    def reply(self, query: bytes) -> bytes | None:
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
            at += query[at] + 1
        name, question, kind = ".".join(labels), query[12 : at + 5], query[at + 2]
        answers = NAMES.get(name, [[]])
        if answers is None:
            return None
        # Each name is asked for A and for AAAA; both belong to one lookup.
        number = self.count(self.questions, f"{name} {kind}") - 1
        records = b""
        count = 0
        for text in answers[min(number, len(answers) - 1)]:
            packed = ipaddress.ip_address(text).packed
            if len(packed) == {1: 4, 28: 16}.get(kind):
                records += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, len(packed)) + packed
                count += 1
        flags = 0x8180 if name in NAMES else 0x8183
        return query[:2] + struct.pack(">HHHHH", flags, 1, count, 0, 0) + question + records


def authority(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's settings for good.example and two addresses, and those of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "good.example")])
    now = dt.datetime.now(dt.UTC)
    names: list[x509.GeneralName] = [
        x509.DNSName("good.example"),
        x509.DNSName("six.example"),
        x509.IPAddress(ipaddress.ip_address(GOOD)),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain = folder / "cert.pem"
    private = folder / "key.pem"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, private)
    client = ssl.create_default_context(cafile=str(chain))
    return server, client


def obey(world: World, order: dict[str, Any], client: ssl.SSLContext) -> dict[str, Any]:
    """Fetch what an order says with one fetcher."""
    settings = msgspec.convert({"enabled": True, **order["settings"]}, FetchConfig)
    fetcher = Fetcher(settings, tls=client if order["trusts"] else None)
    before = {name: Counter(getattr(world, name)) for name in ("connections", "questions", "sent")}

    def fetch(url: str) -> dict[str, Any]:
        start = time.monotonic()
        outcome: dict[str, Any]
        try:
            fetched = fetcher.fetch(url, "image", start + order["deadline_s"])
            outcome = {
                "body": fetched.body[:1_000].decode("latin-1"),
                "size": len(fetched.body),
                "type": fetched.content_type,
            }
        except Error as error:
            outcome = {"code": error.code, "refused": error.message, "details": error.details}
        return {**outcome, "seconds": time.monotonic() - start}

    with ThreadPoolExecutor(order["concurrency"]) as pool:
        outcomes = list(pool.map(fetch, order["urls"]))
    time.sleep(0.05)  # a connection that was made is counted by another thread
    return {
        "outcomes": outcomes,
        "leaks": world.leaks(),
        "peak_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        **{name: dict(getattr(world, name) - earlier) for name, earlier in before.items()},
    }


def main() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in (*PUBLIC, *INNER):
        if address not in ("127.0.0.1", "127.0.0.2", "::1"):
            bare = address.partition("%")[0]
            length = 64 if "%" in address else 128 if ":" in address else 32
            subprocess.run(
                ["ip", "address", "add", f"{bare}/{length}", "dev", "lo", *(["nodad"] if ":" in bare else [])],
                check=True,
            )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        resolver = folder / "resolv.conf"
        resolver.write_text("nameserver 127.0.0.1\nsearch inner.example\noptions timeout:5 attempts:1 ndots:5\n")
        subprocess.run(["mount", "--bind", str(resolver), "/etc/resolv.conf"], check=True)
        server, client = authority(folder)
        world = World()
        for address in (*PUBLIC, *INNER):
            world.listen(address, 80)
            world.listen(address, 443, server)
        world.name_server()
        serving = Serving(world.gate)
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            order = json.loads(line)
            if "call" in order:  # shows that a canary lives
                world.called += order["call"] in INNER
                socket.create_connection((order["call"], 80), timeout=5).close()
                time.sleep(0.05)
                print(json.dumps(dict(world.connections)), flush=True)
            elif "server" in order:
                said = serving.obey(order)
                time.sleep(0.05)
                counts = {name: dict(getattr(world, name)) for name in ("connections", "questions", "sent")}
                print(json.dumps({**said, **counts, "leaks": world.leaks()}), flush=True)
            else:
                print(json.dumps(obey(world, order, client)), flush=True)
        serving.stop()
        subprocess.run(["umount", "/etc/resolv.conf"], check=True)
    os._exit(0)  # servers and lookups are threads that wait


if __name__ == "__main__":
    main()
