"""The engine: takes calls from the edge, asks the scheduler, hands batches to workers, ends every call exactly once.

Owns the open calls; never decodes a payload, never decides an order (the scheduler does), never starts a worker. One thread, one
loop. Times are CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tiffin.batching import instructions as do
from tiffin.batching.policy import Ticket
from tiffin.config.parts import Config
from tiffin.engine.calls import Lease, OpenCall, system_failure
from tiffin.engine.fleet import WATCH_S, Fleet
from tiffin.engine.generation import ServiceState
from tiffin.engine.inner import PARENT_ENDED, InnerCalls
from tiffin.engine.worker import WorkerHandle
from tiffin.errors import Code
from tiffin.link.arena import Arena
from tiffin.messages.control import DeathCause, ToSupervisor
from tiffin.messages.link import (
    Batch,
    Beat,
    Cancel,
    Data,
    End,
    Failure,
    LinkMessage,
    Open,
    Ran,
    Ready,
    Recall,
    Recalled,
    Reply,
    Slot,
    Window,
)
from tiffin.messages.port import Call, EdgePort, ToEdge, ToEngine
from tiffin.observe.metrics import Registry

TICK_S = 0.025
CROWD = 32  # calls within one round of the loop (about a millisecond's worth) after which the workers are looked at


class Timers(Protocol):
    """What the engine needs of an event loop."""

    def call_soon(self, callback: Callable[[], None]) -> object:
        """Run the callback in the next round."""
        ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> object:
        """Run the callback after `delay` seconds."""
        ...


class Engine:
    """See the module; implements `messages.port.EnginePort` and `fleet.Books`.

    Args:
        timers, clock: the loop and its monotonic clock. config: limits and pauses. arena: None where there is none.
        registry: metrics of all services. tell: sends a message to the supervisor.

    Attributes:
        fleet: the workers and the generations. calls: open calls by id.
    """

    def __init__(
        self,
        timers: Timers,
        clock: Callable[[], float],
        config: Config,
        arena: Arena | None,
        registry: Registry,
        tell: Callable[[ToSupervisor], None],
    ) -> None:
        self._timers = timers
        self._clock = clock
        self._arena = arena
        self._edge: EdgePort | None = None
        self._dirty: dict[ServiceState, None] = {}
        self._pump_due = False
        self._arrived = 0
        self._tick_due = False
        self.calls: dict[int, OpenCall] = {}
        self._inner = InnerCalls(self)
        self.fleet = Fleet(self, clock, config, 0 if arena is None else arena.size, registry, tell)
        self._watch()

    def connect(self, edge: EdgePort) -> None:
        """Name the edge that gets the answers to calls that come through the port."""
        self._edge = edge

    # -- from the edge -----------------------------------------------------------------------------------------------------

    def send(self, message: ToEngine) -> None:
        """See `EnginePort.send`."""
        if type(message) is Call:
            self._arrived += 1
            if self._arrived > CROWD:
                self._crowd()
            edge = self._edge
            if edge is None:
                raise RuntimeError("a call before Engine.connect")
            generation = self.fleet.generation
            if generation is None:
                edge.receive(system_failure(message.id, Code.STARTING, "the service is starting", 1.0))
                return
            lease = None
            if type(message.body) is Slot and self._arena is not None:
                lease = Lease(self._arena, message.body)
            entry = generation.entry
            self._arrive(
                OpenCall(
                    message.id,
                    entry,
                    edge,
                    message.method,
                    message.rows,
                    message.size,
                    message.media,
                    message.accept,
                    message.body,
                    self._clock(),
                    message.deadline,
                    message.request_id,
                    message.request_id,
                    message.meta,
                    entry.spec.methods[message.method].idempotent,
                    lease,
                )
            )
        elif type(message) is Window:
            self._window(message.stream, message.size)
        elif type(message) is Cancel:
            self.cancel(message.stream)

    def _arrive(self, call: OpenCall) -> None:
        state = call.state
        self.calls[call.id] = call
        state.open += 1
        if state.failed and not state.workers:
            self._fail(call, system_failure(call.id, Code.UNAVAILABLE, state.failed, 1.0))
            return
        refused = state.scheduler.arrive(
            call.arrived,
            Ticket(
                call.id,
                call.method,
                call.rows,
                call.size,
                call.arrived,
                call.deadline,
                call.idempotent,
                call.inner,
            ),
        )
        if refused is not None:
            self.apply(state, refused, call.arrived)
            return
        self.touch(state)
        if not self._tick_due:
            self._tick_due = True
            self._timers.call_later(TICK_S, self._tick)

    def cancel(self, id: int) -> None:
        """End a call that nobody waits for; queued, it is never run; running, its worker is told."""
        call = self.calls.get(id)
        if call is None:
            return
        now = self._clock()
        self._forget(call, Code.CANCELLED)
        for instruction in call.state.scheduler.cancel(now, id):
            self.apply(call.state, instruction, now)
        self.touch(call.state)

    def _window(self, id: int, size: int) -> None:
        call = self.calls.get(id)
        if call is not None and call.worker is not None:
            call.worker.link.send([Window(id, size)])

    # -- the pump ----------------------------------------------------------------------------------------------------------

    def touch(self, state: ServiceState) -> None:
        """Let the scheduler decide in the next round of the loop, so that all that arrives in this one is decided together."""
        self._dirty[state] = None
        if not self._pump_due:
            self._pump_due = True
            self._timers.call_soon(self._pump)

    def _crowd(self) -> None:
        """Look at the workers in the middle of a round: one that brings a thousand calls must not keep them waiting for its end."""
        self._arrived = 0
        for handle in list(self.fleet.handles.values()):
            handle.link.poll()
        self._pump()

    def _pump(self) -> None:
        self._pump_due = False
        self._arrived = 0
        now = self._clock()
        states, self._dirty = self._dirty, {}
        for state in states:
            for instruction in state.scheduler.schedule(now):
                self.apply(state, instruction, now)
            for handle in state.workers.values():
                handle.flush()

    def _tick(self) -> None:
        now = self._clock()
        for state in self.fleet.states():
            for instruction in state.scheduler.tick(now):
                self.apply(state, instruction, now)
            for instruction in state.scheduler.schedule(now):
                self.apply(state, instruction, now)
            for handle in state.workers.values():
                handle.flush()
        # A batch that hangs is looked at even when all its clients have left.
        self._tick_due = bool(self.calls) or any(state.scheduler.open_batches for state in self.fleet.states())
        if self._tick_due:
            self._timers.call_later(TICK_S, self._tick)

    def apply(self, state: ServiceState, instruction: do.Instruction, now: float) -> None:
        """Carry out what a scheduler decided (see `Books.apply`)."""
        kind = type(instruction)
        if kind is do.Dispatch:
            self._dispatch(state, instruction, now)  # type: ignore[arg-type]
        elif isinstance(instruction, do.Reject):
            call = self.calls.get(instruction.call)
            if call is not None:
                failed = system_failure(call.id, instruction.code, instruction.message, instruction.retry_after_s)
                self._fail(call, failed)
        elif isinstance(instruction, do.Expire):
            call = self.calls.get(instruction.call)
            if call is not None:
                given_s = call.deadline - call.arrived
                failed = system_failure(call.id, Code.DEADLINE, f"no answer within the deadline of {given_s:.3g} s")
                if call.worker is not None:
                    call.worker.out.append(Cancel(call.id))
                self._fail(call, failed)
        elif isinstance(instruction, do.Recall):
            state.workers[instruction.worker].out.append(Recall(instruction.batch))
        elif isinstance(instruction, do.Abort):
            handle = state.workers.get(instruction.worker)
            if handle is not None:
                handle.link.send([Cancel(instruction.call)])
        elif isinstance(instruction, do.Kill):
            handle = state.workers.get(instruction.worker)
            if handle is not None:
                self.fleet.kill(handle, "run_limit", instruction.reason)

    def _dispatch(self, state: ServiceState, order: do.Dispatch, now: float) -> None:
        handle = state.workers[order.worker]
        calls = self.calls
        metrics = state.metrics
        members: list[Open] = []
        for id in order.calls:
            call = calls[id]
            call.worker = handle
            call.attempt = order.attempt
            metrics.queue_wait(call.method, now - call.arrived)
            if call.lease is not None:
                call.lease.hold()
                handle.leases.setdefault(order.batch, []).append(call.lease)
            members.append(
                Open(
                    id,
                    call.method,
                    call.rows,
                    call.media,
                    call.accept,
                    call.body,
                    call.deadline - now,
                    call.request_id,
                    call.root,
                    call.attempt,
                    0,
                    call.idempotent,
                    "",
                    call.meta,
                )
            )
        handle.batches[order.batch] = order.method
        handle.out.append(Batch(order.batch, order.method, members, order.limit))

    # -- the end of a call -------------------------------------------------------------------------------------------------

    def _forget(self, call: OpenCall, code: str) -> None:
        """Take a call off the books: it ends here, exactly once."""
        del self.calls[call.id]
        state = call.state
        state.open -= 1
        state.metrics.answered(call.method, code)
        if call.lease is not None:
            call.lease.release()
        if call.parents:
            for parent in map(self.calls.get, call.parents):
                if parent is not None and parent.children is not None:
                    parent.children.discard(call.id)
        if call.children:
            for child in map(self.calls.get, tuple(call.children)):
                if child is not None and not any(parent in self.calls for parent in child.parents):
                    self.cancel(child.id)
                    child.origin.receive(system_failure(child.id, Code.CANCELLED, PARENT_ENDED))
        if not state.open:
            self.fleet.idle()

    def _fail(self, call: OpenCall, message: Failure) -> None:
        """End a call that the scheduler has already let go."""
        self._forget(call, message.code)
        call.origin.receive(message)

    def _answer(self, call: OpenCall, message: ToEdge, code: str) -> None:
        """End a call with what its worker said."""
        call.state.scheduler.answered(call.id)
        self._forget(call, code)
        call.origin.receive(message)

    # -- from the workers --------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        self._timers.call_later(WATCH_S, self._watch)
        self.fleet.watch()

    def from_worker(self, handle: WorkerHandle, messages: list[LinkMessage]) -> None:
        """Take the messages of a worker's frames."""
        calls = self.calls
        for message in messages:
            kind = type(message)
            if kind is Reply or kind is Failure or kind is End:
                call = calls.get(message.stream)  # type: ignore[union-attr]
                if call is not None and call.worker is handle:
                    code = message.code if kind is Failure else "OK"  # type: ignore[union-attr]
                    self._answer(call, message, code)  # type: ignore[arg-type]
            elif kind is Ran:
                self._ran(handle, message)  # type: ignore[arg-type]
            else:
                self._from_worker_seldom(handle, message)

    def _ran(self, handle: WorkerHandle, ran: Ran) -> None:
        state = handle.service
        if state is None:
            return
        method = handle.batches.pop(ran.batch, -1)
        if method < 0:
            return
        now = self._clock()
        state.scheduler.finished(now, handle.id, ran.batch, ran.compute_s, ran.rows, ran.split_s, ran.fits)
        state.metrics.batch(method, ran.rows, ran.compute_s, no_memory=ran.fits > 0)
        handle.ran(method, ran)
        self.touch(state)

    def _from_worker_seldom(self, handle: WorkerHandle, message: LinkMessage) -> None:
        if isinstance(message, Data):
            call = self.calls.get(message.stream)
            if call is not None and call.worker is handle:
                if not call.streaming:
                    call.streaming = True
                    call.state.scheduler.streaming(call.id)
                call.origin.receive(message)
        elif isinstance(message, Beat):
            self.fleet.beat(handle, message)
        elif isinstance(message, Ready):
            self.fleet.ready(handle, message)
        elif isinstance(message, Recalled):
            if handle.service is not None:
                if handle.batches.pop(message.batch, -1) < 0:
                    return
                handle.service.scheduler.recalled(self._clock(), handle.id, message.batch)
                handle.release(message.batch)
                self.touch(handle.service)
        elif isinstance(message, Open):
            call = self._inner.open(handle, message, self._clock())
            if call is not None:
                self._arrive(call)
        elif isinstance(message, Cancel):
            self.cancel(handle.outside.pop(message.stream, 0))
        elif isinstance(message, Window):
            self._window(handle.outside.get(message.stream, 0), message.size)

    def lost(self, handle: WorkerHandle, cause: DeathCause) -> None:
        """See `Books.lost`."""
        now = self._clock()
        for id in tuple(handle.outside.values()):
            self.cancel(id)
        state = handle.service
        if state is None:
            return
        instructions = state.scheduler.worker_down(now, handle.id, cause)
        had = [call for call in self.calls.values() if call.worker is handle]
        for call in had:
            call.worker = None
        for instruction in instructions:
            self.apply(state, instruction, now)
        for call in had:
            if call.id in self.calls:
                state.metrics.retried()
        self.touch(state)
