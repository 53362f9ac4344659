"""Memory that runs out, and devices that die: what is tried, what is answered, when the process gives up."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from tests.unit.worker.bench import WAIT_S, Bench, spec_of
from tiffin.errors import Code, Error
from tiffin.messages.link import Failure, Ran, Reply
from tiffin.worker.setup import EXIT_DEVICE, EXIT_OUT_OF_MEMORY

Make = Callable[..., Bench]
JOINED = spec_of("joined", batchable=True, max_batch_size=64)
DEAD = RuntimeError("CUDA error: an illegal memory access was encountered")


@pytest.fixture(autouse=True, scope="module")
def _small_heap() -> Iterator[None]:
    """Keep what other tests left behind out of the collections that a worker makes when memory runs out."""
    gc.freeze()
    yield
    gc.unfreeze()


class OutOfMemoryError(RuntimeError):
    """Known by its name, as PyTorch's is."""


class Device:
    """A method on a device with room for so many rows.

    Attributes:
        sizes: rows of every run.
    """

    def __init__(self, rows: int, error: type[Exception] = OutOfMemoryError) -> None:
        self.rows = rows
        self.error = error
        self.sizes: list[int] = []

    def __call__(self, x: list[int]) -> list[int]:
        self.sizes.append(len(x))
        if len(x) > self.rows:
            raise self.error(f"no room for {len(x)} rows")
        return [value * 2 for value in x]


def give(b: Bench, counts: list[int], *, limit: int = 0, **more: Any) -> tuple[list[bytes], Ran]:
    """Give calls of so many rows; return the answers' bodies in their order, and what is said of the batch."""
    members = [b.open({"x": list(range(count))}, rows=count, **more) for count in counts]
    b.give(*members, limit=limit)
    answers = {message.stream: message.body for message in (b.expect(Reply) for _ in members)}
    return [answers[member.stream] for member in members], b.expect(Ran)


def doubled(counts: list[int]) -> list[bytes]:
    return [msgspec.json.encode([value * 2 for value in range(count)]) for count in counts]


@pytest.mark.parametrize("kind", [MemoryError, OutOfMemoryError])
def test_half_the_rows_are_tried_until_they_fit(
    bench: Make, caplog: pytest.LogCaptureFixture, kind: type[Exception]
) -> None:
    device = Device(2, kind)
    b = bench((JOINED, device))
    answers, ran = give(b, [1] * 8)
    assert answers == [b"[0]"] * 8
    assert device.sizes == [8, 4, 2, 2, 2, 2]
    assert ran.fits == 2 and ran.rows == 8 and 0 < ran.split_s <= ran.compute_s
    assert [record.getMessage() for record in caplog.records] == [
        "method 'joined' ran out of memory with 8 row(s) at once; trying 4",
        "method 'joined' ran out of memory with 4 row(s) at once; trying 2",
    ]


def test_calls_of_many_rows_are_run_in_parts(bench: Make) -> None:
    device = Device(4)
    b = bench((JOINED, device))
    answers, ran = give(b, [10, 1, 3, 20])
    assert answers == doubled([10, 1, 3, 20])
    assert device.sizes == [34, 14, 8, 4, 4, 2, 4, 4, 4, 4, 4, 4]
    assert ran.fits == 4


def test_a_limit_that_the_engine_knows_is_kept(bench: Make) -> None:
    device = Device(4)
    b = bench((JOINED, device))
    answers, ran = give(b, [11], limit=4)
    assert (answers, ran.fits, device.sizes) == (doubled([11]), 0, [4, 4, 3])


def test_where_memory_suffices_nothing_is_said(bench: Make) -> None:
    b = bench((JOINED, Device(64)))
    assert give(b, [1, 2])[1].fits == 0


def test_a_call_that_must_not_run_twice_is_answered(bench: Make) -> None:
    device = Device(1)
    b = bench((JOINED, device))
    b.give(b.open({"x": [1, 2]}, rows=2, idempotent=False))
    failed = b.expect(Failure)
    assert (failed.code, failed.status, failed.retryable) == ("OUT_OF_MEMORY", 503, True)
    assert b.expect(Ran).fits == 0
    assert device.sizes == [2]


def test_a_row_that_never_fits_is_tried_twice_and_answered_alone(bench: Make, caplog: pytest.LogCaptureFixture) -> None:
    def picky(x: list[int]) -> list[int]:
        if 13 in x:
            raise OutOfMemoryError
        return x

    b = bench((JOINED, picky))
    members = [b.open({"x": [value]}) for value in (12, 13, 14)]
    b.give(*members)
    answers: dict[int, Any] = {message.stream: message for message in (b.any() for _ in members)}
    assert answers[members[1].stream].code == "OUT_OF_MEMORY"
    assert [answers[members[at].stream].body for at in (0, 2)] == [b"[12]", b"[14]"]
    assert b.expect(Ran).fits == 1
    assert b.left.empty()
    assert "Traceback" in caplog.text


def test_what_the_failed_run_held_is_let_go_before_the_next_one(bench: Make) -> None:
    class Big:
        pass

    held: list[weakref.ref[Big]] = []

    def hold(x: list[int]) -> list[int]:
        gc.disable()  # an object in a cycle may stay until the collector comes; ours asks it to
        if any(one() is not None for one in held):
            raise ValueError("the first run's memory is still held")
        big = Big()
        held.append(weakref.ref(big))
        if len(x) > 1:
            try:
                raise KeyError
            except KeyError:
                raise OutOfMemoryError from None
        return x

    b = bench((JOINED, hold))
    try:
        assert give(b, [1, 1])[0] == [b"[0]", b"[0]"]
    finally:
        gc.enable()


class Tensor(list[int]):
    """What a decoded argument becomes on the device."""


def converted(b: Bench, alive: list[weakref.ref[Any]]) -> list[tuple[int, int]]:
    """Have arguments converted as tensors are; note at each run its rows, and how many earlier inputs are still held."""
    seen: list[tuple[int, int]] = []

    def convert(value: Any) -> Tensor:
        seen.append((len(value), sum(one() is not None for one in alive)))
        tensor = Tensor(value)
        alive.append(weakref.ref(tensor))
        return tensor

    b.methods[0]._tensors = [("x", convert)]
    return seen


def test_inputs_on_the_device_are_let_go_before_the_next_try(bench: Make) -> None:
    b = bench((JOINED, Device(2)))
    seen = converted(b, [])
    give(b, [1] * 16)
    assert [rows for rows, _ in seen] == [16, 8, 4, *[2] * 8]
    assert [held for _, held in seen] == [0] * 11


def test_the_input_of_a_single_call_is_let_go_too(bench: Make) -> None:
    tries: list[int] = []

    def once(x: list[int]) -> int:
        tries.append(len(x))
        if len(tries) == 1:
            raise OutOfMemoryError
        return len(x)

    b = bench((spec_of("one"), once))
    b.methods[0].tracked = False
    seen = converted(b, [])
    b.give(b.open({"x": [1, 2]}))
    assert b.expect(Reply).body == b"2"
    assert seen == [(2, 0), (2, 0)]


def test_a_device_that_dies_while_the_result_is_fetched(bench: Make, caplog: pytest.LogCaptureFixture) -> None:
    b = bench((spec_of("one"), lambda x: x))

    def encode(value: Any, accept: int) -> Any:
        raise Error("cannot be sent", code=Code.BAD_OUTPUT) from DEAD

    b.codec.encode = encode  # type: ignore[method-assign]
    b.give(b.open({"x": 1}))
    assert b.left.get(timeout=WAIT_S) == EXIT_DEVICE
    assert "an illegal memory access" in caplog.text


def test_another_exception_among_smaller_runs_is_still_bisected(bench: Make) -> None:
    def both(x: list[int]) -> list[int]:
        if len(x) > 4:
            raise OutOfMemoryError
        if 5 in x:
            raise ValueError("unlucky")
        return x

    b = bench((JOINED, both))
    members = [b.open({"x": [value]}) for value in range(8)]
    b.give(*members)
    answers: dict[int, Any] = {message.stream: message for message in (b.any() for _ in members)}
    assert answers[members[5].stream].code == "METHOD_FAILED"
    assert [answers[one.stream].body for at, one in enumerate(members) if at != 5] == [
        b"[%d]" % n for n in (0, 1, 2, 3, 4, 6, 7)
    ]
    assert b.expect(Ran).fits == 4


def test_a_single_call_is_run_once_more(bench: Make) -> None:
    tries: list[int] = []

    def hungry(x: int) -> int:
        tries.append(x)
        if len(tries) < 2 or x > 1:
            raise OutOfMemoryError
        return x

    b = bench((spec_of("one"), hungry))
    for method in b.methods:
        method.tracked = False
    b.give(b.open({"x": 1}))
    assert b.expect(Reply).body == b"1"
    b.expect(Ran)
    b.give(b.open({"x": 2}), b.open({"x": 3}, idempotent=False))
    assert [b.expect(Failure).code for _ in range(2)] == ["OUT_OF_MEMORY"] * 2
    assert tries == [1, 1, 2, 2, 3]


# -- when the process gives up ---------------------------------------------------------------------------------------------------


def test_rows_that_fitted_before_and_do_not_now_end_the_process_without_an_answer(
    bench: Make, caplog: pytest.LogCaptureFixture
) -> None:
    device = Device(8)
    b = bench((JOINED, device))
    give(b, [1, 1])
    device.rows = 0
    b.give(b.open({"x": [1]}))
    assert b.left.get(timeout=WAIT_S) == EXIT_OUT_OF_MEMORY
    assert b.end.outbox.empty()
    assert "2 ran at once before: memory is held that does not come back" in caplog.text


def test_a_call_that_failed_so_elsewhere_is_answered(bench: Make) -> None:
    device = Device(8)
    b = bench((JOINED, device))
    give(b, [1, 1])
    device.rows = 0
    b.give(b.open({"x": [1]}, attempt=2))
    assert b.expect(Failure).code == "OUT_OF_MEMORY"
    assert b.left.empty()


def test_three_in_a_row_end_the_process_where_something_has_fitted(bench: Make) -> None:
    device = Device(8)
    b = bench((JOINED, device))
    give(b, [2])
    device.rows = 0
    large = {"x": ["x" * 1000]}
    for _ in range(2):
        b.give(b.open(large))
        assert b.expect(Failure).code == "OUT_OF_MEMORY"
        b.expect(Ran)
    b.give(b.open(large))
    assert b.left.get(timeout=WAIT_S) == EXIT_OUT_OF_MEMORY


def test_where_nothing_ever_fitted_another_process_would_do_no_better(bench: Make) -> None:
    b = bench((JOINED, Device(0)))
    for _ in range(5):
        b.give(b.open({"x": [1]}))
        assert b.expect(Failure).code == "OUT_OF_MEMORY"
        b.expect(Ran)
    assert b.left.empty()


def dead(x: Any) -> Any:
    raise DEAD


async def dead_later(x: Any) -> Any:
    raise DEAD


def dead_stream(x: Any) -> Any:
    yield 1
    raise DEAD


@pytest.mark.parametrize(
    ("spec", "function"),
    [
        (spec_of("one"), dead),
        (JOINED, dead),
        (spec_of("later", kind="async"), dead_later),
        (spec_of("stream", kind="generator"), dead_stream),
        (spec_of("joined", kind="async", batchable=True), dead_later),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_device_ends_the_process_from_every_lane(
    bench: Make, caplog: pytest.LogCaptureFixture, spec, function
) -> None:
    b = bench((spec, function))
    b.give(b.open({"x": [1]}), b.open({"x": [2]}))
    assert b.left.get(timeout=WAIT_S) == EXIT_DEVICE
    assert not any(isinstance(message, Failure) for message in b.got)
    assert "the device is lost to this process (RuntimeError: CUDA error: an illegal memory access" in caplog.text


def test_a_process_that_is_not_ours_is_not_ended(bench: Make) -> None:
    b = bench((spec_of("one"), dead), (JOINED, dead))
    assert b.worker._compute is not None
    b.worker._health._leave = None
    for method in (0, 1):
        b.give(b.open({"x": [1]}, method))
        assert b.expect(Failure).code == "METHOD_FAILED"
        b.expect(Ran)


# -- any batch, any room ---------------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(st.lists(st.integers(1, 70), min_size=1, max_size=12), st.integers(1, 80), st.integers(0, 64))
def test_every_call_is_answered_once_and_right_whatever_fits(counts: list[int], room: int, limit: int) -> None:
    device = Device(room)
    b = Bench((JOINED, device)).start()
    try:
        answers, ran = give(b, counts, limit=limit)
    finally:
        b.stop()
    assert b.end.outbox.empty() and not b.got
    assert answers == doubled(counts)
    most = limit or 64
    if ran.fits:
        assert ran.fits <= room
        assert ran.fits * 4 > min(room, most, sum(counts)), "not given up more than was needed"
        after = device.sizes[device.sizes.index(next(size for size in device.sizes if size <= ran.fits)) :]
        assert sum(size for size in after if size <= room) >= 1
    else:
        assert all(size <= room for size in device.sizes)
    done = sum(size for size in device.sizes if size <= room)
    assert done >= sum(counts)
