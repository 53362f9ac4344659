"""A desk to try the scheduler at: a clock that is moved by hand, calls by the dozen, batches by their ids."""

from __future__ import annotations

from tiffin.batching.instructions import Instruction, Reject
from tiffin.batching.policy import Limits, MethodPolicy, Slots, Ticket
from tiffin.batching.scheduler import Scheduler


class Desk:
    """A scheduler with workers 1…n and a clock at 100 s."""

    def __init__(
        self,
        *methods: MethodPolicy,
        workers: int = 1,
        slots: Slots | None = None,
        limits: Limits | None = None,
        transfer_s: float = 0.0003,
    ) -> None:
        self.scheduler = Scheduler(methods or (MethodPolicy(name="noop"),), limits or Limits(), transfer_s)
        self.now = 100.0
        self.slots = slots or Slots()
        for worker in range(1, workers + 1):
            self.up(worker)

    def up(self, worker: int) -> None:
        self.scheduler.worker_up(self.now, worker, self.slots)

    def arrive(
        self,
        *calls: int,
        method: int = 0,
        rows: int = 1,
        size: int = 10,
        timeout: float = 60.0,
        idempotent: bool = True,
        inner: bool = False,
    ) -> list[Reject | None]:
        """Let calls with these ids arrive now."""
        return [
            self.scheduler.arrive(
                self.now,
                Ticket(
                    call,
                    method,
                    rows,
                    size,
                    self.now,
                    self.now + timeout,
                    idempotent=idempotent,
                    inner=inner,
                ),
            )
            for call in calls
        ]

    def schedule(self) -> list[Instruction]:
        return self.scheduler.schedule(self.now)

    def tick(self, seconds: float = 0.025) -> list[Instruction]:
        """Let time pass, then tick."""
        self.now += seconds
        return self.scheduler.tick(self.now)

    def ran(
        self, worker: int, batch: int, *calls: int, compute_s: float = 0.001, rows: int = 0, split_s: float = 0.0
    ) -> None:
        """Answer these calls, then the batch is over."""
        for call in calls:
            self.scheduler.answered(call)
        self.scheduler.finished(self.now, worker, batch, compute_s, rows or len(calls), split_s)

    def learn(self, method: int = 0, *, compute_s: float, rows: int = 1, batch: int = 1) -> None:
        """Let one call of `rows` rows run for `compute_s` on worker 1, as batch number `batch`, so that it can be predicted."""
        self.arrive(9_000_000 + batch, method=method, rows=rows)
        self.schedule()
        self.now += compute_s
        self.ran(1, batch, 9_000_000 + batch, compute_s=compute_s, rows=rows)
        assert self.scheduler.open_calls == 0

    def down(self, worker: int, cause: str = "crash") -> list[Instruction]:
        return self.scheduler.worker_down(self.now, worker, cause)  # type: ignore[arg-type]
