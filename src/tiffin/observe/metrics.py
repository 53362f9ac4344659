"""Counters and histograms as plain lists, cheap enough for every call.

Owns the numbers and the bound on their labels: declared methods (any other path is "other"), the closed code enum, and the first
`APP_CODES` codes of a service's own (later ones are "app.other"). Never formats anything (see `exposition`) and never asks the
clock. Times in seconds. One thread writes: the engine's loop.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tiffin.errors import Code

OK: Final = "OK"
OTHER: Final = "other"
APP_OTHER: Final = "app.other"
APP_CODES: Final = 32
APP_CODE_LENGTH: Final = 64
NO_METHOD: Final = -1

CAUSES: Final = ("crash", "killed", "run_limit", "oom_killer", "device", "out_of_memory", "link", OTHER)

SECONDS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
ROWS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0)

_SYSTEM: Final = (OK, *(code.value for code in Code))
_APP_OTHER_COLUMN: Final = len(_SYSTEM) + APP_CODES
_OTHER_COLUMN: Final = _APP_OTHER_COLUMN + 1
_COLUMNS: Final = _OTHER_COLUMN + 1

_GPU: Final = ("uuid", "device", "name")

# Gauges are read when somebody looks: name → meaning, label names.
GAUGES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "tiffin_in_flight": ("Calls that were accepted and have not ended.", ("service", "method")),
    "tiffin_batch_limit_rows": (
        "Rows of a batch that fit into memory at once, for methods that ran out of it; the least of all sizes of rows.",
        ("service", "method"),
    ),
    "tiffin_queued_calls": ("Calls that wait for a worker.", ("service",)),
    "tiffin_queued_bytes": ("Payload bytes of calls that wait for a worker.", ("service",)),
    "tiffin_workers": ("Worker processes by state.", ("service", "state")),
    "tiffin_http_connections": ("Open HTTP connections.", ()),
    "tiffin_arena_used_bytes": ("Bytes of the shared arena that hold payloads.", ()),
    "tiffin_ready": ("1 while the readiness check passes, else 0.", ()),
    "tiffin_worker_gpu_memory_bytes": (
        "Device memory that a worker's frameworks hold: now (used), after loading (loaded), at most in a batch (peak).",
        ("service", "worker", "kind"),
    ),
    "tiffin_batch_gpu_memory_bytes": (
        "Most device memory that a batch took, by its rows, rounded up to a power of two.",
        ("service", "method", "rows"),
    ),
    "tiffin_gpu_up": ("1 while a GPU that workers sit on answers, 0 when it is lost.", _GPU),
    "tiffin_gpu_utilization_ratio": ("Share of the last sample period in which a kernel ran on the GPU, 0 to 1.", _GPU),
    "tiffin_gpu_memory_used_bytes": ("Memory of the GPU or the MIG slice that is in use, by anybody.", _GPU),
    "tiffin_gpu_memory_total_bytes": ("Memory that the GPU or the MIG slice has.", _GPU),
    "tiffin_gpu_power_watts": ("Power that the GPU draws.", _GPU),
    "tiffin_gpu_temperature_celsius": ("Temperature of the GPU.", _GPU),
}
# Counters that are kept elsewhere and read in the same way; their samples' names end in _total.
COUNTERS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "tiffin_worker_busy_seconds": (
        "Seconds that the compute lane of a worker ran methods; its rate is the busy share of the worker (of one thread).",
        ("service", "worker"),
    ),
}


class Histogram:
    """Counts of values by upper bound.

    Args:
        bounds: rising upper bounds, each inclusive; one more count takes what is above the last.

    Attributes:
        bounds: as given. counts: values per bucket, not cumulated, `len(bounds) + 1` of them. total: sum of the values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class MethodMetrics:
    """The numbers of one method.

    Attributes:
        calls: answers by column (see `ServiceMetrics.codes`). queue_wait: seconds per call until a worker got it.
        rows: rows per batch. compute: seconds per batch. no_memory: batches for which memory did not suffice at once.
    """

    __slots__ = ("calls", "compute", "no_memory", "queue_wait", "rows")

    def __init__(self) -> None:
        self.calls = [0] * _COLUMNS
        self.queue_wait = Histogram(SECONDS)
        self.rows = Histogram(ROWS)
        self.compute = Histogram(SECONDS)
        self.no_memory = 0


class ServiceMetrics:
    """The numbers of one service; a method is named by its index in `methods`, `NO_METHOD` stands for any other path.

    Args:
        service: the service's name. methods: the names of its methods, in the order of its spec.
        previous: the numbers before a reload; counters of methods that stay go on, and an old generation that still answers
            counts into the same lists.

    Attributes:
        service, methods: as given. by_method: numbers by method name, also of methods that a reload removed.
        restarts: workers lost, by cause. retries: calls that were handed to a worker again.
    """

    __slots__ = ("_app_codes", "_columns", "_rows", "by_method", "methods", "restarts", "retries", "service")

    def __init__(self, service: str, methods: Sequence[str], previous: ServiceMetrics | None = None) -> None:
        self.service = service
        self.methods = list(methods)
        if previous is None:
            self.by_method: dict[str, MethodMetrics] = {OTHER: MethodMetrics()}
            self._columns = {code: column for column, code in enumerate(_SYSTEM)}
            self._columns[APP_OTHER] = _APP_OTHER_COLUMN
            self._app_codes: list[str] = []
            self.restarts = dict.fromkeys(CAUSES, 0)
            self.retries = [0]
        else:
            self.by_method = previous.by_method
            self._columns = previous._columns
            self._app_codes = previous._app_codes
            self.restarts = previous.restarts
            self.retries = previous.retries
        # "other" stands last, so that NO_METHOD, which is -1, finds it.
        self._rows = [self.by_method.setdefault(name, MethodMetrics()) for name in (*methods, OTHER)]

    def answered(self, method: int, code: str) -> None:
        """Count a call that ended, with "OK" or its error code; once per call."""
        try:
            column = self._columns[code]
        except KeyError:
            column = self._column(code)
        self._rows[method].calls[column] += 1

    def queue_wait(self, method: int, seconds: float) -> None:
        """Count the time that a call waited until a worker got it."""
        histogram = self._rows[method].queue_wait
        histogram.counts[bisect_left(SECONDS, seconds)] += 1
        histogram.total += seconds

    def batch(self, method: int, rows: int, compute_s: float, *, no_memory: bool = False) -> None:
        """Count a batch that ran; `no_memory`: not all of its rows fitted at once."""
        numbers = self._rows[method]
        if no_memory:
            numbers.no_memory += 1
        numbers.rows.observe(rows)
        numbers.compute.observe(compute_s)

    def retried(self, calls: int = 1) -> None:
        """Count calls that are handed to a worker again, because the one before was lost."""
        self.retries[0] += calls

    def worker_lost(self, cause: str) -> None:
        """Count a worker that is gone and will be replaced."""
        self.restarts[cause if cause in self.restarts else OTHER] += 1

    def codes(self, numbers: MethodMetrics) -> dict[str, int]:
        """Return a method's answers by code, "OK" always, others where there were any."""
        names = (*_SYSTEM, *self._app_codes)
        found = {name: numbers.calls[self._columns[name]] for name in names}
        found[APP_OTHER] = numbers.calls[_APP_OTHER_COLUMN]
        found[OTHER] = numbers.calls[_OTHER_COLUMN]
        return {name: count for name, count in found.items() if count or name == OK}

    def _column(self, code: str) -> int:
        """Give a code of the service's own a column while there are any; nothing that comes later is kept."""
        if not code.startswith("app."):
            return _OTHER_COLUMN
        if len(self._app_codes) == APP_CODES or len(code) > APP_CODE_LENGTH:
            return _APP_OTHER_COLUMN
        column = self._columns[code] = len(_SYSTEM) + len(self._app_codes)
        self._app_codes.append(code)
        return column


Reading = Mapping[tuple[str, ...], float]


class Registry:
    """All numbers of one front.

    Attributes:
        services: by name. edge: answers given while no service is known, under no service's name.
        gauges, counters: readers by name, see `GAUGES` and `COUNTERS`.
    """

    def __init__(self) -> None:
        self.edge = ServiceMetrics("", ())
        self.services: dict[str, ServiceMetrics] = {}
        self.gauges: dict[str, Callable[[], Reading]] = {}
        self.counters: dict[str, Callable[[], Reading]] = {}

    def service(self, name: str, methods: Sequence[str]) -> ServiceMetrics:
        """Return the numbers of a service with these methods; what was counted under its name before goes on."""
        metrics = ServiceMetrics(name, methods, self.services.get(name))
        self.services[name] = metrics
        return metrics

    def gauge(self, name: str, read: Callable[[], Reading]) -> None:
        """Have a gauge read by `read` at each look: label values (in the order of `GAUGES`) → value.

        Raises:
            KeyError: the gauge is not declared in `GAUGES`.
        """
        if name not in GAUGES:
            raise KeyError(f"no gauge is named {name!r}; declare it in GAUGES")
        self.gauges[name] = read

    def counter(self, name: str, read: Callable[[], Reading]) -> None:
        """Have a counter read by `read` at each look, as `gauge` does.

        Raises:
            KeyError: the counter is not declared in `COUNTERS`.
        """
        if name not in COUNTERS:
            raise KeyError(f"no counter is named {name!r}; declare it in COUNTERS")
        self.counters[name] = read
