from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

import tiffin
from tiffin.errors import SpecError
from tiffin.service.define import definition_of
from tiffin.spec.service import MethodSpec, ServiceSpec

loosely: Any = tiffin  # for calls that the type checkers would refuse


def spec_of(cls) -> ServiceSpec:
    return definition_of(cls).spec()


def methods_of(cls) -> dict[str, MethodSpec]:
    return {method.name: method for method in spec_of(cls).methods}


def refused(cls) -> SpecError:
    with pytest.raises(SpecError) as caught:
        spec_of(cls)
    return caught.value


@tiffin.service
class Plain:
    """Adds.

    In two ways.
    """

    def __init__(self, start: int = 1) -> None:
        self.start = start

    @tiffin.api
    def add(self, x: int, y: int = 2) -> int:
        """Return the sum."""
        return self.start + x + y

    @tiffin.api()
    async def wait(self, x: int) -> int:
        return x

    @tiffin.api
    def count(self, upto: int) -> Iterator[int]:
        yield from range(upto)

    @tiffin.api
    async def tick(self) -> AsyncIterator[str]:
        yield "tick"

    @tiffin.api(batchable=True, max_batch_size=7, max_latency_ms=250, timeout=3, run_limit=1.5, idempotent=False)
    def double(self, rows: list[int]) -> list[int]:
        return [2 * row for row in rows]

    def helper(self) -> None:
        pass


def test_the_class_stays_plain_python():
    assert isinstance(Plain, type)
    assert Plain(10).add(1) == 13
    assert list(Plain().count(2)) == [0, 1]
    assert Plain().double([1, 2]) == [2, 4]
    assert Plain.__name__ == "Plain"


def test_the_spec_says_what_the_class_says():
    spec = spec_of(Plain)
    assert (spec.name, spec.target) == ("Plain", f"{__name__}:Plain")
    assert spec.doc == "Adds.\n\nIn two ways."
    assert [(method.name, method.route, method.kind, method.lane) for method in spec.methods] == [
        ("add", "/add", "sync", "compute"),
        ("wait", "/wait", "async", "async"),
        ("count", "/count", "generator", "stream"),
        ("tick", "/tick", "async_generator", "async"),
        ("double", "/double", "sync", "compute"),
    ]
    add = spec.methods[0]
    assert [(param.name, param.required, param.batched) for param in add.params] == [
        ("x", True, False),
        ("y", False, False),
    ]
    assert add.doc == "Return the sum."
    double = spec.methods[4]
    assert double.params[0].batched
    assert (double.max_batch_size, double.max_latency_s, double.timeout_s, double.run_limit_s, double.idempotent) == (
        7,
        0.25,
        3,
        1.5,
        False,
    )


def test_two_readings_have_one_digest_and_another_option_has_another():
    assert spec_of(Plain).digest() == spec_of(Plain).digest()
    changed = msgspec.structs.replace(spec_of(Plain), threads=2)
    assert changed.digest() != spec_of(Plain).digest()
    assert msgspec.json.decode(msgspec.json.encode(spec_of(Plain)), type=ServiceSpec) == spec_of(Plain)


def test_whole_seconds_have_the_digest_that_they_have_after_json():
    @tiffin.service
    class Whole:
        @tiffin.api(timeout=2, run_limit=1, max_latency_ms=1000)
        def run(self) -> None: ...

    spec = spec_of(Whole)
    assert msgspec.json.decode(msgspec.json.encode(spec), type=ServiceSpec).digest() == spec.digest()


def test_options_of_the_service():
    @tiffin.service(
        name="other", workers=2, resources={"gpu": 1}, traffic={"timeout_s": 5}, threads=3, concurrency=4, streams=5
    )
    class Service:
        @tiffin.api
        def f(self) -> int:
            return 1

    spec = spec_of(Service)
    assert (spec.name, spec.workers, spec.resources, spec.traffic) == ("other", 2, {"gpu": 1}, {"timeout_s": 5})
    assert (spec.threads, spec.concurrency, spec.streams) == (3, 4, 5)


def test_route_and_name():
    @tiffin.service
    class Service:
        @tiffin.api(name="classify")
        def one(self) -> int:
            return 1

        @tiffin.api(route="/v1/two")
        def two(self) -> int:
            return 2

    assert [(method.name, method.route) for method in spec_of(Service).methods] == [
        ("classify", "/classify"),
        ("two", "/v1/two"),
    ]
    assert [served.attribute for served in definition_of(Service).methods()] == ["one", "two"]


class Base:
    @tiffin.api
    def first(self) -> int:
        return 1

    @tiffin.api
    def second(self) -> int:
        return 2

    @tiffin.on_startup
    def begin(self) -> None:
        pass


def test_methods_and_hooks_are_inherited_in_the_order_of_definition():
    @tiffin.service
    class Service(Base):
        @tiffin.api
        def third(self) -> int:
            return 3

        @tiffin.api(timeout=9)
        def second(self) -> int:
            return 22

        @tiffin.on_startup
        async def more(self) -> None:
            pass

        @tiffin.on_shutdown
        def end(self) -> None:
            pass

    spec = spec_of(Service)
    assert [method.name for method in spec.methods] == ["first", "second", "third"]
    assert spec.methods[1].timeout_s == 9
    assert definition_of(Service).hooks("startup") == ["begin", "more"]
    assert definition_of(Service).hooks("shutdown") == ["end"]
    assert Service().second() == 22


def test_a_method_overridden_without_the_decorator_is_not_served():
    @tiffin.service
    class Service(Base):
        def second(self) -> int:
            return 0

    assert list(methods_of(Service)) == ["first"]


def test_a_subclass_is_a_service_only_by_its_own_decorator():
    class Child(Plain):
        pass

    with pytest.raises(SpecError, match="is not a service"):
        definition_of(Child)
    assert methods_of(tiffin.service(Child)).keys() == methods_of(Plain).keys()


def test_another_decorator_around_the_method_keeps_it_served():
    def logged(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)

        return wrapper

    @tiffin.service
    class Service:
        @logged
        @tiffin.api(timeout=4)
        def above(self, x: int) -> int:
            return x

        @tiffin.api
        @logged
        def below(self, x: int) -> int:
            return x

    methods = methods_of(Service)
    assert methods["above"].timeout_s == 4
    assert [param.name for param in methods["below"].params] == ["x"]


def test_the_context_is_no_field():
    @tiffin.service
    class Service:
        @tiffin.api(batchable=True)
        def f(self, rows: list[int], context: tiffin.Context) -> list[int]:
            return rows

    (method,) = spec_of(Service).methods
    assert (method.context, [param.name for param in method.params]) == ("context", ["rows"])


def test_one_positional_only_parameter_takes_the_whole_body():
    @tiffin.service
    class Service:
        @tiffin.api
        def f(self, text: str, /) -> str:
            return text

    assert spec_of(Service).methods[0].whole_body


def test_what_cannot_be_served_names_the_parameter_and_the_reason():
    class Odd:
        pass

    def made(function):
        return tiffin.service(type("Service", (), {"f": tiffin.api(function), "__module__": __name__}))

    def stars(self, *args: int): ...
    def doubled(self, **kwargs: int): ...
    def odd(self, x: Odd): ...
    def two(self, x: int, y: int, /): ...

    odd.__annotations__["x"] = Odd
    for function, words in (
        (stars, ("'args'", "*args")),
        (doubled, ("'kwargs'", "**kwargs")),
        (odd, ("'x'", "Odd")),
        (two, ("positional-only", "2")),
    ):
        error = refused(made(function))
        assert [word for word in words if word not in error.message] == [], error.message


@pytest.mark.parametrize("kind", [staticmethod, classmethod, property])
def test_what_wraps_a_served_method_is_refused(kind):
    def function(self) -> int:
        return 1

    error = refused(tiffin.service(type("Service", (), {"f": kind(tiffin.api(function))})))
    assert f"Service.f: a {kind.__name__} cannot be served" in error.message


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_a_wrapped_method_cannot_be_served(kind):
    error = refused(tiffin.service(type("Service", (), {"f": tiffin.api(kind(lambda: 1))})))
    assert f"a {kind.__name__} cannot be served" in error.message


def test_nothing_to_serve_is_refused():
    @tiffin.service
    class Service:
        def f(self) -> int:
            return 1

    assert "no method" in refused(Service).message
    assert "@tiffin.api" in refused(Service).hint


@pytest.mark.parametrize("option", ["name", "route"])
def test_two_methods_cannot_share_a_name_or_a_route(option):
    value = {"name": "g", "route": "/g"}[option]

    @tiffin.service
    class Service:
        @loosely.api(**{option: value})
        def f(self) -> int:
            return 1

        @tiffin.api
        def g(self) -> int:
            return 1

    message = refused(Service).message
    assert [word for word in ("f and g", option, repr(value)) if word not in message] == []


def test_a_default_route_that_is_taken_by_the_system_is_refused():
    @tiffin.service
    class Service:
        @tiffin.api
        def metrics(self) -> int:
            return 1

    assert "'/metrics'" in refused(Service).message
    assert "route=" in refused(Service).hint


def test_service_goes_on_a_class():
    with pytest.raises(SpecError, match="on a class"):
        loosely.service(lambda: 1)


def test_api_goes_on_something_with_attributes():
    with pytest.raises(SpecError, match="plain method"):
        loosely.api(5)


@pytest.mark.parametrize(
    ("decorate", "option"), [(loosely.service, "name='x'"), (loosely.api, "route='x'")], ids=["service", "api"]
)
def test_an_option_without_its_name_is_told_how(decorate, option):
    with pytest.raises(SpecError, match="'x'") as caught:
        decorate("x")
    assert option in caught.value.hint


def test_unknown_option_of_service_names_the_nearest():
    with pytest.raises(SpecError, match="wokers") as caught:
        loosely.service(wokers=2)
    assert "'workers'" in caught.value.hint


@pytest.mark.parametrize("option", ["resources", "traffic"])
def test_an_empty_list_is_no_dict(option):
    with pytest.raises(SpecError, match=option):
        loosely.service(**{option: []})(type("A", (), {}))


def test_unknown_option_of_api_names_the_nearest():
    with pytest.raises(SpecError, match="batchble") as caught:
        loosely.api(batchble=True)(lambda self: 1)
    assert "'batchable'" in caught.value.hint


def test_a_class_that_a_function_made_is_known_by_the_name_it_has_in_its_module(monkeypatch):
    def make():
        @tiffin.service
        class Inner:
            @tiffin.api
            def f(self) -> int:
                return 1

        return Inner

    made = make()
    assert "<locals>" in definition_of(made).target()
    monkeypatch.setitem(globals(), "Known", made)
    assert definition_of(made).target() == f"{__name__}:Known"


def hooked(function, mark=tiffin.on_startup):
    return tiffin.service(type("Service", (Base,), {"load": mark(function)}))


def test_hooks_with_and_without_parentheses():
    @tiffin.service
    class Service(Base):
        @tiffin.on_startup()
        def load(self, path: str = "model") -> None:
            pass

        @tiffin.on_shutdown()
        @staticmethod
        def close() -> None:
            pass

    assert definition_of(Service).hooks("startup") == ["begin", "load"]
    assert definition_of(Service).hooks("shutdown") == ["close"]
    assert spec_of(Service).name == "Service"
    Service().load()


@pytest.mark.parametrize("mark", [tiffin.on_startup, tiffin.on_shutdown])
def test_a_hook_that_cannot_be_called_is_refused(mark):
    def wants(self, path):
        pass

    def keyword(self, *, path):
        pass

    for function in (wants, keyword):
        error = refused(hooked(function, mark))
        assert "Service.load" in error.message
        assert "'path'" in error.message


def test_a_hook_that_would_never_run_is_refused():
    def load(self):
        yield

    async def aload(self):
        yield

    assert "generator" in refused(hooked(load)).message
    assert "generator" in refused(hooked(aload)).message


@pytest.mark.parametrize("mark", [loosely.on_startup, loosely.on_shutdown])
def test_a_hook_is_a_method(mark):
    with pytest.raises(SpecError, match="on a method, not on 5"):
        mark()(5)


def test_a_subclass_without_the_decorator_is_told_so():
    class Child(Plain):
        pass

    with pytest.raises(SpecError) as caught:
        definition_of(Child)
    assert "not inherited" in caught.value.hint
    with pytest.raises(SpecError) as caught:
        tiffin.depends(Child)
    assert "not inherited" in caught.value.hint
