"""The arena: one sealed shared memory of the front, read by its workers.

Owns the mapping and which parts are free; never decides when a call is over. Sizes in bytes. A payload is written once, by the
front; workers map it read-only (the kernel refuses a writable mapping) and it can be neither shrunk nor grown under them.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from bisect import bisect_left

from tiffin.messages.link import Slot

_PAGE = 4096
_F_ADD_SEALS = 1033
_SEAL_SEAL, _SEAL_SHRINK, _SEAL_GROW, _SEAL_FUTURE_WRITE = 1, 2, 4, 16


class Arena:
    """The writer's side.

    Args:
        size: of the whole memory; pages are taken from the system as they are first used.

    Raises:
        OSError: the system has no memfd or no memory.

    Attributes:
        fd: descriptor to hand to workers. size: of the whole. writes: payloads written so far, and `written_bytes` their bytes
            (test hooks: one write per payload).
    """

    def __init__(self, size: int) -> None:
        self.size = size - size % _PAGE
        self.fd = os.memfd_create("tiffin-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.fd, self.size)
            self._map = mmap.mmap(self.fd, self.size)
            # Our own mapping stays writable; every later one is read-only.
            fcntl.fcntl(self.fd, _F_ADD_SEALS, _SEAL_SHRINK | _SEAL_GROW | _SEAL_FUTURE_WRITE | _SEAL_SEAL)
        except OSError:
            os.close(self.fd)
            raise
        self._view = memoryview(self._map)
        self._offsets = [0]  # free blocks, sorted by offset, with their sizes beside
        self._sizes = [self.size]
        self.used_bytes = 0
        self.writes = 0
        self.written_bytes = 0

    def allocate(self, size: int) -> Slot | None:
        """Reserve `size` bytes, first fit from the start.

        Returns:
            the slot, or None when no free block is large enough.
        """
        need = _round(size)
        for index, free in enumerate(self._sizes):
            if free >= need:
                offset = self._offsets[index]
                if free == need:
                    del self._offsets[index], self._sizes[index]
                else:
                    self._offsets[index] += need
                    self._sizes[index] -= need
                self.used_bytes += need
                return Slot(offset, size)
        return None

    def write(self, slot: Slot, at: int, data: bytes | memoryview) -> None:
        """Copy bytes of a payload to their place, `at` bytes into the slot; the caller counts up to the slot's size."""
        start = slot.offset + at
        self._view[start : start + len(data)] = data
        self.written_bytes += len(data)
        if at == 0:
            self.writes += 1

    def view(self, slot: Slot) -> memoryview:
        """Return the payload, read-only."""
        return self._view[slot.offset : slot.offset + slot.size].toreadonly()

    def free(self, slot: Slot) -> None:
        """Give a slot back; neighbours that are free grow together."""
        offset, size = slot.offset, _round(slot.size)
        self.used_bytes -= size
        index = bisect_left(self._offsets, offset)
        if index < len(self._offsets) and offset + size == self._offsets[index]:
            size += self._sizes[index]
            del self._offsets[index], self._sizes[index]
        if index and self._offsets[index - 1] + self._sizes[index - 1] == offset:
            self._sizes[index - 1] += size
        else:
            self._offsets.insert(index, offset)
            self._sizes.insert(index, size)

    def close(self) -> None:
        """Unmap and close."""
        self._view.release()
        self._map.close()
        os.close(self.fd)


class ArenaView:
    """The reader's side.

    Args:
        fd: descriptor received from the front; closed here. size: as the front said; checked against the descriptor.

    Raises:
        OSError: the descriptor cannot be mapped.
        ValueError: it is smaller than the front said.
    """

    def __init__(self, fd: int, size: int) -> None:
        try:
            if os.fstat(fd).st_size < size:
                raise ValueError(f"the arena has {os.fstat(fd).st_size} bytes, the front said {size}")
            self._map = mmap.mmap(fd, size, prot=mmap.PROT_READ)
        finally:
            os.close(fd)
        self._view = memoryview(self._map)
        self.size = size

    def body(self, slot: Slot) -> memoryview:
        """Return the payload, read-only.

        Raises:
            ValueError: the slot lies outside.
        """
        if slot.offset < 0 or slot.size < 0 or slot.offset + slot.size > self.size:
            raise ValueError(f"slot {slot} lies outside of the arena of {self.size} bytes")
        return self._view[slot.offset : slot.offset + slot.size]


def _round(size: int) -> int:
    return max(_PAGE, size + -size % _PAGE)
