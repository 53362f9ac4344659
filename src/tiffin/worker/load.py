"""Loads the user's service in this process: class, instance, codecs.

Owns the order of loading; never connects and never runs a call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tiffin.codecs.file_codec import FileCodec
from tiffin.codecs.files import has_files
from tiffin.codecs.values import MethodCodec
from tiffin.config.parts import FilesConfig
from tiffin.errors import TiffinError
from tiffin.service.context import CallInfo, Context
from tiffin.service.define import definition_of
from tiffin.service.depends import install
from tiffin.spec.service import MethodSpec
from tiffin.worker.caller import LinkCaller
from tiffin.worker.context import Run
from tiffin.worker.hosted import Hosted, Method
from tiffin.worker.session import Session


class OtherSpec(TiffinError):
    """The class that was loaded is not the one that was described."""


def host(
    service: type,
    session: Callable[[], Session | None],
    *,
    digest: str = "",
    files: FilesConfig | None = None,
) -> Hosted:
    """Make an instance of a service and everything that its methods need.

    Args:
        service: the decorated class. session: returns the link's session; calls to other services go there.
        digest: of the spec that was described, "" for any. files: limits of files, None for the defaults.

    Raises:
        OtherSpec: the class has another spec by now.
        SpecError: the class cannot be served. Exceptions of the user's `__init__` pass through.
    """
    definition = definition_of(service)
    spec = definition.spec()
    if digest and spec.digest() != digest:
        raise OtherSpec(f"service {spec.name} has changed since it was described: it is described again")
    if spec.depends:
        install(LinkCaller(session))
    instance: Any = service()
    methods = [
        Method(
            index,
            method,
            getattr(instance, served.attribute),
            _codec(method, served.function, files or FilesConfig()),
            context=_context,
            tracked=bool(spec.depends),
        )
        for index, (served, method) in enumerate(zip(definition.methods(), spec.methods, strict=True))
    ]
    return Hosted(
        spec,
        methods,
        startup=[getattr(instance, name) for name in definition.hooks("startup")],
        shutdown=[getattr(instance, name) for name in definition.hooks("shutdown")],
    )


def _codec(method: MethodSpec, function: Callable[..., Any], files: FilesConfig) -> MethodCodec:
    return FileCodec(method, function, files) if has_files(method) else MethodCodec(method, function)


def _context(run: Run) -> Context:
    """Return what a method may know of its calls."""
    calls = tuple(CallInfo(member.request_id, member.attempt, member.meta) for member in run.members)
    return Context(calls, run.until)
