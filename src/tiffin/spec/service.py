"""A service as data: what the describe child prints, the front serves by, and the worker is checked against.

Owns `ServiceSpec` and its parts; never holds a class, a function or an open resource. Times in seconds.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec

from tiffin.spec.types import Type

Lane = Literal["compute", "async", "stream"]
Kind = Literal["sync", "async", "generator", "async_generator"]


class Param(msgspec.Struct, frozen=True, kw_only=True):
    """One argument of a method.

    Attributes:
        name: its name in Python and, unless `MethodSpec.whole_body`, its key in the JSON object.
        type: what it accepts.
        required: false where Python has a default (the worker applies it; it need not be JSON).
        batched: carries rows along the batch dimension (batchable methods only).
    """

    name: str
    type: Type
    required: bool = True
    batched: bool = False


class MethodSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One callable of a service, a route.

    Attributes:
        name: Python name of the method. route: path, starts with "/".
        kind: how Python runs it.
        params: arguments in the order of the signature, without self and the context.
        whole_body: the one (positional-only) parameter takes the whole body.
        context: name of the parameter that gets the `tiffin.Context`, "" for none.
        returns: result type; for generators the type of one item.
        batchable: requests are joined along `batch_dim` and split again.
        one_row: a client sends and gets one row unwrapped (batchable only).
        max_batch_size: rows per run. max_latency_s: cap on queue + compute, an early-reject deadline.
        idempotent: may be run again after a worker died.
        timeout_s: default deadline of a call; None takes traffic.timeout_s.
        run_limit_s: a run longer than this replaces the worker; None takes half the timeout.
        media: fixed media type of the response, "" chooses by type and Accept.
        doc: first lines of the docstring.
    """

    name: str
    route: str
    kind: Kind = "sync"
    params: tuple[Param, ...] = ()
    whole_body: bool = False
    context: str = ""
    returns: Type
    batchable: bool = False
    batch_dim: int = 0
    one_row: bool = False
    max_batch_size: int = 100
    max_latency_s: float = 60.0
    idempotent: bool = True
    timeout_s: float | None = None
    run_limit_s: float | None = None
    media: str = ""
    doc: str = ""

    @property
    def streams(self) -> bool:
        """Whether the method answers with a stream of items."""
        return self.kind in ("generator", "async_generator")

    @property
    def lane(self) -> Lane:
        """The worker capacity that the method uses."""
        if self.kind == "generator":
            return "stream"
        if self.kind == "async_generator" or (self.kind == "async" and not self.batchable):
            return "async"
        return "compute"


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A user's class, as data.

    Attributes:
        name: unique within one application.
        target: import string "module:Class" that the worker loads.
        methods: in order of definition; messages name a method by its index here.
        workers: processes, "per_gpu", or explicit device lists; None takes the configuration's.
        resources: as given by the user: gpu, gpu_memory, gpu_type, cpu, fallback, exclusive.
        threads: compute lane slots. concurrency: async lane. streams: threads for sync generators.
        depends: names of services that this one calls, attribute name → service name.
        traffic: the service's own overrides of `config.TrafficConfig`, by field name.
        doc: first lines of the class docstring.
    """

    name: str
    target: str
    methods: tuple[MethodSpec, ...]
    workers: int | str | list[dict[str, Any]] | None = None
    resources: dict[str, Any] = {}
    threads: int = 1
    concurrency: int = 128
    streams: int = 8
    depends: dict[str, str] = {}
    traffic: dict[str, Any] = {}
    doc: str = ""

    def digest(self) -> str:
        """Return a hash of everything in the spec (hex, 64 characters); equal specs have equal digests."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """The entry service and all that it depends on, dependencies first, the entry last."""

    services: tuple[ServiceSpec, ...]

    @property
    def entry(self) -> ServiceSpec:
        """The service whose methods are routes."""
        return self.services[-1]
