"""The registry in Prometheus' text format, and in OpenMetrics for those who ask for it.

Owns the names and meanings of the metric families; never counts anything. prometheus_client is loaded at the first look, which
costs that look some 60 ms and an idle front nothing. Times in seconds.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, cast

from tiffin.observe.metrics import COUNTERS, GAUGES, Histogram, MethodMetrics, Reading, Registry, ServiceMetrics
from tiffin.version import VERSION

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

_BY_METHOD = ("service", "method")
_OPENMETRICS = "application/openmetrics-text"


def expose(registry: Registry, accept: str = "") -> tuple[bytes, str]:
    """Return all numbers as text.

    Args:
        registry: what to show.
        accept: the request's Accept header; OpenMetrics is given to those who name it, the classic format to all others.

    Returns:
        The body and its content type.
    """
    # Loaded here: a front that nobody scrapes never pays for it.
    from prometheus_client import exposition as classic
    from prometheus_client.openmetrics import exposition as openmetrics
    from prometheus_client.registry import CollectorRegistry

    # prometheus_client can choose by the header too, but trips over, and repeats, whatever version stands in it.
    shown = CollectorRegistry(auto_describe=False)
    shown.register(_Collector(registry))
    if any(part.split(";", 1)[0].strip().lower() == _OPENMETRICS for part in accept.split(",")):
        # The library leaves this one function without annotations.
        generate = cast("Callable[[CollectorRegistry], bytes]", openmetrics.generate_latest)
        return generate(shown), openmetrics.CONTENT_TYPE_LATEST
    return classic.generate_latest(shown), "text/plain; version=0.0.4; charset=utf-8"


class _Collector:
    """What prometheus_client asks at each look."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Yield every family, each with all of its samples."""
        services = sorted(self._registry.services.values(), key=lambda metrics: metrics.service)
        if any(any(numbers.calls) for numbers in self._registry.edge.by_method.values()):
            services.insert(0, self._registry.edge)
        yield from _counters(services)
        yield from _histograms(services)
        yield from _read_at_the_look(self._registry)
        yield _build_info()


def _counters(services: list[ServiceMetrics]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily

    calls = CounterMetricFamily(
        "tiffin_calls", "Calls that ended, by code; OK is a success.", labels=(*_BY_METHOD, "code")
    )
    retries = CounterMetricFamily(
        "tiffin_retries", "Calls that were handed to a worker again after the one before was lost.", labels=["service"]
    )
    restarts = CounterMetricFamily(
        "tiffin_worker_restarts", "Workers that were lost and are replaced, by cause.", labels=["service", "cause"]
    )
    no_memory = CounterMetricFamily(
        "tiffin_out_of_memory", "Batches for which memory did not suffice at once.", labels=_BY_METHOD
    )
    for service in services:
        for method, numbers in service.by_method.items():
            for code, count in service.codes(numbers).items():
                calls.add_metric([service.service, method, code], count)
            if _ran(numbers):
                no_memory.add_metric([service.service, method], numbers.no_memory)
        if service.methods:
            retries.add_metric([service.service], service.retries[0])
            for cause, count in service.restarts.items():
                restarts.add_metric([service.service, cause], count)
    yield from (calls, retries, restarts, no_memory)


def _histograms(services: list[ServiceMetrics]) -> Iterator[Metric]:
    from prometheus_client.core import HistogramMetricFamily

    waits = HistogramMetricFamily(
        "tiffin_queue_wait_seconds", "Time from a call's arrival until a worker got it.", labels=_BY_METHOD
    )
    rows = HistogramMetricFamily("tiffin_batch_rows", "Rows per batch.", labels=_BY_METHOD)
    compute = HistogramMetricFamily(
        "tiffin_compute_seconds", "Time that a worker ran user code, per batch.", labels=_BY_METHOD
    )
    for service in services:
        for method, numbers in service.by_method.items():
            if _ran(numbers):
                labels = [service.service, method]
                _add(waits, labels, numbers.queue_wait)
                _add(rows, labels, numbers.rows)
                _add(compute, labels, numbers.compute)
    yield from (waits, rows, compute)


def _ran(numbers: MethodMetrics) -> bool:
    """Return whether any call of the method got to a worker: a histogram of nothing would only be noise."""
    return any(numbers.queue_wait.counts) or any(numbers.rows.counts)


def _add(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    bounds = [*(str(bound) for bound in histogram.bounds), "+Inf"]
    family.add_metric(labels, list(zip(bounds, accumulate(histogram.counts), strict=True)), histogram.total)


def _read_at_the_look(registry: Registry) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    for name, read in sorted(registry.counters.items()):
        meaning, labels = COUNTERS[name]
        yield _filled(CounterMetricFamily(name, meaning, labels=labels), read())
    for name, read in sorted(registry.gauges.items()):
        meaning, labels = GAUGES[name]
        yield _filled(GaugeMetricFamily(name, meaning, labels=labels), read())


def _filled(family: CounterMetricFamily | GaugeMetricFamily, samples: Reading) -> Metric:
    for values, value in sorted(samples.items()):
        family.add_metric(list(values), value)
    return family


def _build_info() -> Metric:
    from prometheus_client.core import InfoMetricFamily

    build = {"version": VERSION, "python": platform.python_version()}
    return InfoMetricFamily("tiffin_build", "What runs here.", value=build)
