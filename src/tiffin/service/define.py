"""What a decorated class says about itself, at `__tiffin__`: its methods, hooks and dependencies, and the spec made of them.

Owns the reading of the class; the class and its methods stay what they were, and no method is run. Times in seconds.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

from tiffin.errors import SpecError
from tiffin.service.context import Context
from tiffin.service.depends import Dependency
from tiffin.service.options import ApiOptions, Hook, ServiceOptions, check_route
from tiffin.spec.service import MethodSpec, ServiceSpec

# Where the decorators of `decorators` leave what they were given.
API_MARK = "__tiffin_api__"
HOOK_MARK = "__tiffin_hook__"
_HOOKS: tuple[Hook, ...] = ("startup", "shutdown")
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
                options = getattr(_inner(function), API_MARK, None)
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
                if getattr(inspect.getattr_static(self.service, attribute), HOOK_MARK, None) == hook:
                    names[attribute] = None
        return list(names)

    def dependencies(self) -> dict[str, Dependency[Any]]:
        """Return the services that this one calls, by attribute name."""
        names = dict.fromkeys(name for base in reversed(self.service.__mro__) for name in vars(base))
        found = {name: inspect.getattr_static(self.service, name) for name in names}
        return {name: value for name, value in found.items() if isinstance(value, Dependency)}

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
        for hook in _HOOKS:
            for attribute in self.hooks(hook):
                self._check_hook(attribute)
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
                        f"service {self.name}: {seen[value]} and {served.attribute} have the same {what} {value!r}",
                        hint=f"give one of them another: @tiffin.api({what}=…)",
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
            timeout_s=None if options.timeout is None else float(options.timeout),  # 1 and 1.0 have one digest
            run_limit_s=None if options.run_limit is None else float(options.run_limit),
            media=options.media or signature.media,
            doc=_doc(served.function.__doc__),
        )

    def _check_hook(self, attribute: str) -> None:
        """Refuse a hook that would fail, or do nothing, when a worker starts or ends.

        Raises:
            SpecError: names the hook and the reason.
        """
        hook = inspect.getattr_static(self.service, attribute)
        function: Any = cast("Any", hook).__func__ if isinstance(hook, staticmethod | classmethod) else hook
        where = f"{self.service.__qualname__}.{attribute}"
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise SpecError(f"{where}: a generator cannot be a hook: nobody would take its items", hint="do not yield")
        own = 0 if isinstance(hook, staticmethod) else 1
        for parameter in list(inspect.signature(function).parameters.values())[own:]:
            if parameter.default is parameter.empty and parameter.kind not in (
                parameter.VAR_POSITIONAL,
                parameter.VAR_KEYWORD,
            ):
                raise SpecError(
                    f"{where}: a hook is called without arguments, and parameter {parameter.name!r} has no default",
                    hint="give it one, or set the value in __init__",
                )


def definition_of(service: object) -> Definition:
    """Return what a class decorated with ``@tiffin.service`` says about itself.

    Raises:
        SpecError: it is no such class.
    """
    definition = vars(service).get("__tiffin__") if isinstance(service, type) else None
    if not isinstance(definition, Definition):
        inherits = isinstance(service, type) and hasattr(service, "__tiffin__")
        hint = "put @tiffin.service before this class too: it is not inherited" if inherits else ""
        raise SpecError(f"{service!r} is not a service", hint=hint or "put @tiffin.service before the class")
    return definition


def _inner(attribute: Any) -> Any:
    """Return what a static or class method or a property wraps, so that @tiffin.api below it is refused, not overlooked."""
    if isinstance(attribute, staticmethod | classmethod) and not hasattr(cast("Any", attribute), API_MARK):
        return cast("Any", attribute).__func__
    if isinstance(attribute, property):
        return attribute.fget
    return cast("Any", attribute)


def _doc(text: object) -> str:
    return "\n".join(inspect.cleandoc(text).splitlines()[:_DOC_LINES]) if isinstance(text, str) else ""
