"""A real worker process, with an engine that the test plays on a real Unix socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from tiffin.link.arena import Arena
from tiffin.link.frames import FrameReader, decode_link, encode_frame
from tiffin.messages.link import (
    PROTOCOL,
    Batch,
    Beat,
    Data,
    End,
    Failure,
    Hello,
    LinkMessage,
    Media,
    Open,
    Ran,
    Ready,
    Reply,
    Welcome,
)
from tiffin.worker.setup import EXIT_LOAD_FAILED, EXIT_OTHER_SPEC, SETUP_VARIABLE, WorkerSetup

WAIT_S = 30.0
M = TypeVar("M")

SERVICE = """
    import asyncio, os, sys
    from typing import Annotated, Iterator
    import numpy as np
    import tiffin

    @tiffin.service
    class Thing:
        def __init__(self):
            self.kept = []
            with open("loads", "a") as file:
                file.write("x")

        @tiffin.on_shutdown
        def bye(self):
            with open("bye", "w") as file:
                file.write("x")

        @tiffin.api
        def add(self, a: int, b: int = 1) -> int:
            return a + b

        @tiffin.api(batchable=True)
        def double(self, rows: Annotated[np.ndarray, tiffin.Shape(None, 2), tiffin.DType("float32")]) -> np.ndarray:
            self.kept.append(rows)
            rows *= 2
            return rows

        @tiffin.api
        def count(self, n: int) -> Iterator[int]:
            yield from range(n)

        @tiffin.api
        async def later(self, ctx: tiffin.Context) -> str:
            await asyncio.sleep(0)
            return ctx.request_id

        @tiffin.api
        def die(self) -> None:
            os.kill(os.getpid(), 9)

        @tiffin.api
        def fork(self) -> int:
            pid = os.fork()
            if not pid:
                import signal
                signal.pause()
            return pid
"""
ADD, DOUBLE, COUNT, LATER, DIE, FORK = range(6)


class Engine:
    """The engine's side of one worker's link.

    Args:
        folder: where the service lies and the worker runs. text: the service's module.
    """

    def __init__(self, folder: Path, text: str = SERVICE, arena: Arena | None = None) -> None:
        (folder / "thing.py").write_text(textwrap.dedent(text))
        self.folder = folder
        self.arena = arena
        self.path = str(folder / "link.sock")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self.listener.settimeout(WAIT_S)
        self.life, self.life_end = os.pipe()
        self.process: subprocess.Popen[str] | None = None
        self.link: Any = None
        self.next_id = 0

    def digest(self) -> str:
        code = (
            "import sys; from tiffin.service.load import load_service; from tiffin.service.define import definition_of;"
        )
        code += "sys.stdout.write(definition_of(load_service('thing:Thing', '.')).spec().digest())"
        return subprocess.run(
            [sys.executable, "-c", code], cwd=self.folder, check=True, capture_output=True, text=True
        ).stdout

    def start(self, digest: str = "", accept: bool = True) -> None:
        setup = WorkerSetup(
            target="thing:Thing",
            app_dir=str(self.folder),
            service="Thing",
            worker=0,
            epoch=1,
            generation=1,
            digest=digest or self.digest(),
            device="cpu",
            link=self.path,
            life_fd=self.life,
        )
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tiffin.worker.main"],
            cwd=self.folder,
            env={**os.environ, SETUP_VARIABLE: msgspec.json.encode(setup).decode()},
            pass_fds=[self.life],
            start_new_session=True,
            stderr=subprocess.PIPE,
            text=True,
        )
        if accept:
            self.accept()

    def accept(self) -> None:
        """Take the worker's link and say Welcome."""
        self.link, _address = self.listener.accept()
        self.link.settimeout(WAIT_S)
        self.reader: FrameReader[LinkMessage] = FrameReader(decode_link)
        self.got: list[LinkMessage] = []
        socket.send_fds(self.link, [b"\0"], [] if self.arena is None else [self.arena.fd])
        self.hello = self.expect(Hello)
        self.say(Welcome(PROTOCOL, 0 if self.arena is None else self.arena.size, 1000, 0.1))

    def say(self, *messages: LinkMessage) -> None:
        self.link.sendall(encode_frame(messages))

    def next(self) -> Any:
        while not self.got:
            data = self.link.recv(65536)
            assert data, "the worker closed the link"
            self.got = [message for message in self.reader.feed(data) if not isinstance(message, Beat)]
        return self.got.pop(0)

    def expect(self, kind: type[M]) -> M:
        message = self.next()
        assert isinstance(message, kind), message
        return message

    def call(self, method: int, body: Any, **more: Any) -> int:
        self.next_id += 2
        raw = body if not isinstance(body, dict) else msgspec.json.encode(body)
        fields = {"rows": 1, "media": 0, "accept": -1, "remaining_s": 10.0, "request_id": "r", **more}
        self.say(Batch(self.next_id, method, [Open(self.next_id, method, body=raw, **fields)]))
        return self.next_id

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(WAIT_S)

    def close(self) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(WAIT_S)
            assert self.process.stderr is not None
            self.process.stderr.close()
        self.listener.close()
        if self.link is not None:
            self.link.close()
        for fd in (self.life, self.life_end):
            try:
                os.close(fd)
            except OSError:
                pass


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = Engine(tmp_path)
    yield made
    made.close()


def test_a_worker_loads_serves_and_ends(engine: Engine) -> None:
    engine.start()
    assert (engine.hello.service, engine.hello.pid) == ("Thing", getattr(engine.process, "pid", 0))
    assert engine.expect(Ready).load_s > 0
    title = Path(f"/proc/{engine.hello.pid}/cmdline").read_bytes()
    assert title.startswith(b"tiffin: worker Thing 0 (cpu)")

    engine.call(ADD, {"a": 2})
    assert engine.expect(Reply).body == b"3"
    engine.expect(Ran)
    engine.call(ADD, {"a": "2"})
    failed = engine.expect(Failure)
    assert failed.code == "INVALID_INPUT" and b'"a"' in failed.details
    engine.expect(Ran)

    stream = engine.call(COUNT, {"n": 2})
    assert engine.expect(Data) == Data(stream, b"data: 0\n\n", Media.SSE)
    engine.expect(Data)
    engine.expect(End)
    engine.expect(Ran)

    engine.call(LATER, b"", request_id="here")
    assert b"here" in engine.expect(Reply).body
    engine.expect(Ran)

    os.kill(engine.hello.pid, signal.SIGTERM)
    assert engine.wait() == 0
    assert (engine.folder / "bye").exists()


def test_user_code_never_holds_arena_memory(tmp_path: Path) -> None:
    arena = Arena(1 << 20)
    engine = Engine(tmp_path, arena=arena)
    try:
        engine.start()
        engine.expect(Ready)
        body = msgspec.json.encode({"rows": [[1.0, 2.0], [3.0, 4.0]]})
        slot = arena.allocate(len(body))
        assert slot is not None
        arena.write(slot, 0, body)
        for _ in range(2):  # the method doubles its input in place: a second run reads the same payload
            engine.call(DOUBLE, slot, rows=2)
            assert engine.expect(Reply).body == b"[[2.0,4.0],[6.0,8.0]]"
            engine.expect(Ran)
        assert bytes(arena.view(slot)) == body
    finally:
        engine.close()
        arena.close()


def test_a_worker_keeps_its_model_when_the_engine_comes_back(engine: Engine) -> None:
    engine.start()
    engine.expect(Ready)
    pid = engine.hello.pid
    engine.link.close()
    engine.accept()
    assert engine.hello.pid == pid
    engine.expect(Ready)
    engine.call(ADD, {"a": 4, "b": 5})
    assert engine.expect(Reply).body == b"9"
    assert (engine.folder / "loads").read_text() == "x"


def test_a_worker_ends_with_its_supervisor_and_takes_its_children_along(engine: Engine) -> None:
    engine.start()
    engine.expect(Ready)
    engine.call(FORK, b"")
    child = int(engine.expect(Reply).body)
    os.kill(child, 0)
    os.close(engine.life_end)
    assert engine.wait() == -signal.SIGKILL
    until = Path(f"/proc/{child}/stat")
    while until.exists() and b") Z" not in until.read_bytes():
        os.sched_yield()


def test_a_class_that_changed_since_it_was_described_ends_with_86(engine: Engine) -> None:
    engine.start(digest="0" * 64)
    assert engine.wait() == EXIT_OTHER_SPEC


def test_a_service_of_plain_types_loads_no_large_library(tmp_path: Path) -> None:
    text = """
        import sys
        import tiffin

        @tiffin.service
        class Thing:
            @tiffin.api
            def loaded(self, names: list[str]) -> list[str]:
                return [name for name in names if name in sys.modules]
    """
    engine = Engine(tmp_path, text)
    try:
        engine.start()
        engine.expect(Ready)
        engine.call(0, {"names": ["asyncio", "numpy", "pydantic", "torch", "uvloop", "rich", "click", "msgspec"]})
        assert engine.expect(Reply).body == b'["msgspec"]'
    finally:
        engine.close()


def test_an_exception_in_the_users_init_ends_with_70_and_their_traceback(tmp_path: Path) -> None:
    text = """
        import tiffin

        @tiffin.service
        class Thing:
            def __init__(self):
                raise LookupError("no weights here")

            @tiffin.api
            def echo(self, x: int) -> int:
                return x
    """
    engine = Engine(tmp_path, text)
    try:
        engine.start()
        assert engine.wait() == EXIT_LOAD_FAILED
        assert engine.process is not None and engine.process.stderr is not None
        said = engine.process.stderr.read()
        assert "LookupError: no weights here" in said and "thing.py" in said
        assert "tiffin/worker" not in said
    finally:
        engine.close()


def test_without_a_setup_the_command_says_how_workers_are_started() -> None:
    environ = {key: value for key, value in os.environ.items() if key != SETUP_VARIABLE}
    done = subprocess.run(
        [sys.executable, "-m", "tiffin.worker.main"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 64 and "tiffin serve" in done.stderr
