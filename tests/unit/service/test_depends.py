from __future__ import annotations

import asyncio
import copy
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import tiffin
from tiffin.errors import SpecError
from tiffin.service.application import application_of
from tiffin.service.depends import install


@tiffin.service
class Bottom:
    made = 0

    def __init__(self) -> None:
        type(self).made += 1

    @tiffin.api
    def twice(self, x: int) -> int:
        """Double it."""
        return 2 * x

    @tiffin.api
    async def later(self, x: int) -> int:
        return x

    @tiffin.api
    def items(self, upto: int) -> Iterator[int]:
        yield from range(upto)

    @tiffin.api
    async def ticks(self, upto: int) -> AsyncIterator[int]:
        for x in range(upto):
            yield x

    def unserved(self) -> None:
        pass


@tiffin.service
class Middle:
    bottom = tiffin.depends(Bottom)

    @tiffin.api
    def thrice(self, x: int) -> int:
        return x + self.bottom.twice(x)


@tiffin.service
class Top:
    bottom = tiffin.depends(Bottom)
    middle = tiffin.depends(Middle)

    @tiffin.api
    def both(self, x: int) -> int:
        return self.middle.thrice(x) + self.bottom.twice(x)


class Recorder:
    """A caller that writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def _note(self, way, callee, args, kwargs):
        self.asked.append((way, callee.service, callee.index, callee.method.name, args, kwargs))

    def call(self, callee, args, kwargs):
        self._note("call", callee, args, kwargs)
        return "value"

    async def call_async(self, callee, args, kwargs):
        self._note("call_async", callee, args, kwargs)
        return "value"

    def stream(self, callee, args, kwargs):
        self._note("stream", callee, args, kwargs)
        return iter([1, 2])

    async def stream_async(self, callee, args, kwargs):
        self._note("stream_async", callee, args, kwargs)
        yield 1


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    install(recorder)
    yield recorder
    install(None)


def test_in_plain_python_it_is_an_instance_made_when_first_used():
    before = Bottom.made
    middle = Middle()
    assert Bottom.made == before
    assert middle.thrice(5) == 15
    assert middle.bottom is middle.bottom
    assert isinstance(middle.bottom, Bottom)
    assert Bottom.made == before + 1


def test_the_class_itself_knows_the_dependency():
    held: Any = Middle.bottom
    assert held.definition.service is Bottom


def test_threads_that_ask_together_get_one_instance():
    top = Top()
    barrier = threading.Barrier(8)
    got = []

    def ask():
        barrier.wait()
        got.append(top.middle)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(one) for one in got}) == 1


def test_in_a_worker_calls_go_through_the_caller(recorder):
    before = Bottom.made
    bottom: Any = Middle().bottom
    assert bottom.twice(5) == "value"
    bottom.twice(x=6)
    assert list(bottom.items(3)) == [1, 2]
    assert recorder.asked == [
        ("call", "Bottom", 0, "twice", (5,), {}),
        ("call", "Bottom", 0, "twice", (), {"x": 6}),
        ("stream", "Bottom", 2, "items", (3,), {}),
    ]
    assert Bottom.made == before


def test_async_methods_are_awaited_and_to_async_awaits_all(recorder):
    async def ask():
        bottom: Any = Middle().bottom
        assert await bottom.later(1) == "value"
        assert await bottom.to_async.twice(2) == "value"
        assert [item async for item in bottom.ticks(3)] == [1]
        assert [item async for item in bottom.to_async.items(4)] == [1]

    asyncio.run(ask())
    assert [entry[0] for entry in recorder.asked] == ["call_async", "call_async", "stream_async", "stream_async"]


def test_the_proxy_has_the_methods_that_are_served_and_their_docs(recorder):
    bottom = Middle().bottom
    assert bottom.twice.__doc__ == "Double it."
    with pytest.raises(AttributeError, match=r"'Bottom' serves no method 'unserved'"):
        bottom.unserved()


def test_a_method_of_the_proxy_looks_bound_and_carries_no_mark(recorder):
    bottom: Any = Middle().bottom
    assert str(inspect.signature(bottom.twice)) == "(x: 'int') -> 'int'"
    assert (bottom.twice.__name__, bottom.twice.__doc__) == ("twice", "Double it.")
    assert [name for name in vars(bottom.twice) if name.startswith("__tiffin")] == []
    assert inspect.unwrap(bottom.twice) is bottom.twice


def test_a_proxy_is_made_once_and_can_be_copied(recorder):
    middle: Any = Middle()
    assert middle.bottom is middle.bottom
    assert middle.bottom.to_async is middle.bottom.to_async
    copy.copy(middle.bottom).twice(1)
    assert recorder.asked[0][:4] == ("call", "Bottom", 0, "twice")


def test_a_subclass_may_do_without_a_dependency():
    class Fake:
        def twice(self, x: int) -> int:
            return -x

    @tiffin.service
    class Tested(Middle):
        bottom: Any = Fake()

    assert Tested().thrice(5) == 0
    assert application_of(Tested).entry.depends == {}


def test_a_class_without_room_for_a_dependency_is_refused():
    with pytest.raises(SpecError, match="__slots__") as caught:

        @tiffin.service
        class Slotted:
            __slots__ = ()
            bottom = tiffin.depends(Bottom)

    assert "'__dict__'" in caught.value.hint


def test_the_application_has_dependencies_first_and_each_once():
    application = application_of(Top)
    assert [spec.name for spec in application.services] == ["Bottom", "Middle", "Top"]
    assert application.entry.name == "Top"
    assert application.entry.depends == {"bottom": "Bottom", "middle": "Middle"}


def test_a_circle_is_refused_with_its_path():
    def made(name: str) -> Any:
        return tiffin.service(type(name, (), {"f": tiffin.api(lambda self: 1), "__module__": __name__}))

    first, second, third = made("First"), made("Second"), made("Third")
    first.next, second.next, third.next = tiffin.depends(second), tiffin.depends(third), tiffin.depends(second)
    with pytest.raises(SpecError, match="Second → Third → Second"):
        application_of(first)


def test_a_dependency_set_after_the_class_was_made_is_kept_too():
    @tiffin.service
    class Late:
        other: Bottom

    Late.other = tiffin.depends(Bottom)
    late = Late()
    assert late.other is late.other


def test_two_services_of_one_name_are_refused():
    @tiffin.service(name="Bottom")
    class Another:
        @tiffin.api
        def f(self) -> int:
            return 1

    @tiffin.service
    class Both:
        one = tiffin.depends(Bottom)
        two = tiffin.depends(Another)

        @tiffin.api
        def f(self) -> int:
            return 1

    with pytest.raises(SpecError, match="two services are named 'Bottom'"):
        application_of(Both)


@pytest.mark.parametrize("given", [int, "Bottom", None, vars(Bottom)["__tiffin__"]])
def test_depends_takes_a_service(given):
    with pytest.raises(SpecError, match="is not given a service"):
        tiffin.depends(given)


def test_what_other_processes_must_import_is_not_inside_a_function():
    @tiffin.service
    class Hidden:
        @tiffin.api
        def f(self) -> int:
            return 1

    assert application_of(Hidden).entry.name == "Hidden"
    with pytest.raises(SpecError, match="Hidden is defined inside a function"):
        application_of(Hidden, importable=True)
