"""The decorators: `@tiffin.service`, `@tiffin.api`, `@tiffin.on_startup`, `@tiffin.on_shutdown`.

Owns their arguments, checked at once; what they leave behind is read by `define`. Times in seconds unless named otherwise.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast, overload

from tiffin.errors import SpecError
from tiffin.service.define import API_MARK, HOOK_MARK, Definition
from tiffin.service.options import ApiOptions, Hook, ServiceOptions, known_key

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)


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
    **unknown: Any,
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
    known_key(unknown, ServiceOptions.__struct_fields__, "@tiffin.service")
    options = ServiceOptions(
        name=name,
        workers=workers,
        resources={} if resources is None else resources,
        traffic={} if traffic is None else traffic,
        threads=threads,
        concurrency=concurrency,
        streams=streams,
    )

    def decorate(cls: type) -> type:
        if not inspect.isclass(cls):
            given = cast("object", cls)  # the user may not check types
            hint = f"options have names: @tiffin.service(name={given!r})" if isinstance(given, str) else ""
            raise SpecError(f"@tiffin.service goes on a class, not on {cls!r}", hint=hint)
        definition = Definition(cls, options)
        if definition.dependencies() and not cls.__dictoffset__:
            raise SpecError(
                f"service {cls.__qualname__} has __slots__ only, and no place for what it depends on",
                hint="add '__dict__' to its __slots__",
            )
        cls.__tiffin__ = definition  # type: ignore[attr-defined]
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
        if isinstance(cast("object", function), str):
            raise SpecError(
                f"@tiffin.api goes on a method, not on {function!r}",
                hint=f"options have names: @tiffin.api(route={function!r})",
            )
        known_key(options, ApiOptions.__struct_fields__, f"{where}: @tiffin.api")
        checked = ApiOptions(**options)
        checked.check(where)
        try:
            setattr(function, API_MARK, checked)
        except AttributeError:
            raise SpecError(f"@tiffin.api goes on a plain method, not on {function!r}") from None
        return function

    return decorate if function is None else decorate(function)


@overload
def on_startup(function: F, /) -> F: ...
@overload
def on_startup() -> Callable[[F], F]: ...
def on_startup(function: Callable[..., Any] | None = None, /) -> Any:
    """Run this method in each worker after ``__init__`` and before the first call; it may be async."""
    return _hook("startup") if function is None else _hook("startup")(function)


@overload
def on_shutdown(function: F, /) -> F: ...
@overload
def on_shutdown() -> Callable[[F], F]: ...
def on_shutdown(function: Callable[..., Any] | None = None, /) -> Any:
    """Run this method in each worker after its last call; it may be async."""
    return _hook("shutdown") if function is None else _hook("shutdown")(function)


def _hook(hook: Hook) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        if not (callable(function) or type(function) in (staticmethod, classmethod)):
            raise SpecError(f"@tiffin.on_{hook} goes on a method, not on {function!r}")
        setattr(function, HOOK_MARK, hook)
        return function

    return decorate
