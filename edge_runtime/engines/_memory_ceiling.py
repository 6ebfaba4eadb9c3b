"""How much memory an engine's process may hold before it is started anew: a library that leaks does so for years."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

INTERVAL_S: Final = 5.0
FACTOR: Final = 3.0
LEAST_MB: Final = 256.0
_MB: Final = 1024 * 1024


class MemoryCeiling:
    """Watches one process after the other. ``limit_mb`` None: three times what it held at first, at least 256 MiB.

    ``exceeded`` belongs to the thread that invokes; every 5 s it reads one small file, about 10 us.
    """

    def __init__(
        self,
        limit_mb: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        resident_mb: "Callable[[int], float | None] | None" = None,
    ) -> None:
        self._configured_mb = limit_mb
        self._clock = clock
        self._resident_mb = resident_mb or read_resident_mb
        self._limit_mb = self._due_s = 0.0

    def begin(self, pid: int | None) -> None:
        """Watch a process that has opened its engine."""
        held_mb = 0.0 if pid is None else self._resident_mb(pid) or 0.0
        self._limit_mb = self._configured_mb or max(LEAST_MB, FACTOR * held_mb)
        self._due_s = self._clock() + INTERVAL_S

    def exceeded(self, pid: int | None) -> str | None:
        """Say that the process holds too much; None when it does not, or it is not time to look."""
        if pid is None or self._clock() < self._due_s:
            return None
        self._due_s = self._clock() + INTERVAL_S
        held_mb = self._resident_mb(pid)
        if held_mb is None or held_mb <= self._limit_mb:
            return None
        return f"the engine's process holds {held_mb:.0f} MiB, more than the {self._limit_mb:.0f} it may: it leaks"


def read_resident_mb(pid: int) -> float | None:
    """Return how much memory a process holds; None when it is gone."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / _MB


def half_of_memory_bytes() -> int:
    """Return what one engine's process may allocate at most: the daemon and the system need the rest."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
