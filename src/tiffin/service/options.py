"""What the decorators were given, checked at once.

Owns the value classes that decorated functions and classes carry; never reads an annotation. Times in seconds.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from tiffin.config.parts import TrafficConfig
from tiffin.errors import SpecError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}\Z")
_ROUTE = re.compile(r"/[A-Za-z0-9._~/-]{0,255}\Z")
RESERVED = ("/", "/livez", "/readyz", "/healthz", "/metrics", "/docs", "/schema.json", "/openapi.json")
RESOURCES = ("gpu", "gpu_memory", "gpu_type", "cpu", "memory", "fallback", "exclusive")


class ApiOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Arguments of ``@tiffin.api``; see there."""

    route: str | None = None
    name: str | None = None
    batchable: bool = False
    batch_dim: int = 0
    one_row: bool = False
    max_batch_size: int = 100
    max_latency_ms: float = 60_000
    idempotent: bool = True
    timeout: float | None = None
    run_limit: float | None = None
    media: str = ""

    def check(self, where: str) -> None:
        """Refuse what can never be served.

        Raises:
            SpecError: names the method, the option and the value.
        """
        for option in ("max_batch_size", "max_latency_ms", "timeout", "run_limit"):
            value = getattr(self, option)
            if value is not None and not value > 0:
                raise SpecError(f"{where}: {option}={value!r} must be above 0")
        if self.route is not None:
            check_route(self.route, where)
        if self.name is not None and not NAME.match(self.name):
            raise SpecError(f"{where}: name={self.name!r} is not a name", hint="letters, digits, '_', '-' and '.'")


class ServiceOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Arguments of ``@tiffin.service``; see there."""

    name: str | None = None
    workers: int | str | list[dict[str, Any]] | None = None
    resources: Mapping[str, Any] = {}
    traffic: Mapping[str, Any] = {}
    threads: int = 1
    concurrency: int = 128
    streams: int = 8

    def check(self, where: str) -> None:
        """Refuse what can never be served.

        Raises:
            SpecError: names the class, the option and the value.
        """
        if self.name is not None and not NAME.match(self.name):
            raise SpecError(f"{where}: name={self.name!r} is not a name", hint="letters, digits, '_', '-' and '.'")
        for option in ("threads", "concurrency", "streams"):
            value = getattr(self, option)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise SpecError(f"{where}: {option}={value!r} must be a number from 1 on")
        if isinstance(self.workers, bool) or (isinstance(self.workers, int) and self.workers < 1):
            raise SpecError(f"{where}: workers={self.workers!r} must be a number from 1 on, or 'per_gpu'")
        if isinstance(self.workers, str) and self.workers != "per_gpu":
            raise SpecError(f"{where}: workers={self.workers!r} is neither a number nor 'per_gpu'")
        known_key(self.resources, RESOURCES, f"{where}: resources")
        known_key(self.traffic, TrafficConfig.__struct_fields__, f"{where}: traffic")
        try:
            msgspec.convert(dict(self.traffic), TrafficConfig)
        except msgspec.ValidationError as error:
            raise SpecError(f"{where}: traffic={dict(self.traffic)!r}: {error}") from None


Hook = Literal["startup", "shutdown"]


def check_route(route: str, where: str) -> None:
    """Refuse a path that cannot be a method's.

    Raises:
        SpecError: it is not a path, or one of the system's own.
    """
    if not _ROUTE.match(route) or "//" in route or "/../" in f"{route}/" or "/./" in f"{route}/":
        raise SpecError(
            f"{where}: route={route!r} is not a path", hint="start with '/', use letters, digits, '-', '_', '.'"
        )
    if route in RESERVED or route.startswith("/docs/"):
        raise SpecError(f"{where}: route {route!r} is Tiffin's own", hint=f"not one of {', '.join(RESERVED)}")


def known_key(given: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Refuse a key that does not exist.

    Raises:
        SpecError: names the nearest one.
    """
    for key in given:
        if key not in known:
            nearest = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(known)}"
            raise SpecError(f"{where}: unknown key {key!r}", hint=hint)
