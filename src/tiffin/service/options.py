"""What the decorators were given, checked at once.

Owns the value classes that decorated functions and classes carry; never reads an annotation. Times in seconds.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec

from tiffin.config.parts import TrafficConfig
from tiffin.errors import SpecError
from tiffin.spec.resources import KEYS, read_resources, read_workers

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}\Z")
_ROUTE = re.compile(r"/[A-Za-z0-9._~/-]{0,255}\Z")
RESERVED = ("/", "/livez", "/readyz", "/healthz", "/metrics", "/docs", "/schema.json", "/openapi.json")
WORKERS = ("per_gpu", "cpu_count")


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
        for option in ("batchable", "one_row", "idempotent"):
            value = getattr(self, option)
            if not isinstance(value, bool):
                raise SpecError(f"{where}: {option}={value!r} must be True or False")
        for option, least in (("max_batch_size", 1), ("batch_dim", 0)):
            check_count(getattr(self, option), least, f"{where}: {option}")
        for option in ("max_latency_ms", "timeout", "run_limit"):
            value = getattr(self, option)
            if value is not None or option == "max_latency_ms":
                _check_time(value, f"{where}: {option}")
        if self.route is not None:
            check_route(self.route, where)
        check_name(self.name, where)
        media = cast("object", self.media)
        if not isinstance(media, str):
            raise SpecError(f"{where}: media={media!r} must be a content type such as 'audio/wav'")


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
        check_name(self.name, where)
        for option in ("threads", "concurrency", "streams"):
            check_count(getattr(self, option), 1, f"{where}: {option}")
        self._check_workers(where)
        for option, known in (("resources", KEYS), ("traffic", TrafficConfig.__struct_fields__)):
            given: object = getattr(self, option)
            if not isinstance(given, Mapping):
                raise SpecError(
                    f"{where}: {option}={given!r} must be a dict", hint=f"known keys are {', '.join(known)}"
                )
            known_key(cast("Mapping[str, Any]", given), known, f"{where}: {option}")
            _check_data(cast("Mapping[str, Any]", given), f"{where}: {option}")
        read_resources(self.resources, where)
        try:
            msgspec.convert(dict(self.traffic), TrafficConfig)
        except msgspec.ValidationError as error:
            raise SpecError(f"{where}: traffic={dict(self.traffic)!r}: {error}") from None

    def _check_workers(self, where: str) -> None:
        workers: object = self.workers
        if workers is None or (isinstance(workers, str) and workers in WORKERS):
            return
        if isinstance(workers, list) and workers:
            read_workers(cast("list[object]", workers), where)
            _check_data(cast("list[object]", workers), f"{where}: workers")
        elif isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            words = ", ".join(repr(word) for word in WORKERS)
            raise SpecError(
                f"{where}: workers={workers!r} is not a number of workers",
                hint=f"a number from 1 on, one of {words}, or a list with one dict per worker",
            )


Hook = Literal["startup", "shutdown"]


def check_name(name: object, where: str) -> None:
    """Refuse a name that messages, metrics and routes cannot carry.

    Raises:
        SpecError: says what a name is made of.
    """
    if name is not None and not (isinstance(name, str) and NAME.match(name)):
        raise SpecError(
            f"{where}: name={name!r} is not a name", hint="a letter or '_', then letters, digits, '_', '-' and '.'"
        )


def check_count(value: object, least: int, where: str) -> None:
    """Refuse what is not a whole number.

    Raises:
        SpecError: names the value.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SpecError(f"{where}={value!r} must be a whole number from {least} on")


def _check_time(value: object, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise SpecError(f"{where}={value!r} must be a number above 0")


def _check_data(value: object, where: str) -> None:
    """Refuse what cannot be written down: a spec is data."""
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError) as error:
        raise SpecError(f"{where}={value!r} holds what JSON cannot say: {error}") from None


def check_route(route: object, where: str) -> None:
    """Refuse a path that cannot be a method's.

    Raises:
        SpecError: it is not a path, or one of the system's own.
    """
    if (
        not isinstance(route, str)
        or not _ROUTE.match(route)
        or "//" in route
        or "/../" in f"{route}/"
        or "/./" in f"{route}/"
    ):
        raise SpecError(
            f"{where}: route={route!r} is not a path", hint="start with '/', use letters, digits, '-', '_', '.'"
        )
    if route in RESERVED or route.startswith("/docs/"):
        raise SpecError(
            f"{where}: route {route!r} is Tiffin's own", hint="give it another one: @tiffin.api(route='/…')"
        )


def known_key(given: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Refuse a key that does not exist.

    Raises:
        SpecError: names the nearest one.
    """
    for key in given:
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(known)}"
            raise SpecError(f"{where}: unknown key {key!r}", hint=hint)
