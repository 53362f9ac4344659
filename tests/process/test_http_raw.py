"""Raw sockets against a real server: what hostile and clumsy clients send, and what is left behind."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import io
import ipaddress
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tiffin.testing import TestServer

HERE = Path(__file__).parent
HEAD = b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-type: %b\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with TestServer("services.py:Faulty", app_dir=HERE) as server:
        yield server


def connect(server: TestServer, timeout_s: float = 10.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=timeout_s)


def until(true: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def arena_bytes(server: TestServer) -> float:
    page = server.request("GET", "/metrics")[2].decode()
    return float(next(line.split()[1] for line in page.splitlines() if line.startswith("tiffin_arena_used_bytes ")))


def large_call() -> tuple[bytes, bytes]:
    """Return head and body of a call whose payload lies in the arena."""
    file = io.BytesIO()
    np.save(file, np.ones((5000, 4)))
    body = file.getvalue()
    return HEAD % (b"/total", b"application/x-npy") + b"content-length: %d\r\n\r\n" % len(body), body


SMUGGLED = b"POST /mark HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"


@pytest.mark.parametrize(
    "framing",
    [
        b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"transfer-encoding: x, chunked\r\n\r\n0\r\n\r\n",
        b"transfer-encoding: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        b"content-length: 0\r\ncontent-length: 4\r\n\r\n",
        b"content-length: +0\r\n\r\n",
        b"content-length: 0,0\r\n\r\n",
        b"content-length: 0x0\r\n\r\n",
        b"content-length : 0\r\n\r\n",
        b"content-length: 0\n\n",
        b"x: y\r\n folded\r\ncontent-length: 0\r\n\r\n",
        b"x: y\rz: w\r\ncontent-length: 0\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n0;a\rb\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n0000000000000000f\r\n0\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n1\r\nxX\r\n0\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n0\r\ncontent-length: 5\r\n\r\n",
        b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\n{}",
    ],
)
def test_a_smuggled_request_is_never_run(server: TestServer, tmp_path: Path, framing: bytes) -> None:
    marks = tmp_path / "marks"
    body = b'{"path": "%b", "seconds": 0}' % str(marks).encode()
    with connect(server) as client:
        client.sendall(HEAD % (b"/double", b"application/json") + framing + SMUGGLED % (len(body), body))
        assert client.recv(4096).startswith(b"HTTP/1.1 400 ")
        with contextlib.suppress(ConnectionResetError):
            while client.recv(4096):
                pass
    assert not marks.exists()


@pytest.mark.parametrize(
    "framing", [b"content-length: 300000000\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n12c00000\r\n"]
)
def test_a_client_that_goes_on_uploading_reads_why_it_was_refused(server: TestServer, framing: bytes) -> None:
    piece = b"x" * 1_000_000
    with connect(server) as client:
        client.sendall(HEAD % (b"/double", b"application/json") + framing)
        for _piece in range(150):
            client.sendall(piece)
        assert client.recv(4096).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_a_client_that_leaves_gives_its_part_of_the_arena_back(server: TestServer, part: float) -> None:
    head, body = large_call()
    clients = [connect(server) for _ in range(8)]
    for client in clients:
        client.sendall(head + body[: int(len(body) * part)])
    if part < 1:
        assert until(lambda: arena_bytes(server) >= 8 * len(body))
    for client in clients:
        client.close()
    assert until(lambda: arena_bytes(server) == 0)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /livez HTTP/1.1\r\n",
        b"OPTIONS /total HTTP/1.1\r\norigin: http://a\r\naccess-control-request-method: POST\r\n",
    ],
)
def test_a_body_that_nobody_wants_gives_the_arena_back(server: TestServer, head: bytes) -> None:
    body = b"x" * 100_000
    with connect(server) as client:
        client.sendall(head + b"host: localhost\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        assert client.recv(4096).startswith(b"HTTP/1.1 ")
        assert until(lambda: arena_bytes(server) == 0)


def test_payloads_of_a_killed_worker_are_read_again_and_given_back(server: TestServer) -> None:
    head, body = large_call()
    clients = [connect(server, 30.0) for _ in range(16)]
    for client in clients:
        client.sendall(head + body)
    os.kill(server.worker_pids()[0], signal.SIGKILL)
    for client in clients:
        assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")
        client.close()
    assert until(lambda: arena_bytes(server) == 0)


def test_a_client_that_ends_its_side_is_a_client_that_left(server: TestServer) -> None:
    with connect(server) as client:
        client.sendall(HEAD % (b"/wait", b"application/json") + b'content-length: 16\r\n\r\n{"seconds": 5.0}')
        time.sleep(0.05)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(4096) == b""
    page = server.request("GET", "/metrics")[2].decode()
    assert 'code="CANCELLED"' in page


def test_clients_that_connect_while_it_stops_are_answered_or_refused() -> None:
    ended: list[str] = []

    def call_until_refused(port: int) -> None:
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            try:
                connection.connect()
            except OSError as error:
                ended.append(type(error).__name__)
                return
            try:
                connection.request("POST", "/double", b'{"x": 2}', {"content-type": "application/json"})
                assert connection.getresponse().read() == b"4.0"
            except (OSError, http.client.HTTPException, AssertionError) as error:
                ended.append(f"lost: {error!r}")
                return
            finally:
                connection.close()

    with TestServer("services.py:Faulty", app_dir=HERE) as server:
        clients = [threading.Thread(target=call_until_refused, args=(server.port,)) for _ in range(8)]
        for client in clients:
            client.start()
        time.sleep(0.3)
        assert server.stop() == 0
        for client in clients:
            client.join()
    assert [end for end in ended if end.startswith("lost")] == []


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a self-signed certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, key_pem = folder / "certificate.pem", folder / "key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, key_pem


def test_tls_serves_and_plain_http_and_old_versions_are_refused(tmp_path: Path) -> None:
    pem, key = certificate(tmp_path)
    env = {"TIFFIN_HTTP_TLS_CERTIFICATE": str(pem), "TIFFIN_HTTP_TLS_KEY": str(key)}
    with TestServer("services.py:Faulty", app_dir=HERE, env=env) as server:
        trusting = ssl.create_default_context(cafile=str(pem))
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=trusting, timeout=10)
        for _call in range(2):
            connection.request("POST", "/double", b'{"x": 2}', {"content-type": "application/json"})
            assert connection.getresponse().read() == b"4.0"
        connection.request("POST", "/flood", b'{"chunks": 20}', {"content-type": "application/json"})
        assert len(connection.getresponse().read()) == 20 * 65_536
        connection.close()
        with connect(server) as plain:
            plain.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                answer = plain.recv(4096)
            assert b"HTTP/" not in answer
        old = ssl.create_default_context(cafile=str(pem))
        old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with connect(server) as client, pytest.raises((ssl.SSLError, ConnectionResetError)):
            old.wrap_socket(client, server_hostname="127.0.0.1")
        stopping = http.client.HTTPSConnection("127.0.0.1", server.port, context=trusting, timeout=10)
        stopping.request("GET", "/livez")
        assert stopping.getresponse().read() == b'{"live":true}'
        started = time.monotonic()
        assert server.stop() == 0  # an idle connection does not hold it up
        assert time.monotonic() - started < 10
        stopping.close()
