"""Frames per second out of counters that only grow."""

from collections.abc import Callable, Mapping

from edge_runtime import clock


class Rates:
    """Turns counters into rates between two readings. One reader: the thread of the statistics.

    ``counters`` are functions that return how many there have been since the start: ``{"capture": lambda: ...}``. The
    frame path keeps its plain counters and knows nothing of this.
    """

    def __init__(
        self, counters: Mapping[str, Callable[[], int]], *, monotonic_ns: Callable[[], int] = clock.monotonic_ns
    ) -> None:
        self._counters = dict(counters)
        self._clock = monotonic_ns
        self._at_ns = monotonic_ns()
        self._before = self._read()

    def per_second(self) -> dict[str, float | None]:
        """Return the rate of each counter since the last call, or since the beginning; None where no time passed."""
        now_ns, now = self._clock(), self._read()
        elapsed_s = (now_ns - self._at_ns) / 1e9
        rates: dict[str, float | None] = dict.fromkeys(now)
        if elapsed_s > 0:
            rates = {name: round((count - self._before[name]) / elapsed_s, 2) for name, count in now.items()}
        self._at_ns, self._before = now_ns, now
        return rates

    def _read(self) -> dict[str, int]:
        return {name: count() for name, count in self._counters.items()}
