"""The README's first screen, done as a newcomer does it: the file, the command, the request, the answer."""

from __future__ import annotations

import http.client
import json
import re
import shlex
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from urllib.parse import urlsplit

README = Path(__file__).resolve().parents[2] / "README.md"
TIFFIN = Path(sysconfig.get_path("scripts")) / "tiffin"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def request(port: int, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_the_first_screen_works(tmp_path: Path) -> None:
    text = README.read_text()
    code = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[0]
    serve, curl, answer = re.findall(r"^\$ (tiffin serve .*)\n\$ (curl .*)\n(.*)$", text, re.MULTILINE)[0]
    (tmp_path / "service.py").write_text(code)
    words = shlex.split(curl)
    url = urlsplit(words[-1])
    port = free_port()
    command = [str(TIFFIN), *shlex.split(serve)[1:], "--port", str(port)]
    server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        limit = time.monotonic() + 30
        status = 0
        while status != 200 and time.monotonic() < limit and server.poll() is None:
            try:
                status, _ = request(port, "GET", "/readyz")
            except OSError:
                time.sleep(0.05)
        assert server.poll() is None, server.communicate()[0]
        assert status == 200
        status, body = request(port, "POST", url.path, words[words.index("-d") + 1])
        assert (status, json.loads(body)) == (200, json.loads(answer))
        assert request(port, "GET", "/docs")[0] == 200
    finally:
        server.terminate()
        output, _ = server.communicate(timeout=20)
    assert server.returncode in (0, 128 + 15, -15), output
    assert "Traceback" not in output


def test_python_m_tiffin_is_the_same_program() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tiffin", "--help"], capture_output=True, text=True, check=False, timeout=20
    )
    assert run.returncode == 0
    assert "serve" in run.stdout
