"""Loading a real service, and the arguments and results of calls between real services."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import msgspec
import numpy as np
import pydantic
import pytest

import tiffin
from tiffin.codecs.values import MethodCodec
from tiffin.messages.link import Media
from tiffin.service.define import definition_of
from tiffin.service.depends import Callee, install
from tiffin.worker.load import OtherSpec, host
from tiffin.worker.outgoing import Outgoing

Rows = Annotated[np.ndarray, tiffin.Shape(None, 2), tiffin.DType("float32")]


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Model(pydantic.BaseModel):
    name: str


@tiffin.service
class Other:
    @tiffin.api
    def move(self, point: Point, by: int = 1) -> Point:
        return Point(point.x + by, point.y + by)

    @tiffin.api
    def model(self, model: Model, context: tiffin.Context) -> Model:
        return model

    @tiffin.api
    def text(self, text: str, /) -> str:
        return text

    @tiffin.api(batchable=True)
    def double(self, rows: Rows) -> Rows:
        return rows * 2

    @tiffin.api(batchable=True, one_row=True)
    def each(self, rows: Rows) -> Rows:
        return rows * 2

    @tiffin.api(batchable=True, one_row=True)
    def names(self, names: list[str]) -> list[str]:
        return names

    @tiffin.api
    def points(self, count: int) -> Iterator[Point]:
        for number in range(count):
            yield Point(number)

    @tiffin.api
    async def later(self, count: int) -> AsyncIterator[Point]:
        yield Point(count)


@tiffin.service
class Caller:
    other = tiffin.depends(Other)

    def __init__(self) -> None:
        self.order = ["init"]

    @tiffin.on_startup
    def up(self) -> None:
        self.order.append("up")

    @tiffin.on_shutdown
    async def down(self) -> None:
        self.order.append("down")

    @tiffin.api
    def call(self, x: int) -> int:
        return self.other.move(Point(x)).x


@pytest.fixture(autouse=True)
def _plain_python_again() -> Iterator[None]:
    yield
    install(None)


def callee(name: str) -> Callee:
    definition = definition_of(Other)
    for index, (served, method) in enumerate(zip(definition.methods(), definition.spec().methods, strict=True)):
        if served.attribute == name:
            return Callee("Other", index, method, served.function)
    raise LookupError(name)


def there_and_back(name: str, *args: Any, **kwargs: Any) -> Any:
    """Call a method as two workers would, with bytes in between."""
    to = callee(name)
    outgoing = Outgoing(to)
    codec = MethodCodec(to.method, to.function)
    other = Other()
    answers: list[Any] = []
    for request in outgoing.requests(args, kwargs):
        assert (request.service, request.method) == ("Other", to.index)
        if to.method.batchable:
            decoded = codec.decode_batch([(request.media, request.body)])
            assert not decoded.errors and decoded.counts == [request.rows]
            result = getattr(other, name)(**decoded.arguments)
            ((body, media, _),) = codec.encode_batch(result, decoded.counts, [Media.MSGPACK])  # type: ignore[misc]
        else:
            arguments = codec.decode(request.media, request.body)
            if to.method.context:
                arguments[to.method.context] = None
            call = getattr(other, name)
            result = call(*arguments.values()) if to.method.whole_body else call(**arguments)
            body, media, _ = codec.encode(result, Media.MSGPACK)
        answers.append(request.read(media, body))
    return outgoing.result(answers)


def test_values_come_back_as_what_the_annotation_says() -> None:
    assert there_and_back("move", Point(1, 2)) == Point(2, 3)
    assert there_and_back("move", Point(1), by=5) == Point(6, 5)
    assert there_and_back("model", Model(name="a")) == Model(name="a")
    assert there_and_back("text", "ü") == "ü"


def test_rows_go_together_or_one_by_one_and_come_back_as_rows() -> None:
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    for name in ("double", "each"):
        result = there_and_back(name, rows)
        assert result.dtype == np.float32 and result.flags.writeable
        np.testing.assert_array_equal(result, rows * 2)
    assert there_and_back("names", ["a", "b"]) == ["a", "b"]
    outgoing = Outgoing(callee("each"))
    assert [request.rows for request in outgoing.requests((rows,), {})] == [1, 1, 1]
    assert [request.rows for request in Outgoing(callee("double")).requests((rows,), {})] == [3]


def test_items_of_a_stream_come_back_as_what_the_annotation_says() -> None:
    for name in ("points", "later"):
        to = callee(name)
        (request,) = Outgoing(to).requests((2,), {})
        item = MethodCodec(to.method, to.function).encode_item(Point(7), Media.MSGPACK)
        assert request.read(Media.MSGPACK, item) == Point(7)


def test_a_result_that_is_not_what_the_annotation_says_comes_back_as_plain_data() -> None:
    (request,) = Outgoing(callee("move")).requests((Point(1),), {})
    assert request.read(Media.MSGPACK, msgspec.msgpack.encode({"a": "b"})) == {"a": "b"}
    assert request.read(Media.JSON, b'{"a":1}') == {"a": 1}
    assert request.read(Media.TEXT, b"text") == "text"
    assert request.read(Media.BYTES, b"\0") == b"\0"


@pytest.mark.parametrize(
    ("name", "args", "reason"),
    [
        ("move", (), "missing a required argument: 'point'"),
        ("move", (1, 2, 3), "too many positional arguments"),
        ("move", (object(),), "Other.move: an argument cannot be sent"),
    ],
)
def test_wrong_arguments_are_the_callers_type_error(name: str, args: tuple[Any, ...], reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        Outgoing(callee(name)).requests(args, {})


def test_a_service_is_loaded_with_its_hooks() -> None:
    hosted = host(Caller, lambda: None, digest=definition_of(Caller).spec().digest())
    assert [method.spec.name for method in hosted.methods] == ["call"]
    assert [hook.__name__ for hook in hosted.startup] == ["up"]
    assert [hook.__name__ for hook in hosted.shutdown] == ["down"]
    assert hosted.methods[0].tracked and not hosted.asynchronous
    with pytest.raises(tiffin.Error, match="no link to the engine"):
        hosted.methods[0].call({"x": 1})


def test_a_service_without_dependencies_is_not_tracked() -> None:
    methods = {method.spec.name: method for method in host(Other, lambda: None).methods}
    assert not methods["move"].tracked and methods["model"].tracked
    assert methods["text"].call({"text": "a"}) == "a"


def test_another_spec_than_the_described_one_is_refused() -> None:
    with pytest.raises(OtherSpec, match="changed since it was described"):
        host(Other, lambda: None, digest="0" * 64)
