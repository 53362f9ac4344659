"""The grammar as data: it survives JSON, and equal services have equal digests."""

from typing import Any

import msgspec
from hypothesis import given

from tests.unit.codecs.method import spec
from tests.unit.codecs.test_front_accepts import ANNOTATIONS, function
from tiffin.errors import SpecError
from tiffin.spec.service import MethodSpec, ServiceSpec
from tiffin.spec.types import ANY, ArrayType, IntType, ListType, OpaqueType, TupleType, by_pydantic, one_row, walk


@given(ANNOTATIONS)
def test_specs_survive_json(annotation: Any) -> None:
    try:
        method = spec(function(annotation))
    except SpecError:
        return
    data = msgspec.json.encode(method)
    assert msgspec.json.decode(data, type=MethodSpec) == method
    service = ServiceSpec(name="S", target="m:S", methods=(method,))
    again = msgspec.json.decode(msgspec.json.encode(service), type=ServiceSpec)
    assert again.digest() == service.digest()


def test_one_row() -> None:
    assert one_row(ListType(item=IntType())) == IntType()
    assert one_row(ArrayType(dtype="int8", shape=(None, 3))) == ArrayType(dtype="int8", shape=(3,))
    assert one_row(ArrayType(shape=(2, None, 3)), 1) == ArrayType(shape=(2, 3))
    assert one_row(ArrayType()) == ArrayType()


def test_walk_sees_all_parts() -> None:
    deep = TupleType(items=(ListType(item=OpaqueType(schema={})), ANY))
    assert [type(part).__name__ for part in walk(deep)] == ["TupleType", "ListType", "OpaqueType", "AnyType"]
    assert by_pydantic(deep)
    assert not by_pydantic(TupleType(items=(OpaqueType(validator="msgspec"),)))
