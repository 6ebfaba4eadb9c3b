"""When to start preparing a live frame: as late as possible, and early enough that the engine never waits for it."""

from typing import Final

SMOOTHING: Final = 0.1
"""Weight of the newest measurement in the moving averages."""
MARGIN: Final = 1.3
"""Preparation is started this many times its average duration before the engine is expected to be free."""
STARVED_RATIO: Final = 0.9
"""A second prepare thread helps when preparing takes more than this share of an invoke."""
STALE_FACTOR: Final = 4
"""A ready tensor older than this many preparations gives way to a newer frame of its stream."""


class Schedule:
    """Moving averages of prepare and invoke times and what follows from them.

    Written by the prepare and inference threads, read by the prepare threads; a torn read costs one badly timed frame.
    Times are CLOCK_MONOTONIC nanoseconds, given by the caller.
    """

    def __init__(self, *, live_only: bool, cores: int) -> None:
        self.live_only = live_only
        """Whether every source is live; files are prepared as fast as the slots allow."""
        self._cores = cores
        self._prepare_ns = 0.0
        self._invoke_ns = 0.0
        self._invoke_started_ns: int | None = None

    def prepared(self, duration_ns: int) -> None:
        """Take in how long one preparation took."""
        self._prepare_ns = _smooth(self._prepare_ns, duration_ns)

    def invoke_started(self, now_ns: int) -> None:
        """Note that the engine is busy."""
        self._invoke_started_ns = now_ns

    def invoke_ended(self, now_ns: int) -> None:
        """Note that the engine is free, and how long it was busy."""
        if self._invoke_started_ns is not None:
            self._invoke_ns = _smooth(self._invoke_ns, now_ns - self._invoke_started_ns)
        self._invoke_started_ns = None

    @property
    def starved(self) -> bool:
        """Whether inference waits for preparation, so that a second prepare thread pays."""
        return self._cores > 1 and self._prepare_ns > STARVED_RATIO * self._invoke_ns > 0

    @property
    def in_place(self) -> bool:
        """Whether a prepare thread had better infer what it has prepared, when the engine is free.

        Where inference starves and there are two cores, the prepare threads keep both busy: a third thread makes one
        of the others wait at each hand-over. Measured with a 1.4 ms model and 2 ms of preparation: 0.55 of the bare
        engine's throughput with an inference thread, 0.63 without.
        """
        return self._cores == 2 and self.starved

    def hold_s(self, now_ns: int) -> float:
        """Return how long to wait before taking the next live frame, in seconds; 0 when the engine is free."""
        started_ns = self._invoke_started_ns
        if started_ns is None or self._invoke_ns == 0:
            return 0.0
        return max(0.0, (started_ns + self._invoke_ns - MARGIN * self._prepare_ns - now_ns) / 1e9)

    def too_old(self, ready_ns: int, now_ns: int) -> bool:
        """Whether a tensor that waits since ``ready_ns`` should give way to a newer frame."""
        return now_ns - ready_ns > STALE_FACTOR * self._prepare_ns > 0


def _smooth(average: float, value: float) -> float:
    return value if average == 0 else average + SMOOTHING * (value - average)
