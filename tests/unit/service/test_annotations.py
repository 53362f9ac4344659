"""Annotations become types, or an error that names the parameter and says what to do."""

import dataclasses
import datetime as dt
import decimal
import enum
import pathlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar

import annotated_types
import msgspec
import numpy as np
import numpy.typing as npt
import pydantic
import pytest

from tiffin.errors import SpecError
from tiffin.service.annotations import type_of
from tiffin.service.markers import ContentType, DType, Shape
from tiffin.service.signature import read_signature
from tiffin.spec.types import (
    ANY,
    ArrayType,
    BoolType,
    BytesType,
    DictType,
    Field,
    FloatType,
    IntType,
    ListType,
    LiteralType,
    NullType,
    OpaqueType,
    RefType,
    StrType,
    StructType,
    TupleType,
    Type,
    UnionType,
    by_pydantic,
)

T = TypeVar("T")
UserId = NewType("UserId", int)


class Word(enum.Enum):
    A = "a"
    B = "b"


class Lenient(enum.Enum):
    A = "a"

    @classmethod
    def _missing_(cls, value: object) -> "Lenient":
        return cls.A


class Bits(enum.Flag):
    X = 1


@dataclasses.dataclass
class Node:
    """One of a chain."""

    value: int
    next: "Node | None" = None
    seen: bool = dataclasses.field(default=False, init=False)


class Partial(TypedDict, total=False):
    a: int


class Pair(NamedTuple):
    a: int
    b: str = ""


class Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel", tag="strict"):
    a_b: int


class Model(pydantic.BaseModel):
    a: int


@dataclasses.dataclass
class Holder:
    model: Model


@dataclasses.dataclass
class Box(Generic[T]):
    item: T


class Plain:
    pass


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (Any, ANY),
        (None, NullType()),
        (bool, BoolType()),
        (int, IntType()),
        (UserId, IntType()),
        (T, ANY),
        (float, FloatType()),
        (bytes, BytesType()),
        (dt.datetime, StrType(format="date-time")),
        (list, ListType(item=ANY)),
        (list[int], ListType(item=IntType())),
        (Sequence[int], ListType(item=IntType())),
        (tuple[int, ...], ListType(item=IntType())),
        (frozenset[int], ListType(item=IntType(), unique=True)),
        (tuple[int, str], TupleType(items=(IntType(), StrType()))),
        (Mapping[str, int], DictType(key=StrType(), value=IntType())),
        (int | None, UnionType(variants=(IntType(), NullType()))),
        (Literal["a", 1], LiteralType(values=("a", 1))),
        (Word, LiteralType(values=("a", "b"))),
        (Bits, IntType()),
        (Annotated[int, msgspec.Meta(ge=1, le=9), "a remark"], IntType(ge=1, le=9)),
        (Annotated[str, msgspec.Meta(pattern="^a", max_length=3)], StrType(pattern="^a", max_length=3)),
        (np.ndarray, ArrayType()),
        (npt.NDArray[np.float32], ArrayType(dtype="float32")),
        (npt.NDArray[Any], ArrayType()),
        (npt.NDArray[np.floating[Any]], ArrayType()),
        (Annotated[np.ndarray, Shape(None, 2), DType(np.float64)], ArrayType(dtype="float64", shape=(None, 2))),
        (Annotated[np.ndarray, Shape(("rows", 2)), DType("float")], ArrayType(dtype="float64", shape=(None, 2))),
        (Annotated[np.ndarray, DType("U10")], ArrayType(dtype="str")),
        (np.ndarray | None, UnionType(variants=(ArrayType(), NullType()))),
        (
            Node,
            StructType(
                name="Node",
                doc="One of a chain.",
                fields=(
                    Field(name="value", type=IntType()),
                    Field(name="next", type=UnionType(variants=(RefType(name="Node"), NullType())), required=False),
                ),
            ),
        ),
        (Partial, StructType(name="Partial", fields=(Field(name="a", type=IntType(), required=False),))),
        (
            Pair,
            StructType(
                name="Pair",
                array_like=True,
                fields=(Field(name="a", type=IntType()), Field(name="b", type=StrType(), required=False)),
            ),
        ),
        (
            Strict,
            StructType(
                name="Strict",
                fields=(Field(name="aB", type=IntType(), attribute="a_b"),),
                forbid_unknown=True,
                tag="strict",
                tag_field="type",
            ),
        ),
    ],
)
def test_type(annotation: Any, kind: Type) -> None:
    assert type_of(annotation, "x") == kind


@pytest.mark.parametrize(
    "annotation",
    [Model, Holder, dict[str, Model], Model | None, Annotated[int, annotated_types.Ge(0)], Annotated[int, pydantic.Field(ge=0)],
     Literal[True], list[int] | tuple[str, int], complex, Box[Model], pydantic.PositiveInt],
)  # fmt: skip
def test_pydantic_reads_the_whole_of_what_msgspec_cannot(annotation: Any) -> None:
    found = type_of(annotation, "x")
    assert isinstance(found, OpaqueType)
    assert found.validator == "pydantic"
    assert found.schema


def test_a_list_of_models_still_has_rows() -> None:
    found = type_of(list[Model], "x")
    assert isinstance(found, ListType)
    assert by_pydantic(found)
    assert isinstance(type_of(Annotated[list[Model], annotated_types.MinLen(1)], "x"), OpaqueType)


def test_what_msgspec_alone_knows_is_not_checked_in_the_front() -> None:
    for annotation in (decimal.Decimal, Lenient, Box[int]):
        found = type_of(annotation, "x")
        assert isinstance(found, OpaqueType)
        assert found.validator == "msgspec"


class Svc:
    def plain(self, x: Plain): ...
    def union(self, x: np.ndarray | str): ...
    def mixed(self, x: dict[str, np.ndarray | Model]): ...
    def objects(self, x: Annotated[np.ndarray, DType("object")]): ...
    def nonsense(self, x: Annotated[np.ndarray, DType("float31")]): ...
    def shape_of_list(self, x: Annotated[list[int], Shape(3)]): ...
    def path(self, x: pathlib.PurePath): ...
    def meta(self, x: Annotated[int, msgspec.Meta(ge=0)] | Model): ...
    def bounds(self, x: Annotated[str, msgspec.Meta(pattern="^a")] | list[str]): ...
    def unknown(self, x: "Nowhere"): ...  # type: ignore[name-defined]  # noqa: F821
    def function(self, x: Callable[[], int]): ...
    def rest(self, *x: int): ...
    def options(self, **x: int): ...
    def two_whole(self, x: int, /, y: int): ...
    def no_self(): ...  # type: ignore[misc]
    def instance(self, x: 3): ...  # type: ignore[valid-type]
    def bad_result(self) -> Plain: ...  # type: ignore[empty-body]
    def deep(self, x: list[dict[str, Plain]]): ...


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("plain", "parameter 'x' of Svc.plain: Plain cannot be read from JSON"),
        ("union", "an array can only be joined with None"),
        ("mixed", "an array can only be joined with None"),
        ("objects", "element type 'object' is not served"),
        ("nonsense", "DType('float31') is no element type of numpy"),
        ("shape_of_list", "Shape(3,) describes an array or a tensor, not list[int]"),
        ("path", "PurePath: a file is taken and given as pathlib.Path"),
        ("meta", "msgspec.Meta cannot be mixed with the class Model"),
        ("bounds", "a union cannot join a part that has msgspec.Meta bounds with a list"),
        ("unknown", "Svc.unknown: name 'Nowhere' is not defined"),
        ("function", "parameter 'x' of Svc.function"),
        ("rest", "*args and **kwargs cannot be served"),
        ("options", "*args and **kwargs cannot be served"),
        ("two_whole", "must be the only one, found 2"),
        ("no_self", "a method takes self first"),
        ("instance", "parameter 'x' of Svc.instance"),
        ("bad_result", "result of Svc.bad_result: Plain cannot be written as JSON"),
        ("deep", "parameter 'x' of Svc.deep"),
    ],
)
def test_refused_with_the_parameter_and_the_reason(name: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_signature(getattr(Svc, name), f"Svc.{name}")
    assert says in caught.value.message


class Batched:
    def scalar(self, x: int): ...
    def default(self, x: list[int] = []): ...  # noqa: B006
    def fixed(self, x: Annotated[np.ndarray, Shape(3, 4)]): ...
    def pair(self, x: tuple[int, str]): ...
    def unique(self, x: set[int]): ...
    def bounded(self, x: Annotated[list[int], msgspec.Meta(max_length=3)]): ...
    def maybe(self, x: np.ndarray | None): ...
    def model(self, x: Model): ...
    def extra(self, x: list[int], threshold: float): ...
    def nothing(self): ...
    def stream(self, x: list[int]) -> Iterator[int]: ...  # type: ignore[empty-body]
    def media(self, x: list[int]) -> Annotated[bytes, ContentType("image/png")]: ...  # type: ignore[empty-body]


@pytest.mark.parametrize("name", [name for name in vars(Batched) if not name.startswith("_")])
def test_batchable_needs_rows_everywhere(name: str) -> None:
    function = getattr(Batched, name)
    with pytest.raises(SpecError) as caught:
        read_signature(function, f"Batched.{name}", batchable=True)
    assert f"Batched.{name}" in caught.value.message
    if name != "nothing":
        read_signature(function, f"Batched.{name}")


def test_rows_along_another_dimension_need_arrays() -> None:
    def lists(self, x: list[int]): ...
    def arrays(self, x: Annotated[np.ndarray, Shape(2, None)], y): ...

    with pytest.raises(SpecError, match="batch_dim=1 needs np"):
        read_signature(lists, "lists", batchable=True, batch_dim=1)
    with pytest.raises(SpecError, match="'y'"):
        read_signature(arrays, "arrays", batchable=True, batch_dim=1)
    with pytest.raises(SpecError, match="one_row"):
        read_signature(lists, "lists", one_row=True)
    with pytest.raises(SpecError, match="negative"):
        read_signature(lists, "lists", batchable=True, batch_dim=-1)


class Context:
    pass


def test_signature() -> None:
    async def method(self, a: int, b="x", *, ctx: Context | None = None, c: list[str] = []) -> dict[str, float]:  # noqa: B006
        raise NotImplementedError

    found = read_signature(method, "method", context_type=Context)
    assert found.kind == "async"
    assert found.context == "ctx"
    assert [(param.name, param.type, param.required) for param in found.params] == [
        ("a", IntType(), True),
        ("b", ANY, False),
        ("c", ListType(item=StrType()), False),
    ]
    assert found.returns == DictType(key=StrType(), value=FloatType())
    assert not found.whole_body


def test_context_twice_or_positional_only_is_refused() -> None:
    def twice(self, a: Context, b: Context): ...
    def first(self, a: Context, /): ...

    for method in (twice, first):
        with pytest.raises(SpecError):
            read_signature(method, "method", context_type=Context)


def test_streams_give_the_type_of_an_item() -> None:
    def sync(self) -> Iterator[int]:
        yield 1

    def handed_on(self) -> Iterator[str]:
        return iter(())

    async def asynchronous(self) -> AsyncIterator[Model]:
        yield Model(a=1)

    def media(self) -> Annotated[Iterator[bytes], ContentType("audio/wav")]:
        yield b""

    def bare(self):
        yield 1

    assert read_signature(sync, "m")[:1] + read_signature(sync, "m")[4:] == ("generator", IntType(), "")
    assert read_signature(handed_on, "m").kind == "generator"
    assert read_signature(handed_on, "m").returns == StrType()
    assert read_signature(asynchronous, "m").kind == "async_generator"
    assert by_pydantic(read_signature(asynchronous, "m").returns)
    assert (read_signature(media, "m").returns, read_signature(media, "m").media) == (BytesType(), "audio/wav")
    assert read_signature(bare, "m").returns == ANY


def test_results() -> None:
    def union(self) -> list[int] | tuple[str, int]: ...  # type: ignore[empty-body]
    def arrays(self) -> tuple[np.ndarray, Model]: ...  # type: ignore[empty-body]
    def models(self) -> list[Model]: ...  # type: ignore[empty-body]

    assert isinstance(read_signature(union, "m").returns, OpaqueType)
    assert read_signature(arrays, "m").returns == ANY  # written as it comes; nobody can say its schema
    assert isinstance(read_signature(models, "m").returns, ListType)


def test_markers() -> None:
    assert Shape(None, 3) == Shape((None, 3)) == Shape("rows", 3)
    assert hash(Shape(1)) == hash(Shape([1]))
    assert DType("float32") == DType(np.float32)
    assert repr(DType("int8")) == "DType('int8')"
    for wrong in (-1, 1.5, True):
        with pytest.raises(SpecError):
            Shape(wrong)  # type: ignore[arg-type]
    for name in ("png", "image/png\r\nx: y", " image/png", "a/b/c"):
        with pytest.raises(SpecError):
            ContentType(name)


def test_a_service_without_arrays_and_models_loads_neither_numpy_nor_pydantic() -> None:
    code = (
        "import sys\n"
        "from tiffin.service.signature import read_signature\n"
        "from tiffin.spec.service import MethodSpec\n"
        "from tiffin.codecs.values import MethodCodec\n"
        "def method(self, x: dict[str, list[int] | None], y: str = '') -> float: ...\n"
        "found = read_signature(method, 'm')\n"
        "spec = MethodSpec(name='m', route='/m', params=found.params, returns=found.returns)\n"
        "codec = MethodCodec(spec, method)\n"
        'codec.encode(codec.decode(0, b\'{"x": {"a": [1]}}\'), 0)\n'
        "print([name for name in ('numpy', 'pydantic', 'torch') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
