"""The decorators: `@tiffin.service`, `@tiffin.api`, `@tiffin.on_startup`, `@tiffin.on_shutdown`.

Owns what a decorated class says about itself (`__tiffin__`); the class and its methods stay what they were. Times in seconds
unless named otherwise.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar, cast, overload

from tiffin.errors import SpecError
from tiffin.service.context import Context
from tiffin.service.depends import Dependency
from tiffin.service.options import ApiOptions, Hook, ServiceOptions, check_route, known_key
from tiffin.spec.service import MethodSpec, ServiceSpec

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)

_API = "__tiffin_api__"
_HOOK = "__tiffin_hook__"
_DOC_LINES = 20


class ServedMethod(NamedTuple):
    """A method as it stands in its class: attribute name, plain function, options."""

    attribute: str
    function: Callable[..., Any]
    options: ApiOptions


class Definition:
    """What a service class says about itself, at ``__tiffin__``.

    Attributes:
        service: the class. options: as given to the decorator. name: of the service.
    """

    def __init__(self, service: type, options: ServiceOptions) -> None:
        options.check(f"service {service.__qualname__}")
        self.service = service
        self.options = options
        self.name = options.name or service.__name__

    def methods(self) -> Iterator[ServedMethod]:
        """Return the served methods, those of base classes first, each where it was first defined."""
        found: dict[str, ServedMethod] = {}
        for base in reversed(self.service.__mro__):
            for attribute in vars(base):
                function = inspect.getattr_static(self.service, attribute)
                options = getattr(_inner(function), _API, None)
                if isinstance(options, ApiOptions):
                    found.setdefault(attribute, ServedMethod(attribute, function, options))
                elif attribute in found:
                    del found[attribute]  # overridden by something that is not served
        return iter(found.values())

    def hooks(self, hook: Hook) -> list[str]:
        """Return the attribute names of the hooks, those of base classes first."""
        names: dict[str, None] = {}
        for base in reversed(self.service.__mro__):
            for attribute in vars(base):
                if getattr(inspect.getattr_static(self.service, attribute), _HOOK, None) == hook:
                    names[attribute] = None
        return list(names)

    def dependencies(self) -> dict[str, Dependency[Any]]:
        """Return the services that this one calls, by attribute name."""
        found: dict[str, Dependency[Any]] = {}
        for base in reversed(self.service.__mro__):
            found |= {name: value for name, value in vars(base).items() if isinstance(value, Dependency)}
        return found

    def target(self) -> str:
        """Return the import string of the class, also where a function made it and a module holds it by another name."""
        cls = self.service
        names: list[str] = []
        module = sys.modules.get(cls.__module__)
        if "<locals>" in cls.__qualname__ and module is not None:
            names = [name for name, value in vars(module).items() if value is cls]
        return f"{cls.__module__}:{(names or [cls.__qualname__])[0]}"

    def spec(self) -> ServiceSpec:
        """Return the service as data; reads the annotations.

        Raises:
            SpecError: it cannot be served as written; the message names what and why.
        """
        methods = tuple(self._method(served) for served in self.methods())
        if not methods:
            raise SpecError(
                f"service {self.name} has no method to serve",
                hint="put @tiffin.api before the methods that clients may call",
            )
        for what in ("name", "route"):
            seen: dict[str, str] = {}
            for method, served in zip(methods, self.methods(), strict=True):
                value = getattr(method, what)
                if value in seen:
                    raise SpecError(
                        f"service {self.name}: {seen[value]} and {served.attribute} have the same {what} {value!r}"
                    )
                seen[value] = served.attribute
        options = self.options
        return ServiceSpec(
            name=self.name,
            target=self.target(),
            methods=methods,
            workers=options.workers,
            resources=dict(options.resources),
            threads=options.threads,
            concurrency=options.concurrency,
            streams=options.streams,
            depends={name: dependency.definition.name for name, dependency in self.dependencies().items()},
            traffic=dict(options.traffic),
            doc=_doc(self.service.__dict__.get("__doc__")),
        )

    def _method(self, served: ServedMethod) -> MethodSpec:
        from tiffin.service.signature import read_signature  # reading annotations is for describe and the worker only

        options = served.options
        where = f"{self.service.__qualname__}.{served.attribute}"
        if not inspect.isfunction(served.function):
            kind = type(served.function).__name__
            raise SpecError(
                f"{where}: a {kind} cannot be served", hint="@tiffin.api goes on plain methods, first in line"
            )
        signature = read_signature(
            served.function,
            where,
            context_type=Context,
            batchable=options.batchable,
            batch_dim=options.batch_dim,
            one_row=options.one_row,
        )
        name = options.name or served.attribute
        route = options.route if options.route is not None else f"/{name}"
        check_route(route, where)
        return MethodSpec(
            name=name,
            route=route,
            kind=signature.kind,
            params=signature.params,
            whole_body=signature.whole_body,
            context=signature.context,
            returns=signature.returns,
            batchable=options.batchable,
            batch_dim=options.batch_dim,
            one_row=options.one_row,
            max_batch_size=options.max_batch_size,
            max_latency_s=options.max_latency_ms / 1000,
            idempotent=options.idempotent,
            timeout_s=options.timeout,
            run_limit_s=options.run_limit,
            media=options.media or signature.media,
            doc=_doc(served.function.__doc__),
        )


def definition_of(service: object) -> Definition:
    """Return what a class decorated with ``@tiffin.service`` says about itself.

    Raises:
        SpecError: it is no such class.
    """
    definition = vars(service).get("__tiffin__") if isinstance(service, type) else None
    if not isinstance(definition, Definition):
        raise SpecError(f"{service!r} is not a service", hint="put @tiffin.service before the class")
    return definition


@overload
def service(cls: C, /) -> C: ...
@overload
def service(
    *,
    name: str | None = None,
    workers: int | str | list[dict[str, Any]] | None = None,
    resources: Mapping[str, Any] | None = None,
    traffic: Mapping[str, Any] | None = None,
    threads: int = 1,
    concurrency: int = 128,
    streams: int = 8,
) -> Callable[[C], C]: ...
def service(
    cls: type | None = None,
    /,
    *,
    name: str | None = None,
    workers: int | str | list[dict[str, Any]] | None = None,
    resources: Mapping[str, Any] | None = None,
    traffic: Mapping[str, Any] | None = None,
    threads: int = 1,
    concurrency: int = 128,
    streams: int = 8,
) -> Any:
    """Make a class a service; the class itself is returned and stays plain Python.

    Args:
        name: of the service; the class's name by default.
        workers: processes, or "per_gpu"; by default what ``tiffin serve --workers`` says, else 1.
        resources: what one worker needs, for example ``{"gpu": 1}``.
        traffic: this service's own `TrafficConfig` values, for example ``{"timeout_s": 5}``.
        threads: sync methods that run at once in a worker. concurrency: async ones. streams: sync generators.

    Raises:
        SpecError: an option that does not exist or cannot be; the message names it.
    """
    options = ServiceOptions(
        name=name,
        workers=workers,
        resources=resources or {},
        traffic=traffic or {},
        threads=threads,
        concurrency=concurrency,
        streams=streams,
    )

    def decorate(cls: type) -> type:
        if not inspect.isclass(cls):
            raise SpecError(f"@tiffin.service goes on a class, not on {cls!r}")
        cls.__tiffin__ = Definition(cls, options)  # type: ignore[attr-defined]
        return cls

    return decorate if cls is None else decorate(cls)


@overload
def api(function: F, /) -> F: ...
@overload
def api(
    *,
    route: str | None = None,
    name: str | None = None,
    batchable: bool = False,
    batch_dim: int = 0,
    one_row: bool = False,
    max_batch_size: int = 100,
    max_latency_ms: float = 60_000,
    idempotent: bool = True,
    timeout: float | None = None,
    run_limit: float | None = None,
    media: str = "",
) -> Callable[[F], F]: ...
def api(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a method callable by clients; the function itself is returned.

    Args:
        route: path, ``/<name>`` by default. name: the method's name by default.
        batchable: requests bring rows along `batch_dim`; those that wait are joined, and the result is split again. All parameters
            carry rows.
        one_row: a client sends and gets a single row unwrapped, while the method still sees rows.
        max_batch_size: rows per run; a request with more is run in parts.
        max_latency_ms: cap on queue + compute; a call that would take longer is refused at once. Never a time to wait for company.
        idempotent: may be run again when a worker died; else such a call fails with MAYBE_EXECUTED.
        timeout: default deadline in seconds. run_limit: seconds after which a run is stopped and its worker replaced.
        media: fixed content type of the answer (for str and bytes).

    Raises:
        SpecError: an option that cannot be; the message names it.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        where = getattr(function, "__qualname__", repr(function))
        known_key(options, ApiOptions.__struct_fields__, f"{where}: @tiffin.api")
        checked = ApiOptions(**options)
        checked.check(where)
        try:
            setattr(function, _API, checked)
        except AttributeError:
            raise SpecError(f"@tiffin.api goes on a plain method, not on {function!r}") from None
        return function

    return decorate if function is None else decorate(function)


def on_startup(function: F) -> F:
    """Run this method in each worker after ``__init__`` and before the first call; it may be async."""
    return _hook(function, "startup")


def on_shutdown(function: F) -> F:
    """Run this method in each worker after its last call; it may be async."""
    return _hook(function, "shutdown")


def _inner(attribute: Any) -> Any:
    """Return what a static or class method or a property wraps, so that @tiffin.api below it is refused, not overlooked."""
    if isinstance(attribute, staticmethod | classmethod) and not hasattr(cast("Any", attribute), _API):
        return cast("Any", attribute).__func__
    if isinstance(attribute, property):
        return attribute.fget
    return cast("Any", attribute)


def _hook(function: F, hook: Hook) -> F:
    setattr(function, _HOOK, hook)
    return function


def _doc(text: object) -> str:
    return "\n".join(inspect.cleandoc(text).splitlines()[:_DOC_LINES]) if isinstance(text, str) else ""
