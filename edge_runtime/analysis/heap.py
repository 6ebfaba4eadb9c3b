"""The C library's heap as large blocks make it grow: what of it stays resident when they are given back.

The rules are those of glibc's ``malloc.c``: a block comes from the smallest gap that fits, else from the top of the
heap, which grows by what is missing and 128 kB; only what does not fit and is as large as the ``mmap`` threshold is
mapped on its own. Giving back a mapped block raises that threshold to its size. The end of the heap is given back when
more than twice the threshold is free there, but for 128 kB; a few small blocks of each size are not given back at once
and hold what lies before them. What was never written is not resident.
"""

from bisect import insort
from dataclasses import dataclass, field
from typing import Final

_PAD_BYTES: Final = 128 * 1024
_PAGE_BYTES: Final = 4096
_LARGEST_THRESHOLD_BYTES: Final = 32 * 2**20
_HEAD_BYTES: Final = 8
_SMALLEST_BYTES: Final = 32
_ALIGNMENT_BYTES: Final = 64
_CACHED_BYTES: Final = 1040
_MOST_CACHED: Final = 5
"""Of the seven of each size some are in use by others (with five the models measured come out best)."""


@dataclass(slots=True)
class Heap:
    """Offsets count from the first byte that is free above what others hold."""

    threshold: int
    """From which size on a block is mapped; 128 kB in a new process."""
    end: int
    """Of the memory that the heap has."""
    blocks: list[tuple[int, int]] = field(default_factory=list)
    """Taken parts as offset and size, sorted."""
    written: list[tuple[int, int]] = field(default_factory=list)
    """Resident parts from offset to offset, sorted, apart from each other."""
    cached: dict[int, int] = field(default_factory=dict)
    """Small blocks that were given back, by size: a thread keeps a few, and what lies before them is not the end."""

    def take(self, size_bytes: int, *, written: int | None = None, aligned: bool = False) -> int | None:
        """Return the offset of a new block, None when it is mapped on its own; all of it is written unless given.

        For one that begins at a multiple of 64 more is asked for, and what is left before and behind it given back.
        """
        length = round_up(size_bytes + _HEAD_BYTES, 16)
        offset = self._find(length + (_ALIGNMENT_BYTES + _SMALLEST_BYTES if aligned else 0))
        if offset is None:
            return None
        if aligned:
            begin = round_up(offset + 16, _ALIGNMENT_BYTES) - 16
            begin += _ALIGNMENT_BYTES if 0 < begin - offset < _SMALLEST_BYTES else 0
            behind = offset + _ALIGNMENT_BYTES + _SMALLEST_BYTES - begin
            self._keep(offset, begin - offset)
            if behind >= _SMALLEST_BYTES:
                self._keep(begin + length, behind)
            offset = begin
        insort(self.blocks, (offset, length))
        self.write(offset, size_bytes if written is None else written)
        return offset

    def _find(self, length: int) -> int | None:
        """Return where a chunk fits, the heap made longer for it; None where it is mapped."""
        best, least, current = -1, 0, 0
        for offset, taken in self.blocks:
            gap = offset - current
            if gap >= length and (best < 0 or gap < least):
                best, least = current, gap
            current = offset + taken
        if best >= 0:
            return best
        if self.end - current < length + _SMALLEST_BYTES:
            if length >= self.threshold:
                return None
            self.end = round_up(current + length + _PAD_BYTES + _SMALLEST_BYTES, _PAGE_BYTES)
        return current

    def _keep(self, offset: int, length: int) -> bool:
        """Keep a small block that is given back, as a thread does with a few of each size; tell whether it was."""
        if not 0 < length <= _CACHED_BYTES or self.cached.get(length, 0) >= _MOST_CACHED:
            return False
        self.cached[length] = self.cached.get(length, 0) + 1
        if (offset, length) not in self.blocks:
            insort(self.blocks, (offset, length))
        return True

    def write(self, offset: int, size_bytes: int) -> None:
        """Make a part resident."""
        start, stop = offset, offset + size_bytes
        apart = []
        for one in self.written:
            if one[1] < start or one[0] > stop:
                apart.append(one)
            else:
                start, stop = min(start, one[0]), max(stop, one[1])
        insort(apart, (start, stop))
        self.written = apart

    def give_back(self, offset: int | None, size_bytes: int) -> None:
        """Take a block out; its pages stay unless too many are free at the end."""
        if offset is None:
            length = round_up(size_bytes + 2 * _HEAD_BYTES, _PAGE_BYTES)
            if self.threshold < length <= _LARGEST_THRESHOLD_BYTES:
                self.threshold = length
            return
        length = next(taken for start, taken in self.blocks if start == offset)
        if self._keep(offset, length):
            return
        self.blocks = [block for block in self.blocks if block[0] != offset]
        top = self.blocks[-1][0] + self.blocks[-1][1] if self.blocks else 0
        spare = self.end - top - _SMALLEST_BYTES - 1 - _PAD_BYTES
        if self.end - top >= 2 * self.threshold and spare > 0:
            self.end -= spare // _PAGE_BYTES * _PAGE_BYTES
            self.written = [(start, min(stop, self.end)) for start, stop in self.written if start < self.end]

    @property
    def resident_bytes(self) -> int:
        """Return what has been written and is still there."""
        return sum(stop - start for start, stop in self.written)


def round_up(value: int, step: int) -> int:
    """Return the smallest multiple of ``step`` that is not below ``value``."""
    return -(-value // step) * step
