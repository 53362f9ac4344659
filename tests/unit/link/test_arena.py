"""The arena: no two payloads overlap, all memory comes back, workers cannot write, slots outside are refused."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.link.arena import Arena, ArenaView
from tiffin.messages.link import Slot

PAGE = 4096


@pytest.fixture
def arena() -> Iterator[Arena]:
    arena = Arena(64 * PAGE)
    yield arena
    arena.close()


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(min_value=1, max_value=12 * PAGE)), max_size=60))
def test_slots_never_overlap_and_all_memory_comes_back(steps: list[tuple[bool, int]]) -> None:
    arena = Arena(64 * PAGE)
    live: list[Slot] = []
    for free, size in steps:
        if free and live:
            arena.free(live.pop(size % len(live)))
            continue
        slot = arena.allocate(size)
        if slot is None:
            continue
        assert slot.offset >= 0 and slot.offset + slot.size <= arena.size
        assert all(
            slot.offset + slot.size <= other.offset or other.offset + other.size <= slot.offset for other in live
        )
        live.append(slot)
    for slot in live:
        arena.free(slot)
    assert arena.used_bytes == 0
    whole = arena.allocate(arena.size)
    assert whole == Slot(0, arena.size)
    arena.close()


def test_a_full_arena_says_so(arena: Arena) -> None:
    assert arena.allocate(arena.size + 1) is None
    assert arena.allocate(arena.size) is not None
    assert arena.allocate(1) is None


def test_a_reader_sees_what_was_written_once_and_cannot_write(arena: Arena) -> None:
    slot = arena.allocate(6)
    assert slot is not None
    arena.write(slot, 0, b"abc")
    arena.write(slot, 3, b"def")
    assert (arena.writes, arena.written_bytes) == (1, 6)
    view = ArenaView(os.dup(arena.fd), arena.size).body(slot)
    assert bytes(view) == b"abcdef"
    assert view.readonly
    with pytest.raises(PermissionError):
        mmap.mmap(arena.fd, arena.size, prot=mmap.PROT_READ | mmap.PROT_WRITE)


def test_it_can_be_neither_shrunk_nor_grown(arena: Arena) -> None:
    for size in (PAGE, 2 * arena.size):
        with pytest.raises(PermissionError):
            os.ftruncate(arena.fd, size)


@pytest.mark.parametrize("slot", [Slot(-1, 4), Slot(0, 64 * PAGE + 1), Slot(64 * PAGE, 1), Slot(0, -1)])
def test_a_slot_outside_is_refused(arena: Arena, slot: Slot) -> None:
    with pytest.raises(ValueError, match="outside"):
        ArenaView(os.dup(arena.fd), arena.size).body(slot)


def test_a_smaller_descriptor_than_said_is_refused(arena: Arena) -> None:
    with pytest.raises(ValueError, match="the front said"):
        ArenaView(os.dup(arena.fd), arena.size + PAGE)
