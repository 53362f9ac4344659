"""What a client reads from /schema.json, and how arguments are bound to it."""

from __future__ import annotations

import inspect

import pytest
from msgspec import UNSET

from tests.unit.client.shop import IMAGES, ITEM, SHOP, method, schema
from tiffin.client.arguments import bind, signature
from tiffin.client.schema import array_of, holds, kind_of, read_schema
from tiffin.errors import UsageError
from tiffin.service.describe import describe
from tiffin.spec.types import ArrayType
from tiffin.web.openapi import schema as served

PREDICT, BOTH = SHOP.find("predict"), SHOP.find("both")


def test_a_wrong_name_is_answered_with_the_nearest():
    with pytest.raises(AttributeError, match=r"'Shop' has no method 'predikt': did you mean 'predict'\?"):
        SHOP.find("predikt")
    with pytest.raises(AttributeError, match="it has predict, both"):
        SHOP.find("zzz")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"<html>", "no description"),
        (b"{}", "no description"),
        (b'{"format":2,"service":"S","methods":[]}', "format 2"),
    ],
)
def test_what_is_no_schema_is_refused(text, reason):
    with pytest.raises(UsageError, match=reason):
        read_schema(text, "it")


def test_what_a_later_server_adds_is_ignored():
    assert read_schema(b'{"format":1,"service":"S","methods":[],"new":{"a":1}}', "it").methods == ()


def test_the_digest_follows_what_a_caller_depends_on_and_not_the_prose():
    one = schema(method("f", {"x": IMAGES}, doc="old", timeout_s=3))
    assert one.digest() == schema(method("f", {"x": {**IMAGES, "description": "new"}}, doc="new")).digest()
    others = [
        schema(method("g", {"x": IMAGES})),
        schema(method("f", {"y": IMAGES})),
        schema(method("f", {"x": IMAGES}, optional=("x",))),
        schema(method("f", {"x": {**IMAGES, "x-tiffin-type": "array of float64 [*, 2]"}})),
        schema(method("f", {"x": IMAGES}, {"type": "string"})),
        schema(method("f", {"x": IMAGES}), definitions={}),
    ]
    assert len({one.digest(), *(other.digest() for other in others)}) == 7


@pytest.mark.parametrize(
    ("marked", "kind"),
    [
        (IMAGES, ("array", False)),
        ({"anyOf": [IMAGES, {"type": "null"}]}, ("array", False)),
        ({"type": "string", "format": "binary"}, ("bytes", False)),
        ({"type": "string", "contentEncoding": "base64", "x-tiffin-type": "image"}, ("image", False)),
        ({"type": "string", "x-tiffin-type": "bytes (base64 in JSON)"}, ("bytes", False)),
        ({"type": "array", "items": {"type": "string", "x-tiffin-type": "file"}}, ("file", True)),
        ({"type": "array", "items": {"type": "string"}}, ("json", False)),
        ({"x-tiffin-type": "table"}, ("table", False)),
        ({"x-tiffin-type": "tablecloth"}, ("json", False)),
        ({"type": "string"}, ("text", False)),
        ({}, ("json", False)),
    ],
)
def test_marks_say_what_a_value_is(marked, kind):
    assert kind_of(marked) == kind


@pytest.mark.parametrize(
    ("mark", "type"),
    [
        ("array", ArrayType()),
        ("array of float32", ArrayType(dtype="float32")),
        ("array of uint8 []", ArrayType(dtype="uint8", shape=())),
        ("array [*, 3]", ArrayType(shape=(None, 3))),
        ("array of wonders {}", ArrayType()),
    ],
)
def test_an_arrays_mark_is_read(mark, type):
    assert array_of({"x-tiffin-type": mark}) == type


def test_the_marks_are_those_that_the_server_writes(tmp_path):
    (tmp_path / "marks_service.py").write_text(
        "import numpy as np, tiffin\nfrom typing import Annotated\n"
        "@tiffin.service\nclass S:\n"
        "    @tiffin.api\n"
        "    def f(self, x: Annotated[np.ndarray, tiffin.DType('int16'), tiffin.Shape(None, 3)], b: bytes) -> list[np.ndarray]:\n"
        "        return []\n"
    )
    document = served(describe("marks_service:S", str(tmp_path)).application)
    (found,) = schema(*document["methods"]).methods
    assert array_of(found.params[0].schema) == ArrayType(dtype="int16", shape=(None, 3))
    assert kind_of(found.params[1].schema) == ("bytes", False)
    assert holds(found.returns, {}, "array")


def test_looking_through_a_schema_ends():
    assert holds(ITEM, {"Item": ITEM}, "bytes") is False
    assert holds({"$ref": "#/definitions/Item"}, {"Item": {**ITEM, "properties": {"a": IMAGES}}}, "array") is True


# -- arguments -------------------------------------------------------------------------------------------------------------


def test_arguments_are_bound_as_python_binds_them():
    assert bind(BOTH, (1,), {"how": "add", "right": 2}) == {"left": 1, "right": 2, "how": "add"}
    assert bind(BOTH, (1, 2), {"how": UNSET}) == {"left": 1, "right": 2}


@pytest.mark.parametrize(
    ("positional", "named", "reason"),
    [
        ((1, 2, 3, 4), {}, r"takes 3 arguments \(left, right, how\), 4 were given"),
        ((), {"left": 1}, "needs 'right'"),
        ((1,), {"left": 2, "right": 1}, "'left' twice"),
        ((1,), {"rigth": 2}, r"no argument 'rigth': did you mean 'right'\?"),
        ((UNSET, 1), {}, "needs 'left'"),
    ],
)
def test_wrong_arguments_are_type_errors(positional, named, reason):
    with pytest.raises(TypeError, match=reason):
        bind(BOTH, positional, named)


def test_a_signature_shows_what_may_be_left_out():
    assert str(signature(BOTH)) == "(left, right, how=Ellipsis)"
    assert list(inspect.signature(lambda images: images).parameters) == list(signature(PREDICT).parameters)
