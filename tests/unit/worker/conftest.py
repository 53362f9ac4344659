"""Workers that end with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.unit.worker.bench import Bench
from tiffin.spec.service import MethodSpec
from tiffin.worker import failures


@pytest.fixture(autouse=True)
def _log_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another test's method did in the same place is forgotten."""
    monkeypatch.setattr(failures, "_again", failures.Again())


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(*functions: tuple[MethodSpec, Callable[..., Any]], reconnect: bool = False, **more: Any) -> Bench:
        made.append(Bench(*functions, **more))
        return made[-1].start(reconnect)

    yield make
    for one in made:
        one.stop()
