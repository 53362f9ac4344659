"""What `tiffin call` reads from its command line."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.client.shop import SHOP, method, schema
from tiffin.cli.call import listing
from tiffin.cli.call_arguments import gather
from tiffin.client.schema import MethodSchema
from tiffin.errors import UsageError

F = schema(
    method(
        "f",
        {
            "text": {"type": "string"},
            "number": {"type": "number"},
            "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "mixed": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            "how": {"enum": ["add", 1]},
            "item": {"$ref": "#/definitions/Item"},
            "file": {"type": "string", "x-tiffin-type": "file"},
            "pages": {"type": "array", "items": {"type": "string", "x-tiffin-type": "image"}},
            "free": {},
            "array": {"type": "array", "x-tiffin-type": "array of float32 [*]"},
            "table": {"type": "array", "x-tiffin-type": "table"},
        },
    )
)


def read(
    *fields: str, files: tuple[str, ...] = (), content: str = "", stdin: bytes = b"", known: MethodSchema | None = None
) -> dict[str, Any]:
    return gather(
        known or F.methods[0], F.definitions, fields=fields, files=files, content=content, stdin=lambda: stdin
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text=5", "5"),
        ("text=a=b", "a=b"),
        ("text=", ""),
        ("number=1.5", 1.5),
        ("number=[1]", [1]),
        ("either=null", "null"),
        ("either=5", "5"),
        ("mixed=5", 5),
        ("mixed=five", "five"),
        ("how=add", "add"),
        ("how=1", 1),
        ("free=word", "word"),
        ('free={"a":1}', {"a": 1}),
        ("unknown=word", "word"),
        ("file=https://host/a.png", "https://host/a.png"),
    ],
)
def test_a_value_is_text_where_the_method_takes_text_else_json(field, value):
    assert read(field) == {field.partition("=")[0]: value}


def test_an_array_comes_from_a_file(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.array([1, 2], np.float32))
    assert read(files=(f"array=@{path}",))["array"].tolist() == [1, 2]
    assert read(files=("array=-",), stdin=path.read_bytes())["array"].dtype == np.float32


@pytest.mark.parametrize("content", [b"", b"1,2", pickle.dumps([1]), b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_array_is_refused_before_anything_is_sent(tmp_path, content):
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="an array is a .npy file of numbers"):
        read(files=(f"array=@{path}",))


def test_a_pickled_array_is_not_run(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(UsageError, match="an array is a .npy file of numbers"):
        read(files=(f"array=@{path}",))


def test_who_gives_a_table_as_a_file_is_told_what_to_do(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a\n1\n")
    with pytest.raises(UsageError, match="table is a table, which this command sends as JSON") as caught:
        read(files=(f"table=@{path}",))
    assert "curl -H 'content-type: text/csv'" in caught.value.hint


def test_fields_within():
    assert read("item.name=7", "item.price=2", "free.a.b=x") == {
        "item": {"name": "7", "price": 2},
        "free": {"a": {"b": "x"}},
    }


def test_all_arguments_as_json_with_fields_on_top(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("all.json").write_text('{"number": 1, "item": {"name": "a"}}')
    assert read("item.price=3", content="@all.json") == {"number": 1, "item": {"name": "a", "price": 3}}
    assert read(content="-", stdin=b'{"number": 2}') == {"number": 2}
    assert read(content='{"number": 3}') == {"number": 3}


def test_json_of_a_whole_body_is_the_body():
    assert read(content='"hello"', known=SHOP.find("shout")) == {"text": "hello"}


def test_files_by_path_or_from_standard_input(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(b"")
    found = read(files=("file=@a.png", "pages=a.png", "pages=@a.png"))
    assert found == {"file": Path("a.png"), "pages": [Path("a.png"), Path("a.png")]}
    assert read(files=("file=-",), stdin=b"x") == {"file": b"x"}


@pytest.mark.parametrize(
    ("given", "reason", "hint"),
    [
        ({"fields": ["number=cheap"]}, "'cheap' is not JSON", "need quotes"),
        ({"fields": ["number"]}, "has no name", "name=value"),
        ({"fields": ["=1"]}, "has no name", "name=value"),
        ({"fields": ["file=@a.png"]}, "file takes a file", "--file file=@a.png"),
        ({"fields": ["number=1", "number.x=1"]}, "no fields", ""),
        ({"files": ["file=@missing"]}, "there is no file 'missing'", ""),
        ({"content": "{"}, "--json is not JSON", "@path"),
        ({"content": "[1]"}, "--json is list, not an object", '"text": …'),
        ({"content": "@missing"}, "there is no file 'missing'", ""),
    ],
)
def test_what_cannot_be_read_is_said_with_what_to_write(given, reason, hint):
    with pytest.raises(UsageError, match=reason) as caught:
        gather(F.methods[0], F.definitions, **{"fields": (), "files": (), "content": "", "stdin": bytes, **given})
    assert hint in caught.value.hint


def test_the_list_of_methods_shows_what_each_takes():
    text = listing(SHOP, "http://shop")
    assert text.splitlines()[0] == "Shop at http://shop"
    assert '  both(left: array, right: array, how: Literal["add", "sub"] = ...) -> array\n' in text
    assert "  predict(images: array of float32 [*, 2]) -> array of float32 [*, 2]\n      Double the images.\n" in text
    assert "  tokens(n: int) -> stream of str\n" in text
    assert "  class Item(TypedDict):\n" in text
    assert [line for line in text.splitlines() if line != line.rstrip()] == []
