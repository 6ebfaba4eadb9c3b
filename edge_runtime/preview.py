"""``--model none``: frames without a model, for aiming a camera."""

import threading
from collections.abc import Callable

from edge_runtime.clock import monotonic_ns
from edge_runtime.queues import Intake
from edge_runtime.types import Frame
from edge_runtime.workers import RunCounters

WAIT_S = 0.25


class PreviewWorker:
    """Takes frames and keeps the newest of each stream; stands where preparing and inference would."""

    def __init__(
        self,
        *,
        intake: Intake,
        counters: RunCounters,
        on_frame: Callable[[Frame], None],
        stop: threading.Event,
        limit: int | None = None,
    ) -> None:
        self._intake = intake
        self._counters = counters
        self._on_frame = on_frame
        self._stop = stop
        self._limit = limit

    def run(self) -> None:
        """Take frames until the sources have ended, the limit is reached or the run stops."""
        counters = self._counters
        try:
            while not self._stop.is_set() and not self._intake.finished:
                counters.beats["preview"] = monotonic_ns()
                if taken := self._intake.take(timeout_s=WAIT_S):
                    self._on_frame(taken[1])
                    counters.shown += 1
                    if counters.shown == self._limit:
                        self._stop.set()
        finally:
            counters.beats.pop("preview", None)
