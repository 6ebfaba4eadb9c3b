"""Latencies of the last seconds as percentiles per stage."""

import math
from collections import deque
from collections.abc import Callable
from typing import Final

from edge_runtime import clock
from edge_runtime.types import Latency

STAGES: Final = ("queue", "prepare", "wait", "invoke", "postprocess", "total")
PERCENTILES: Final = (50, 95, 99)
_SIZE: Final = 2048
"""At 700 a second three seconds: enough for a p99, and under half a megabyte."""


class LatencyWindow:
    """Keeps the latencies of the last ``window_s``, at most the newest 2048.

    ``add`` costs one append and is for the inference thread; ``summary`` sorts and is for the thread of the statistics.
    """

    def __init__(self, *, window_s: float = 10.0, monotonic_ns: Callable[[], int] = clock.monotonic_ns) -> None:
        self._window_ns = round(window_s * 1e9)
        self._clock = monotonic_ns
        self._ring: deque[tuple[int, Latency]] = deque(maxlen=_SIZE)

    def add(self, latency: Latency) -> None:
        """Take the latency of one prediction."""
        self._ring.append((self._clock(), latency))

    def summary(self) -> dict[str, dict[str, float | None]]:
        """Return ``{stage: {p50, p95, p99}}`` in ms, for every stage; None where nothing was predicted lately."""
        oldest_ns = self._clock() - self._window_ns
        # copy() runs without letting another thread in; iterating over the ring itself would not.
        recent = [latency for at_ns, latency in self._ring.copy() if at_ns >= oldest_ns]
        return {stage: _percentiles([getattr(latency, stage) for latency in recent]) for stage in STAGES}


def percentile(ordered: list[float], percent: float) -> float:
    """Return the nearest-rank percentile of a sorted, not empty list: a value that was measured, not one between."""
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def _percentiles(values: list[float]) -> dict[str, float | None]:
    values.sort()
    return {f"p{percent}": percentile(values, percent) if values else None for percent in PERCENTILES}
