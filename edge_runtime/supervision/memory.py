"""The process's own memory: how much it holds, how fast that grows, and a clean restart before the kernel kills it."""

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

INTERVAL_S: Final = 5.0
SAMPLE_S: Final = 60.0
SAMPLES: Final = 60
"""The slope is that of the last hour; the first minute, in which everything is loaded, does not count."""
FEWEST: Final = 5
IN_A_ROW: Final = 3
LEAST_MB: Final = 200.0
_MB: Final = 1024 * 1024
_STATM: Final = Path("/proc/self/statm")


class MemoryWatch:
    """Calls ``on_exceeded`` with a sentence once the process has held more than ``limit_mb`` three looks in a row.

    ``tick`` belongs to the supervisor's thread; every 5 s it reads one small file. ``stats`` is for any thread.
    """

    def __init__(
        self,
        *,
        on_exceeded: Callable[[str], None],
        resident_mb: "Callable[[], float | None] | None" = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_exceeded = on_exceeded
        self._resident_mb = resident_mb or _resident_mb
        self._clock = clock
        self._due_s = self._sample_due_s = 0.0
        self._started_s = clock()
        self._samples: deque[tuple[float, float]] = deque(maxlen=SAMPLES)
        self._over = 0
        self.limit_mb = default_limit_mb()
        """More than that is too much."""

    def tick(self) -> None:
        """Look, when it is time to."""
        now_s = self._clock()
        if now_s < self._due_s or (held_mb := self._resident_mb()) is None:
            return
        self._due_s = now_s + INTERVAL_S
        if now_s >= self._sample_due_s and now_s - self._started_s >= SAMPLE_S:
            self._sample_due_s = now_s + SAMPLE_S
            self._samples.append((now_s, held_mb))
        self._over = self._over + 1 if held_mb > self.limit_mb else 0
        if self._over == IN_A_ROW:
            slope = self.slope_mb_per_h
            grows = "" if slope is None else f", {slope:+.1f} MiB an hour lately"
            self._on_exceeded(f"the process holds {held_mb:.0f} MiB, its limit is {self.limit_mb:.0f} MiB{grows}")

    @property
    def slope_mb_per_h(self) -> float | None:
        """How fast it grows: the least-squares line through the last hour; None until there are five minutes of it."""
        samples = list(self._samples)
        if len(samples) < FEWEST:
            return None
        mean_s = sum(at_s for at_s, _ in samples) / len(samples)
        mean_mb = sum(held_mb for _, held_mb in samples) / len(samples)
        spread = sum((at_s - mean_s) ** 2 for at_s, _ in samples)
        return sum((at_s - mean_s) * (held_mb - mean_mb) for at_s, held_mb in samples) / spread * 3600

    def stats(self) -> dict[str, float | None]:
        """Return what ``memory_mb`` of the statistics says beside what the machine says."""
        slope = self.slope_mb_per_h
        return {"limit": round(self.limit_mb, 1), "slope_per_h": None if slope is None else round(slope, 2)}


def default_limit_mb(root: Path = Path("/")) -> float:
    """Return half of the machine's memory, or 70 % of what the control group allows; at least 200 MiB.

    Children (a delegate's process, the video decoder, the dashboard) take theirs out of the rest.
    """
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 0.5]
    try:
        group = (root / "proc/self/cgroup").read_text().strip().rpartition("::")[2].strip("/")
        allowed = (root / "sys/fs/cgroup" / group / "memory.max").read_text().strip()
    except OSError:
        allowed = "max"
    if allowed.isdecimal():
        limits.append(int(allowed) * 0.7)
    return max(LEAST_MB, min(limits) / _MB)


def _resident_mb() -> float | None:
    try:
        pages = _STATM.read_text().split()[1]
    except (OSError, IndexError):
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / _MB
