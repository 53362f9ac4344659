"""The interactive page in a real browser, against a small server that gives the package's own files and openapi.json."""

import json
import shlex
import shutil
import tempfile
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tiffin.spec.service import Application, MethodSpec, Param, ServiceSpec
from tiffin.spec.types import ArrayType, BytesType, FloatType, IntType, ListType, StrType
from tiffin.web import pages
from tiffin.web.openapi import openapi

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

EVIL = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script> javascript:window.pwned=1'
PREFIX = "/ml"
CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)

APPLICATION = Application(
    services=(
        ServiceSpec(
            name="Digits",
            target="service:Digits",
            doc=f"Recognises digits. {EVIL}",
            methods=(
                MethodSpec(
                    name="predict",
                    route="/predict",
                    doc=f"Say which digit an image shows.\n\n{EVIL}",
                    params=(
                        Param(name="images", type=ArrayType(dtype="float32", shape=(None, 4, 4)), batched=True),
                        Param(name="threshold", type=FloatType(ge=0, le=1), required=False),
                    ),
                    returns=ListType(item=IntType()),
                    batchable=True,
                ),
                MethodSpec(
                    name="talk",
                    route="/talk",
                    kind="generator",
                    params=(Param(name="prompt", type=StrType(max_length=50)),),
                    returns=StrType(),
                ),
                MethodSpec(
                    name="raw",
                    route="/raw",
                    whole_body=True,
                    params=(Param(name="body", type=BytesType()),),
                    returns=BytesType(),
                ),
            ),
        ),
    )
)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.paths = []
        self.posts = []
        self.known = True
        self.reason = ""
        self.go_on = threading.Event()
        self.status = 200
        self.reply = b"{}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *args):
        pass

    def answer(self, status, media, body):
        self.send_response(status)
        self.send_header("content-type", media)
        self.send_header("content-length", str(len(body)))
        self.send_header("content-security-policy", "default-src 'self'")
        self.send_header("x-content-type-options", "nosniff")
        self.send_header("x-request-id", "made-up-1")
        self.send_header("connection", "close")  # a kept connection would outlive the server, and be answered
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        server = self.server
        server.paths.append(self.path)
        path = self.path.split("?")[0].removeprefix(PREFIX)
        name = "docs.html" if path == "/docs" else path.removeprefix("/docs/")
        asset = pages.asset(name) if path.startswith("/docs") else None
        if asset is not None:
            self.answer(200, asset[1], asset[0])
        elif path == "/openapi.json" and server.known:
            document = openapi(APPLICATION, PREFIX, "1.2.3")
            self.answer(200, "application/json", json.dumps(document).encode())
        elif path == "/openapi.json":
            self.answer(503, "application/json", b"{}")
        elif path == "/readyz":
            body = {"ready": not server.reason, "reason": server.reason}
            self.answer(503 if server.reason else 200, "application/json", json.dumps(body).encode())
        else:
            self.answer(404, "text/plain", b"")

    def do_POST(self):
        server = self.server
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        server.posts.append((self.path, dict(self.headers.items()), body))
        if self.path.endswith("/talk"):
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(b'data: "first"\n\n')
            self.wfile.flush()
            server.go_on.wait(20)
            self.wfile.write(f"data: {EVIL}\n\n".encode())
            self.close_connection = True
        elif self.path.endswith("/raw"):
            self.answer(200, "application/octet-stream", b"\x00\x01\xffABC")
        else:
            self.answer(server.status, "application/json", server.reply)


@contextmanager
def served():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    chromedriver = shutil.which("chromedriver")
    if not chromium or not chromedriver:
        pytest.skip("chromium and chromedriver are not installed")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*CHROMIUM_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
        try:
            yield driver
        finally:
            driver.quit()


@pytest.fixture
def page(browser):
    with served() as server:
        open_page(browser, server)
        yield browser, server
        browser.get("about:blank")


def open_page(browser, server, query=""):
    browser.get_log("browser")
    browser.get(f"http://127.0.0.1:{server.server_port}{PREFIX}/docs{query}")


def until(read, what, seconds=15.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = read()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"never seen: {what}")


def one(browser, selector):
    return until(lambda: browser.find_elements("css selector", selector), selector)[0]


def text(browser, selector):
    return one(browser, selector).get_property("textContent")


def send(browser, method):
    browser.execute_script("arguments[0].click()", one(browser, f"#method-{method} .send"))


def status(browser, method):
    return until(
        lambda: (found := text(browser, f"#method-{method} .status")) not in ("sending…", "") and found, "a status"
    )


def test_the_page_shows_every_method_and_complains_of_nothing(page):
    browser, server = page
    one(browser, "#method-raw")
    routes = [node.text for node in browser.find_elements("css selector", ".method .route")]
    assert routes == ["/predict", "/talk", "/raw"]
    assert text(browser, "#title") == "Digits"
    assert "1.2.3" in text(browser, "#version")
    assert "float32" in text(browser, "#method-predict .fields")
    assert len(browser.find_elements("css selector", "#error-rows tr")) > 20
    links = [node.get_property("href") for node in browser.find_elements("css selector", ".links a")]
    base = f"http://127.0.0.1:{server.server_port}{PREFIX}/"
    assert links == [base + name for name in ("openapi.json", "schema.json", "metrics")]
    until(lambda: f"{PREFIX}/readyz" in server.paths, "a question about readiness")
    assert browser.get_log("browser") == []


def test_text_stays_text(page):
    browser, server = page
    server.reply = json.dumps({"error": {"message": EVIL}}).encode()
    server.reason = EVIL
    one(browser, "#method-raw")
    send(browser, "predict")
    status(browser, "predict")
    until(lambda: EVIL[:20] in text(browser, "#light"), "the reason")
    assert EVIL in text(browser, "#about")
    assert EVIL in text(browser, "#method-predict .doc")
    assert "onerror" in text(browser, "#method-predict .answer pre[aria-label]")
    assert browser.execute_script("return window.pwned") is None
    assert len(browser.find_elements("css selector", "img")) == 1
    assert len(browser.find_elements("css selector", "script")) == 1
    assert not browser.find_elements("css selector", '[href^="javascript"]')


@pytest.mark.parametrize(
    "query", ["?url=http://127.0.0.1:1/x.json", "?configUrl=http://127.0.0.1:1/", "?url=//127.0.0.1:1/x", "#/../evil"]
)
def test_nothing_in_the_pages_address_names_another_document(browser, query):
    with served() as server:
        open_page(browser, server, query)
        one(browser, "#method-raw")
        asked = browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
        base = f"http://127.0.0.1:{server.server_port}{PREFIX}/"
        assert len(asked) >= 4
        assert all(name.startswith(base) for name in asked)
        assert browser.get_log("browser") == []


def test_a_call_is_sent_as_shown_and_its_answer_told_exactly(page):
    browser, server = page
    server.reply = b'{"labels":[3,12345678901234567890,1.50],"deep":{"a":[],"b":"x, [y]: {z}"}}'
    one(browser, "#method-raw")
    send(browser, "predict")
    assert status(browser, "predict") == "200 OK"
    path, headers, body = server.posts[0]
    assert path == f"{PREFIX}/predict"
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == {"images": [[[0.5] * 4] * 4]} or list(json.loads(body)) == ["images"]
    shown = until(lambda: text(browser, "#method-predict .answer pre[aria-label]"), "the body")
    assert "12345678901234567890" in shown
    assert "1.50" in shown
    assert json.loads(shown) == json.loads(server.reply)
    assert "x-request-id: made-up-1" in text(browser, "#method-predict .answer details pre")
    facts = text(browser, "#method-predict .answer .quiet")
    assert "ms" in facts
    assert f"{len(server.reply)} B" in facts
    assert "made-up-1" in facts


def test_the_curl_line_sends_the_same(page):
    browser, server = page
    field = one(browser, "#method-talk textarea")
    field.clear()
    field.send_keys("""{"prompt": "it's $HOME `x` \\"q\\""}""")
    words = shlex.split(text(browser, "#method-talk .curl pre").replace("\\\n", " "))
    assert words[:3] == ["curl", "-N", f"http://127.0.0.1:{server.server_port}{PREFIX}/talk"]
    assert "content-type: application/json" in words
    assert json.loads(words[words.index("--data-raw") + 1]) == {"prompt": 'it\'s $HOME `x` "q"'}


def test_an_error_is_shown_with_its_status(page):
    browser, server = page
    server.status = 504
    server.reply = json.dumps({"error": {"code": "DEADLINE", "message": "too late", "retryable": True}}).encode()
    one(browser, "#method-raw")
    send(browser, "predict")
    assert status(browser, "predict").startswith("504")
    assert one(browser, "#method-predict .status").get_attribute("data-kind") == "bad"
    until(lambda: "too late" in text(browser, "#method-predict .answer pre[aria-label]"), "the message")


def test_a_stream_is_shown_while_it_arrives(page):
    browser, server = page
    one(browser, "#method-raw")
    send(browser, "talk")
    until(lambda: "first" in text(browser, "#method-talk .answer"), "the first event")
    assert "streaming" in text(browser, "#method-talk .status")
    assert "onerror" not in text(browser, "#method-talk .answer")
    server.go_on.set()
    until(lambda: text(browser, "#method-talk .status") == "200 OK", "the end")
    assert EVIL in text(browser, "#method-talk .answer")


def test_a_stream_can_be_stopped(page):
    browser, _ = page
    one(browser, "#method-raw")
    send(browser, "talk")
    until(lambda: "first" in text(browser, "#method-talk .answer"), "the first event")
    stop = next(node for node in browser.find_elements("css selector", "#method-talk button") if node.text == "Stop")
    browser.execute_script("arguments[0].click()", stop)
    until(lambda: text(browser, "#method-talk .status") == "stopped", "the stop")


def test_bytes_are_shown_as_bytes(page):
    browser, server = page
    one(browser, "#method-raw")
    send(browser, "raw")
    assert status(browser, "raw") == "200 OK"
    assert server.posts[0][1]["content-type"] == "application/octet-stream"
    until(lambda: "00 01 ff 41 42 43" in text(browser, "#method-raw .answer pre[aria-label]"), "the bytes")


def test_the_light_follows_readiness_and_the_page_fills_when_the_service_is_known(browser):
    with served() as server:
        server.known = False
        server.reason = "no worker is ready"
        open_page(browser, server)
        until(lambda: "no worker is ready" in text(browser, "#light"), "the reason")
        assert not browser.find_elements("css selector", ".method")
        assert one(browser, "#problem").is_displayed()
        server.known = True
        server.reason = ""
        until(lambda: browser.find_elements("css selector", "#method-raw"), "the methods")
        until(lambda: one(browser, "#light").get_attribute("data-state") == "ready", "the light")
        assert not one(browser, "#problem").is_displayed()
    until(lambda: one(browser, "#light").get_attribute("data-state") == "gone", "a server that left")


def test_the_keyboard_is_enough(page):
    keys = pytest.importorskip("selenium.webdriver").Keys
    browser, server = page
    one(browser, "#method-raw")
    reached = []
    for _ in range(60):
        browser.switch_to.active_element.send_keys(keys.TAB)
        active = browser.switch_to.active_element
        reached.append(active.tag_name)
        if active.tag_name == "textarea":
            active.send_keys(keys.CONTROL, keys.ENTER)
            break
    assert status(browser, "predict") == "200 OK"
    assert len(server.posts) == 1
    assert {"a", "select", "input", "textarea"} <= set(reached)


def test_a_phone_needs_no_sideways_scrolling(page):
    browser, server = page
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    )
    try:
        open_page(browser, server)
        one(browser, "#method-raw")
        send(browser, "predict")
        status(browser, "predict")
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= 360
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
