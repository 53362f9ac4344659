"""Files through a whole server: sent as clients send them, gone when the call has ended, however it ended."""

import asyncio
import ctypes
import http.client
import io
import os
import socket
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import PIL.Image
import pytest

import tiffin
from tests.unit.codecs.forms import form, part, picture, png, zeros
from tiffin.config.parts import Config, HttpConfig
from tiffin.testing.server import TestServer

Image = PIL.Image.Image

pytestmark = pytest.mark.timeout(120)


class Gate:
    """What the tests and the service's methods tell each other."""

    entered = threading.Semaphore(0)
    go_on = threading.Event()


@tiffin.service(traffic={"timeout_s": 30})
class Files:
    """Does everything with files."""

    @tiffin.api
    def size(self, image: Image) -> list[int]:
        return list(image.size)

    @tiffin.api
    def copy(self, doc: Path) -> Path:
        return doc

    @tiffin.api
    def names(self, docs: list[Path], note: str = "") -> dict[str, Any]:
        return {"client": [doc.client_name for doc in docs], "own": [doc.name for doc in docs], "note": note}  # type: ignore[attr-defined]

    @tiffin.api
    def fail(self, doc: Path) -> int:
        raise RuntimeError(f"{doc.stat().st_size} bytes")

    @tiffin.api
    def leave(self, doc: Path) -> int:
        raise SystemExit(3)

    @tiffin.api(batchable=True, one_row=True, max_batch_size=8)
    def rows(self, docs: list[Path]) -> list[str]:
        texts = [doc.read_text() for doc in docs]
        if "bad" in texts:
            raise ValueError("bad")
        return texts

    @tiffin.api(batchable=True, one_row=True, max_batch_size=8)
    def sizes(self, images: list[Image]) -> list[list[int]]:
        return [list(image.size) for image in images]

    @tiffin.api
    def stream(self, doc: Path) -> Iterator[str]:
        for _ in range(3):
            yield doc.read_text()
        if doc.read_text() == "wait":
            Gate.entered.release()
            while True:
                yield "x" * 10_000

    @tiffin.api
    async def slow(self, doc: Path) -> str:
        text = await asyncio.to_thread(doc.read_text)
        Gate.entered.release()
        await asyncio.sleep(20 if text == "wait" else 0)
        return text

    @tiffin.api
    async def events(self, doc: Path) -> AsyncIterator[str]:
        yield await asyncio.to_thread(doc.read_text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder for temporary files of this process."""
    place = tmp_path_factory.mktemp("uploads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(place))
        yield place


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with tiffin.serve(Files, config=Config(http=HttpConfig(max_body_bytes=200_000_000))) as server:
        yield server.url


@pytest.fixture
def client(url: str, folder: Path) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as one:
        yield one
    until_empty(folder)


def until_empty(folder: Path) -> None:
    end = time.monotonic() + 20
    while list(folder.glob("tiffin-upload-*")):
        assert time.monotonic() < end, "temporary files are left"
        time.sleep(0.02)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_large_upload_comes_through_the_arena_and_back(client: httpx.Client) -> None:
    data = os.urandom(20_000_000)
    answer = client.post("/copy", files={"doc": ("big.bin", data)})
    assert answer.content == data
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.post("/copy", content=data, headers={"content-type": "application/octet-stream"}).content == data


def test_names_are_told_and_not_used(client: httpx.Client) -> None:
    names = ["../../x.png", "a b.csv", "c:\\windows\\y.bin"]
    answer = client.post("/names", files=[("docs", (name, b"1", "text/csv")) for name in names], data={"note": "é"})
    assert answer.json() == {"client": ["x.png", "a b.csv", "y.bin"], "own": ["0.csv", "1.csv", "2.csv"], "note": "é"}


@pytest.mark.parametrize("path", ["/fail", "/leave"])
def test_files_go_when_the_method_raises(path: str, client: httpx.Client) -> None:
    assert code(client.post(path, files={"doc": b"12345"})) == (500, "METHOD_FAILED")


def test_files_go_with_batches_and_their_bisections(client: httpx.Client, url: str) -> None:
    answers: dict[int, httpx.Response] = {}

    def send(number: int) -> None:
        text = b"bad" if number == 5 else str(number).encode()
        answers[number] = httpx.post(f"{url}/rows", files={"docs": text}, timeout=60)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert code(answers.pop(5)) == (500, "METHOD_FAILED")
    assert {number: answer.json() for number, answer in answers.items()} == {number: str(number) for number in answers}


def test_a_bad_image_of_a_batch_is_its_own_clients_matter(client: httpx.Client, url: str) -> None:
    bodies = [picture(20 + number, 20) for number in range(6)]
    bodies[2] = bodies[2][:-150]
    bodies[4] = png(30_000, 30_000, pixels=zeros(30_000, 100))
    answers: dict[int, httpx.Response] = {}

    def send(number: int) -> None:
        answers[number] = httpx.post(
            f"{url}/sizes", content=bodies[number], headers={"content-type": "image/png"}, timeout=60
        )

    threads = [threading.Thread(target=send, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert code(answers.pop(2)) == code(answers.pop(4)) == (400, "INVALID_INPUT")
    assert {number: answer.json() for number, answer in answers.items()} == {
        number: [20 + number, 20] for number in answers
    }


@pytest.mark.parametrize("path", ["/stream", "/events", "/slow"])
def test_files_live_as_long_as_a_stream_or_a_coroutine(path: str, client: httpx.Client) -> None:
    assert "hello" in client.post(path, files={"doc": b"hello"}).text


@pytest.mark.parametrize("path", ["/stream", "/slow"])
def test_files_go_when_the_client_leaves(path: str, client: httpx.Client, url: str, folder: Path) -> None:
    content_type, body = form(part("doc", b"wait", "x"))
    while Gate.entered.acquire(blocking=False):
        pass
    connection = http.client.HTTPConnection("127.0.0.1", int(url.rsplit(":", 1)[1]), timeout=30)
    connection.request("POST", path, body, {"content-type": content_type})
    assert Gate.entered.acquire(timeout=30)
    assert len(list(folder.glob("tiffin-upload-*"))) == 1
    connection.close()
    until_empty(folder)


def test_s_http_07_every_odd_form_is_a_4xx_and_leaves_nothing(client: httpx.Client) -> None:
    whole, body = form(part("doc", b"1", "x"))
    cases = {
        "no boundary": ("multipart/form-data", body),
        "long boundary": ("multipart/form-data; boundary=" + "x" * 71, body),
        "longer": ("multipart/form-data; boundary=" + "x" * 2_000, body),
        "cut": (whole, body[:-8]),
        "cut, large": (whole, body[:-14] + b"x" * 1_000_000),
        "nothing": (whole, b""),
        "preamble": (whole, b"hello\r\n" + body),
        "parts": (whole, form(*[part("doc", b"", "x")] * 200_000)[1]),
        "header": (whole, form(part("doc", b"1", "x", more="X: " + "y" * 1_000_000))[1]),
        "name": (whole, form(part("d" * 10_240, b"1", "x"))[1]),
        "nul": (whole, form(part("doc\x00", b"1", "x"))[1]),
        "nested": (
            whole,
            form(
                part("doc", body, "x", "multipart/form-data; boundary=frontier"),
            )[1],
        ),
        "field": (
            "multipart/form-data; boundary=frontier",
            form(part("docs", b"1", "x"), part("note", b"x" * 2_000_000))[1],
        ),
    }
    for name, (content_type, odd) in cases.items():
        path = "/names" if name == "field" else "/copy"
        answer = client.post(path, content=odd, headers={"content-type": content_type})
        assert answer.status_code in (400, 413), (name, answer.text)
    long = httpx.Headers({"content-type": "multipart/form-data; boundary=" + "x" * 100_000})
    assert client.post("/copy", content=body, headers=long).status_code == 431
    assert client.post("/copy", content=b"\r\n" * 1_000_000 + body, headers={"content-type": whole}).content == b"1"
    assert client.post("/copy", content=body + b"x" * 100_000_000, headers={"content-type": whole}).content == b"1"


def test_s_http_07_a_boundary_of_ten_megabytes(url: str) -> None:
    with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=30) as raw:
        try:
            raw.sendall(b"POST /copy HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=")
            for _ in range(160):
                raw.sendall(b"x" * 65_536)
        except (ConnectionResetError, BrokenPipeError):
            return  # it was cut off before it had sent it all
        assert raw.recv(100).split(b" ")[1] == b"431"


def test_a_form_from_another_site_is_not_taken(client: httpx.Client, url: str) -> None:
    for origin in ("http://evil.example", "null", "http://127.0.0.1.evil.example"):
        answer = client.post("/size", files={"image": picture()}, headers={"origin": origin})
        assert code(answer) == (415, "UNSUPPORTED_MEDIA")
    assert client.post("/size", files={"image": picture()}, headers={"origin": url}).json() == [12, 8]


def test_a_url_is_no_file(client: httpx.Client) -> None:
    answer = client.post("/size", json={"image": "http://127.0.0.1:1/x.png"})
    assert "a URL, which is not fetched here" in answer.json()["error"]["message"]
    assert code(answer) == (400, "INVALID_INPUT")


SERVICE = """
import time
from pathlib import Path
import tiffin

@tiffin.service
class Slow:
    @tiffin.api(idempotent=False)
    def wait(self, doc: Path) -> int:
        if doc.read_text() == "wait":
            time.sleep(60)
        return 1
"""


def test_files_of_a_killed_worker_go_when_its_place_is_taken(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(textwrap.dedent(SERVICE))
    place = tmp_path / "tmp"
    place.mkdir()
    with TestServer("service:Slow", app_dir=tmp_path, env={"TMPDIR": str(place)}) as server:
        base = f"http://127.0.0.1:{server.port}"
        answer: list[httpx.Response] = []
        thread = threading.Thread(
            target=lambda: answer.append(httpx.post(f"{base}/wait", files={"doc": b"wait"}, timeout=60))
        )
        thread.start()
        end = time.monotonic() + 30
        while not (left := list(place.glob("tiffin-upload-*/*"))):
            assert time.monotonic() < end
            time.sleep(0.05)
        os.kill(_holder(left[0].parent), 9)
        thread.join()
        assert answer[0].json()["error"]["code"] == "MAYBE_EXECUTED"
        while list(place.glob("tiffin-upload-*")):
            assert time.monotonic() < end + 30
            time.sleep(0.05)
        assert httpx.post(f"{base}/wait", files={"doc": b"1"}, timeout=60).json() == 1


def _holder(folder: Path) -> int:
    """Return the process that has a directory open."""
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if descriptor.readlink() == folder:
                return int(descriptor.parts[2])
        except OSError:
            continue
    raise AssertionError("nobody holds it")


def test_the_front_loads_no_pillow(tmp_path: Path) -> None:
    (tmp_path / "pictures.py").write_text(
        "import PIL.Image, tiffin\n@tiffin.service\nclass P:\n    @tiffin.api\n"
        "    def size(self, image: PIL.Image.Image) -> list[int]:\n        return list(image.size)\n"
    )
    with TestServer("pictures:P", app_dir=tmp_path, env={"TIFFIN_FILES_MAX_PIXELS": "200"}) as server:
        base = f"http://127.0.0.1:{server.port}"
        assert httpx.post(f"{base}/size", files={"image": picture()}).json() == [12, 8]
        message = httpx.post(f"{base}/size", files={"image": picture(20, 20)}).json()["error"]["message"]
        assert message == "invalid input: image: the image has 20 × 20 pixels, more than 200 (files.max_pixels)"
        maps = {pid: _maps(pid) for pid in _tree(server.process.pid)}  # type: ignore[union-attr]
        with_pillow = [pid for pid, text in maps.items() if "/PIL/_imaging" in text]
        assert len(with_pillow) == 1  # the worker, and neither the supervisor nor the front
        assert len(maps) >= 3


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library has no mallopt")
def test_a_worker_keeps_the_memory_that_images_free_for_the_next_ones(tmp_path: Path) -> None:
    (tmp_path / "pictures.py").write_text(
        "import os, PIL.Image, tiffin\n@tiffin.service\nclass P:\n    @tiffin.api\n"
        "    def pid(self, image: PIL.Image.Image) -> int:\n        image.convert('RGB').resize((64, 64))\n"
        "        return os.getpid()\n"
    )
    data = picture(1024, 768, "JPEG")
    with TestServer("pictures:P", app_dir=tmp_path) as server:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client:
            pids = [client.post("/pid", files={"image": data}).json() for _ in range(10)]
            before = _page_faults(pids[0])
            for _ in range(20):
                client.post("/pid", files={"image": data})
            assert (_page_faults(pids[0]) - before) / 20 < 300  # without it some 1,700 a call


def _page_faults(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[7])


def _maps(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def _tree(root: int) -> list[int]:
    found = [root]
    for pid in found:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def test_a_picture_is_what_the_tests_think() -> None:
    assert PIL.Image.open(io.BytesIO(picture())).size == (12, 8)
