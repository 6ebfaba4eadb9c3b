"""Memory for what a frame needs for a moment, used again by the next one.

A picture between the small blocks of the heap leaves a hole there that smaller ones nibble at, so that the next picture
may need new pages: over an hour at full rate that is growth without a leak (docs/reliability.md).
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
from numpy.typing import NDArray

MOST_KEPT_BYTES: Final = 8 * 1024 * 1024
"""1920x1080 in four channels; of the rare larger picture nothing is kept."""


class Scratch:
    """One buffer that grows to the largest size asked for. Used by one thread at a time."""

    def __init__(self) -> None:
        self._buffer = np.empty(0, np.uint8)

    def take(self, size: int) -> NDArray[np.uint8]:
        """Return ``size`` bytes, their contents undefined, good until the next call."""
        if size > MOST_KEPT_BYTES:
            return np.empty(size, np.uint8)
        if size > self._buffer.size:
            self._buffer = np.empty(size, np.uint8)
        return self._buffer[:size]


class Scratches:
    """As many as there are threads at work. May be called from several threads."""

    def __init__(self) -> None:
        self._free: deque[Scratch] = deque()

    @contextmanager
    def lent(self) -> Iterator[Scratch]:
        """Lend a scratch; nothing that lies in it may be looked at afterwards."""
        try:
            scratch = self._free.pop()
        except IndexError:
            scratch = Scratch()
        try:
            yield scratch
        finally:
            self._free.append(scratch)
