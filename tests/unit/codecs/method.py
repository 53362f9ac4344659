"""A front's checker and a worker's codec of one function, built as the house builds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tiffin.codecs.check import Checker
from tiffin.codecs.values import MethodCodec
from tiffin.errors import Error
from tiffin.service.signature import read_signature
from tiffin.spec.service import MethodSpec


def spec(function: Callable[..., Any], **options: Any) -> MethodSpec:
    rules = {name: options[name] for name in ("batchable", "batch_dim", "one_row") if name in options}
    signature = read_signature(function, f"Svc.{function.__name__}", **rules)
    return MethodSpec(
        name=function.__name__,
        route=f"/{function.__name__}",
        kind=signature.kind,
        params=signature.params,
        whole_body=signature.whole_body,
        context=signature.context,
        returns=signature.returns,
        media=signature.media,
        **options,
    )


def codec(function: Callable[..., Any], **options: Any) -> MethodCodec:
    return MethodCodec(spec(function, **options), function)


def checker(function: Callable[..., Any], **options: Any) -> Checker:
    return Checker(spec(function, **options))


def refused(run: Callable[..., Any], *args: Any) -> list[tuple[str, str]]:
    """Return path and reason of every wrong field of the INVALID_INPUT that a call raises."""
    with pytest.raises(Error) as caught:
        run(*args)
    assert caught.value.code == "INVALID_INPUT", caught.value
    assert isinstance(caught.value.details, list)
    return [(detail["path"], detail["reason"]) for detail in caught.value.details]
