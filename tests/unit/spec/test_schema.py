"""JSON Schema of every type is valid, resolves, and accepts what the worker accepts."""

import dataclasses
import json
from typing import Annotated, Any, Literal, NamedTuple

import jsonschema
import msgspec
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.codecs.method import codec, spec
from tests.unit.codecs.test_front_accepts import ANNOTATIONS, TEXTS, function
from tiffin.errors import Error, SpecError
from tiffin.service.annotations import type_of
from tiffin.service.markers import DType, Shape
from tiffin.spec.schema import json_schema
from tiffin.spec.types import ANY, OpaqueType, UnionType, walk


@dataclasses.dataclass
class Node:
    """One of a chain."""

    value: int
    next: "Node | None" = None


class Pair(NamedTuple):
    a: int
    b: str = ""


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    tricks: list[str]


class Inner(pydantic.BaseModel):
    a: int


class Outer(pydantic.BaseModel):
    inner: list[Inner]
    more: "Outer | None" = None


def other_node() -> type:
    @dataclasses.dataclass
    class Node:
        name: str

    return Node


def document(*annotations: Any) -> dict[str, Any]:
    """Return one schema document with all of these as alternatives, checked itself."""
    definitions: dict[str, Any] = {}
    kinds = [type_of(annotation, "x") for annotation in annotations]
    shown = {"anyOf": [json_schema(kind, definitions) for kind in kinds], "$defs": definitions}
    jsonschema.Draft202012Validator.check_schema(shown)
    return dict(json.loads(json.dumps(shown)))


def accepts(schema: dict[str, Any], value: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (Any, [1, None, []], []),
        (Annotated[int, msgspec.Meta(ge=1, lt=5)], [1, 4], [0, 5, "a", 1.5]),
        (Annotated[float, msgspec.Meta(gt=0, multiple_of=0.5)], [0.5, 3], [0, 0.3]),
        (Annotated[str, msgspec.Meta(min_length=1, pattern="^a")], ["a"], ["", "b", 1]),
        (bytes, ["YQ=="], [1]),
        (bool, [True], [1, None]),
        (None, [None], [0]),
        (list[int], [[], [1]], [["a"], {}]),
        (set[int], [[1, 1]], ["a"]),
        (tuple[int, str], [[1, "a"]], [[1], [1, "a", 2]]),
        (tuple[()], [[]], [[1]]),
        (dict[str, int], [{"a": 1}], [{"a": "b"}]),
        (Literal["a", 1], ["a", 1], ["b"]),
        (int | None, [1, None], ["a"]),
        (Node, [{"value": 1, "next": {"value": 2}}], [{"value": 1, "next": {"value": "a"}}, {}]),
        (Pair, [[1], [1, "b"]], [["a"], []]),
        (Cat | Dog, [{"type": "Cat", "lives": 1}], [{"type": "Dog", "tricks": [], "x": 1}, {"lives": 1}]),
        (np.ndarray, [[1], [[1.5]], 3, True], ["a", {}]),
        (Annotated[np.ndarray, DType("uint8")], [[1], [[2]], 3], [True, 1.5]),
        (Annotated[np.ndarray, Shape(None, 2), DType("uint8")], [[[1, 2]], []], [[[1]], [[1.5, 2]]]),
        (Annotated[np.ndarray, Shape(1), DType("bool")], [[True]], [[1], []]),
        (Annotated[np.ndarray, Shape(1), DType("str")], [["a"]], [[1]]),
        (Outer, [{"inner": [{"a": 1}], "more": {"inner": []}}], [{"inner": [{}]}]),
        (list[Outer], [[{"inner": []}]], [[{}]]),
    ],
)
def test_schema_says_what_is_taken(annotation: Any, good: list[Any], bad: list[Any]) -> None:
    schema = document(annotation)
    assert all(accepts(schema, value) for value in good)
    assert not any(accepts(schema, value) for value in bad)


def test_definitions_are_shared_and_do_not_collide() -> None:
    schema = document(Node, list[Node], Outer, Inner, other_node())
    assert sorted(schema["$defs"]) == ["Inner", "Node", "Node-2", "Outer"]
    assert schema["$defs"]["Node"]["description"] == "One of a chain."
    assert accepts(schema, {"name": "a"})


def test_foreign_definitions_of_the_same_name_are_kept_apart() -> None:
    one = {"$ref": "#/$defs/Part", "$defs": {"Part": {"type": "integer"}}}
    two = {"$ref": "#/$defs/Part", "$defs": {"Part": {"type": "string"}}}
    definitions: dict[str, Any] = {}
    shown = [json_schema(OpaqueType(schema=schema), definitions, "#/components/") for schema in (one, two, one)]
    assert definitions == {"Part": {"type": "integer"}, "Part-2": {"type": "string"}}
    assert shown == [{"$ref": "#/components/Part"}, {"$ref": "#/components/Part-2"}, {"$ref": "#/components/Part"}]


@given(ANNOTATIONS, TEXTS)
def test_the_worker_takes_nothing_that_the_schema_forbids(annotation: Any, text: str) -> None:
    """Where pydantic or a lenient type reads, its schema describes what should be sent, not all that is taken."""
    method = function(annotation)
    try:
        data = spec(method)
        schema = document(annotation)
    except SpecError:
        return
    kind = data.params[0].type
    if any(isinstance(part, OpaqueType) for part in walk(kind)):
        return
    try:
        codec(method).decode(0, b'{"x":%b}' % text.encode())
    except Error:
        return
    assert accepts(schema, json.loads(text)), schema


@given(st.lists(ANNOTATIONS, min_size=1, max_size=4))
def test_every_document_is_valid(annotations: list[Any]) -> None:
    try:
        schema = document(*annotations)
    except SpecError:
        return
    names = {f"#/$defs/{name}" for name in schema["$defs"]}
    text = json.dumps(schema)
    for part in text.split('"$ref": "')[1:]:
        assert part.split('"', 1)[0] in names


def test_a_reference_to_nothing_is_anything() -> None:
    assert json_schema(UnionType(variants=(ANY,)), {}) == {"anyOf": [{}]}
