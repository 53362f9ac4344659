"""`tiffin.depends(Other)`: one service calls another.

Owns the descriptor and its proxy; never sends anything: in a worker an installed `Caller` does, through the engine. In plain Python
the attribute is an instance of the other class.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast, overload

from tiffin.errors import SpecError
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
_making = threading.RLock()  # a service loads once, whichever threads ask first; services made by it ask again


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
        return cast("Definition", vars(self._service)["__tiffin__"])  # `depends` has seen that it is there

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Dependency[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None:
            return self
        name = self._name or _name_in(owner, self)
        with _making:
            other = instance.__dict__.get(name)
            if other is None:
                other = Proxy.of(self.definition, _installed[0]) if _installed else self._service()
                instance.__dict__[name] = other  # found there first from now on: this is no data descriptor
        return other


def depends(service: type[T]) -> T:
    """Call another service from this one: ``other = tiffin.depends(Other)`` in the class, ``self.other.method(…)`` in a method.

    A sync method of the other is called and waited for, an async one awaited, a generator iterated; `self.other.to_async.method(…)`
    awaits in every case. Deadline, request id and cancellation go along.

    Args:
        service: a class decorated with ``@tiffin.service``.

    Raises:
        SpecError: it is not such a class.
    """
    given = cast("object", service)  # the caller may not check its types
    if not (isinstance(given, type) and "__tiffin__" in vars(given)):
        inherits = isinstance(given, type) and hasattr(given, "__tiffin__")
        raise SpecError(
            f"tiffin.depends({service!r}) is not given a service",
            hint="put @tiffin.service before the other class" + (" too: it is not inherited" if inherits else ""),
        )
    return cast("T", Dependency(service))


class Proxy:
    """The other service as a method sees it in a worker."""

    def __init__(self, service: str, callees: Mapping[str, Callee], caller: Caller, *, to_async: bool) -> None:
        self._service = service
        for attribute, callee in callees.items():
            self.__dict__[attribute] = _like(callee.function, _way(callee, caller, to_async=to_async))
        if not to_async and "to_async" not in callees:
            self.to_async = Proxy(service, callees, caller, to_async=True)

    @classmethod
    def of(cls, definition: Definition, caller: Caller) -> Proxy:
        """Return the proxy of a service.

        Args:
            definition: whose. caller: takes the calls.
        """
        methods = enumerate(zip(definition.methods(), definition.spec().methods, strict=True))
        callees = {
            served.attribute: Callee(definition.name, index, method, served.function)
            for index, (served, method) in methods
        }
        return cls(definition.name, callees, caller, to_async=False)

    def __getattr__(self, name: str) -> Any:
        # A copy is looked at before it has any attribute, this one included.
        raise AttributeError(f"service {vars(self).get('_service')!r} serves no method {name!r}")


def _way(callee: Callee, caller: Caller, *, to_async: bool) -> Callable[..., Any]:
    """Return how one method is called."""
    asynchronous = to_async or callee.method.kind in ("async", "async_generator")
    if callee.method.streams:
        way: Callable[..., Any] = caller.stream_async if asynchronous else caller.stream
    else:
        way = caller.call_async if asynchronous else caller.call
    return lambda *args, **kwargs: way(callee, args, kwargs)


def _like(function: Callable[..., Any], way: Callable[..., Any]) -> Callable[..., Any]:
    """Make `way` look like a bound method: its name, docs and signature, but not the marks that the decorators left."""
    functools.update_wrapper(way, function, updated=())
    signature = inspect.signature(function)
    named: Any = way
    named.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])
    del named.__wrapped__  # it would be taken for a plain function of this process
    return way


def _name_in(owner: type, dependency: Dependency[Any]) -> str:
    """Return the attribute that holds a dependency which was set after the class was made."""
    return next(name for base in owner.__mro__ for name, value in vars(base).items() if value is dependency)
