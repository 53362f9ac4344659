"""`tiffin.depends(Other)`: one service calls another.

Owns the descriptor and its proxy; never sends anything: in a worker an installed `Caller` does, through the engine. In plain Python
the attribute is an instance of the other class.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast, overload

from tiffin.spec.service import MethodSpec

if TYPE_CHECKING:
    from tiffin.service.define import Definition

T = TypeVar("T")


class Callee:
    """One method of another service, as a caller needs it.

    Attributes:
        service: its name. index: of the method in its spec. method: its spec. function: the plain function, with annotations.
    """

    __slots__ = ("function", "index", "method", "service")

    def __init__(self, service: str, index: int, method: MethodSpec, function: Callable[..., Any]) -> None:
        self.service = service
        self.index = index
        self.method = method
        self.function = function


class Caller(Protocol):
    """How a worker calls other services; installed with `install`."""

    def call(self, callee: Callee, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call and wait on this thread."""
        ...

    def call_async(self, callee: Callee, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """Call and wait on the event loop."""
        ...

    def stream(self, callee: Callee, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Any]:
        """Call a generator and take its items on this thread."""
        ...

    def stream_async(self, callee: Callee, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncIterator[Any]:
        """Call a generator and take its items on the event loop."""
        ...


_installed: list[Caller] = []


def install(caller: Caller | None) -> None:
    """Let dependencies go through `caller` from now on, in this process; None: back to plain Python."""
    _installed[:] = [] if caller is None else [caller]


class Dependency(Generic[T]):
    """The descriptor; make it with `depends`."""

    def __init__(self, service: type[T]) -> None:
        self._service = service
        self._name = ""

    @property
    def definition(self) -> Definition:
        """What the other service says about itself."""
        from tiffin.service.define import definition_of  # define imports this module

        return definition_of(self._service)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Dependency[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None:
            return self
        other: Any = Proxy(self.definition, _installed[0]) if _installed else self._service()
        instance.__dict__[self._name] = other  # found there first from now on: this is no data descriptor
        return other


def depends(service: type[T]) -> T:
    """Call another service from this one: ``other = tiffin.depends(Other)`` in the class, ``self.other.method(…)`` in a method.

    A sync method of the other is called and waited for, an async one awaited, a generator iterated; `self.other.to_async.method(…)`
    awaits in every case. Deadline, request id and cancellation go along.

    Args:
        service: a class decorated with ``@tiffin.service``.
    """
    return cast("T", Dependency(service))


class Proxy:
    """The other service as a method sees it in a worker."""

    def __init__(self, definition: Definition, caller: Caller, *, to_async: bool = False) -> None:
        spec = definition.spec()
        self._caller = caller
        self._definition = definition
        for index, (served, method) in enumerate(zip(definition.methods(), spec.methods, strict=True)):
            callee = Callee(definition.name, index, method, served.function)
            self.__dict__[served.attribute] = functools.wraps(served.function)(self._way(callee, to_async=to_async))

    @property
    def to_async(self) -> Proxy:
        """The same, with every method to be awaited."""
        return Proxy(self._definition, self._caller, to_async=True)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"service {self._definition.name!r} serves no method {name!r}")

    def _way(self, callee: Callee, *, to_async: bool) -> Callable[..., Any]:
        asynchronous = to_async or callee.method.kind in ("async", "async_generator")
        if callee.method.streams:
            way: Callable[..., Any] = self._caller.stream_async if asynchronous else self._caller.stream
        else:
            way = self._caller.call_async if asynchronous else self._caller.call
        return lambda *args, **kwargs: way(callee, args, kwargs)
