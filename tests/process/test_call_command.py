"""`tiffin call` and `tiffin client generate` from a shell, against a real server."""

from __future__ import annotations

import importlib.util
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tiffin.testing import TestServer

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with TestServer("client_services:Shop", app_dir=HERE) as server:
        yield f"http://127.0.0.1:{server.port}"


def tiffin(*arguments: str | Path, stdin: bytes = b"") -> tuple[int, bytes, str]:
    """Return exit status, stdout, stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "tiffin", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=100,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.decode()


def printed(*arguments: str | Path, stdin: bytes = b"") -> bytes:
    status, out, err = tiffin(*arguments, stdin=stdin)
    assert (status, err) == (0, ""), err
    return out


def test_one_call_each_way(url, tmp_path):
    assert printed("call", url, "predict", "-F", "images=[[1,2],[3,4]]") == b"[[2.0,4.0],[6.0,8.0]]\n"
    assert json.loads(printed("call", url, "reprice", "--field", "item.name=pen", "-F", "factor=3"))["price"] == 3.0
    assert printed("call", url, "call", "--json", "-", stdin=b'{"x": 4}') == b"5\n"
    assert printed("call", url, "shout", "-F", "text=hello") == b"HELLO"
    assert printed("call", url, "reverse", "--file", "data=-", stdin=b"\x00\xff1") == b"1\xff\x00"
    (tmp_path / "in").write_bytes(b"ab")
    assert tiffin("call", url, "reverse", "-f", f"data=@{tmp_path / 'in'}", "-o", tmp_path / "out")[:2] == (0, b"")
    assert (tmp_path / "out").read_bytes() == b"ba"
    status, _out, err = tiffin("call", url, "predict", "-F", "images=[[1,2]]", "-o", tmp_path / "x.npy")
    assert (status, "bytes of application/x-npy" in err) == (0, True)
    assert np.load(tmp_path / "x.npy").tolist() == [[2, 4]]


def test_streams_line_by_line_or_as_one_list(url):
    assert printed("call", url, "tokens", "-F", "text=a b") == b"ab"
    assert [json.loads(line)["name"] for line in printed("call", url, "items", "-F", "count=2").splitlines()] == [
        "0",
        "1",
    ]
    assert json.loads(printed("call", url, "tokens", "-F", "text=a b", "--no-stream")) == ["a", "b"]


def test_errors_go_to_stderr_with_their_code_and_status(url):
    assert tiffin("call", url, "predict", "-F", "images=[[1]]")[0] == 65
    status, out, err = tiffin("call", url, "refuse", "-F", "why=so")
    assert (status, out) == (70, b"")
    assert err.startswith("error: app.refused: POST ")
    assert tiffin("call", url, "wait", "-F", "seconds=30", "-F", "number=1", "--timeout", "0.5")[0] == 75
    status, out, err = tiffin("call", url, "items", "-F", "count=3", "-F", "fail_at=1")
    assert (status, out.count(b"\n")) == (70, 1)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["predikt"], 64, "did you mean 'predict'?"),
        (["predict", "-F", "image=[[1,2]]"], 2, "did you mean 'images'?"),
        (["predict"], 2, "needs 'images'"),
        (["predict", "-F", "images=x"], 2, "is not JSON"),
        (["reverse", "-f", "data=@missing"], 2, "there is no file"),
        (["predict", "--accept", "image/png", "-F", "images=[[1,2]]"], 64, "NOT_ACCEPTABLE"),
    ],
)
def test_what_is_wrong_with_the_command_is_said(url, arguments, status, said):
    found, out, err = tiffin("call", url, *arguments)
    assert (found, out) == (status, b""), err
    assert said in err


def test_no_server_and_no_address():
    status, _out, err = tiffin("call", "http://127.0.0.1:1", "predict", "--retries", "0")
    assert (status, "nothing answers at http://127.0.0.1:1" in err) == (69, True)
    status, _out, err = tiffin("call", "127.0.0.1:3000", "predict")
    assert (status, "hint: did you mean http://127.0.0.1:3000?" in err) == (2, True)


def test_without_a_method_it_lists_them(url):
    out = printed("call", url).decode()
    assert out.startswith(f"Shop at {url}: Methods of every shape that a client meets.\n")
    assert (
        "  predict(images: array of float32 [*, 2]) -> array of float32 [*, 2]\n      Return twice the images.\n" in out
    )


def on_terminal(*arguments: str) -> tuple[int, str]:
    """Run with stdout and stderr on a terminal; return exit status and what it shows."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tiffin", *arguments], stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65_536):
            shown += chunk
    except OSError:
        pass  # how Linux says that the other end is closed
    os.close(ours)
    return process.wait(60), shown.decode()


def test_on_a_terminal_json_is_laid_out_and_binary_is_not_shown(url):
    assert on_terminal("call", url, "items", "-F", "count=1", "--no-stream")[1].split() == [
        "[", "{", '"name":', '"0",', '"price":', "1.0,", '"tags":', "null", "}", "]",
    ]  # fmt: skip
    status, shown = on_terminal("call", url, "predict", "-F", "images=[[1,2]]", "--accept", "application/x-npy")
    assert (status, "a terminal cannot show" in shown) == (2, True)


# -- generated clients -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stub(url, tmp_path_factory) -> Path:
    path: Path = tmp_path_factory.mktemp("stub") / "shop_client.py"
    status, out, err = tiffin("client", "generate", url, "-o", path)
    assert (status, out) == (0, b""), err
    return path


def test_a_generated_client_passes_both_type_checkers_and_catches_wrong_calls(stub):
    use = stub.with_name("use.py")
    use.write_text(
        "from shop_client import AsyncShopClient, Item, ShopClient\n\n"
        "with ShopClient('http://127.0.0.1:1', timeout=3) as shop:\n"
        "    item: Item = shop.reprice({'name': 'pen', 'price': 2.0}, factor=1.5)\n"
        "    words: list[str] = list(shop.tokens('a b'))\n"
        "    total: float = shop.predict([[1, 2]]).sum()\n\n\n"
        "async def main(shop: AsyncShopClient) -> list[Item]:\n"
        "    return [item async for item in shop.items(count=3)]\n"
    )
    wrong = stub.with_name("wrong.py")
    wrong.write_text(
        "from shop_client import ShopClient\n\n"
        "shop = ShopClient('http://127.0.0.1:1', timeouts=3)\n"
        "shop.reprice({'nome': 'pen'})\n"
        "shop.predikt([[1]])\n"
        "shop.both([1], [2], how='mul')\n"
    )
    env = {**os.environ, "MYPYPATH": f"{ROOT / 'src'}:{stub.parent}", "MYPY_CACHE_DIR": str(stub.parent / "cache")}
    mypy = [sys.executable, "-m", "mypy", "--strict", "--python-version", "3.11"]
    done = subprocess.run(
        [*mypy, str(stub), str(use)], capture_output=True, text=True, env=env, cwd=stub.parent, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run([*mypy, str(wrong)], capture_output=True, text=True, env=env, cwd=stub.parent, check=False)
    lines = {int(line.split(":")[1]) for line in done.stdout.splitlines() if line.startswith("wrong.py:")}
    assert lines == {3, 4, 5, 6}, done.stdout


@pytest.mark.skipif(importlib.util.find_spec("basedpyright") is None, reason="basedpyright is not installed")
def test_a_generated_client_passes_pyright(stub):
    stub.with_name("pyrightconfig.json").write_text(
        json.dumps({"include": [stub.name], "typeCheckingMode": "strict", "extraPaths": [str(ROOT / "src")]})
    )
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable, "--level", "error"],
        capture_output=True,
        text=True,
        cwd=stub.parent,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_generated_client_calls(stub, url):
    script = (
        "import asyncio, sys, warnings\nwarnings.simplefilter('error')\nfrom shop_client import AsyncShopClient, ShopClient\n"
        "url = sys.argv[1]\n"
        "with ShopClient(url) as shop:\n"
        "    print(shop.predict([[1, 2]]).tolist(), list(shop.tokens('a b')), shop.call(x=1))\n"
        "async def main():\n"
        "    async with AsyncShopClient(url) as shop:\n"
        "        print(await shop.shout('x'), [item['name'] async for item in shop.items(2)])\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, url], capture_output=True, text=True, cwd=stub.parent, timeout=100, check=False
    )
    assert done.stdout == "[[2.0, 4.0]] ['a', 'b'] 2\nX ['0', '1']\n", done.stderr


def test_the_same_schema_gives_the_same_file_from_a_server_or_a_saved_copy(stub, url, tmp_path):
    again = printed("client", "generate", url)
    assert again.decode() == stub.read_text()
    import urllib.request

    (tmp_path / "schema.json").write_bytes(urllib.request.urlopen(f"{url}/schema.json").read())
    saved = printed("client", "generate", tmp_path / "schema.json").decode()
    assert saved.replace("generate schema.json", f"generate {url}") == again.decode()


def test_what_is_no_schema_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("[]")
    assert tiffin("client", "generate", tmp_path / "a.json")[0] == 65
    status, _out, err = tiffin("client", "generate", "127.0.0.1:3000")
    assert (status, "did you mean http://127.0.0.1:3000?" in err) == (2, True)
