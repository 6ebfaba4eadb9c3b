"""Where predictions leave the inference thread: around each sink either a queue and a thread, or nothing at all."""

import logging
import threading
from collections.abc import Sequence
from typing import Final, Protocol

from edge_runtime.protocols import Handed, Sink
from edge_runtime.queues import BoundedQueue
from edge_runtime.stopping import CALM_S, Stop
from edge_runtime.workers import RunCounters, guarded

log = logging.getLogger(__name__)

SINK_QUEUE: Final = 1024
DRAIN_TIMEOUT_S: Final = 5.0
DRAIN_KEEP_S: Final = 0.5
"""Of the time left to a run that was told to end, what a blocked sink leaves to what comes after it."""


class Outlet(Protocol):
    """Where predictions leave: around one sink."""

    def start(self) -> None:
        """Open the sink, in the calling thread so that its errors are the caller's."""
        ...

    def hand(self, handed: Handed, *, wait_s: float) -> None:
        """Take a prediction from the inference thread, waiting at most ``wait_s`` for room."""
        ...

    def close(self) -> None:
        """Write what is queued, and close the sink."""
        ...


class DirectSink:
    """Writes to a sink that never waits for anything, in the inference thread: the broker's, whose bus has a queue.

    A thread between them would only wake another one: 0.2 ms of CPU for 20 us of work.
    """

    def __init__(self, sink: Sink, *, name: str, counters: RunCounters) -> None:
        self._sink = sink
        self._name = name
        self._counters = counters
        self._failed = False

    def start(self) -> None:
        """Open the sink, in the calling thread so that its errors are the caller's."""
        self._sink.open()

    def hand(self, handed: Handed, *, wait_s: float) -> None:  # noqa: ARG002 - nothing is waited for
        """Write a prediction. A sink that fails gets no more; the others go on."""
        if self._failed:
            self._counters.sink_dropped += 1
            return
        try:
            self._sink.write((handed,))
        except Exception:  # nothing that a sink does may end the inference
            self._failed = True
            log.exception("the sink %s failed and gets no more predictions", self._name)

    def close(self) -> None:
        """Close the sink."""
        self._sink.close()


class SinkWorker:
    """Feeds one sink from a bounded queue in its own thread.

    Overflow rule: predictions of files wait for room; those of live sources are dropped and counted, so that a blocked
    disk or terminal never slows the camera or the broker.
    """

    def __init__(self, sink: Sink, *, name: str, counters: RunCounters, stop: Stop) -> None:
        self._sink = sink
        self._counters = counters
        self._stop = stop
        self._queue: BoundedQueue[Handed] = BoundedQueue(SINK_QUEUE)
        self._thread = guarded(f"sink-{name}", self._run, self._crashed)
        self._failed = False

    def start(self) -> None:
        """Open the sink, in the calling thread so that its errors are the caller's, and start."""
        self._sink.open()
        self._thread.start()

    def hand(self, handed: Handed, *, wait_s: float) -> None:
        """Queue a prediction, waiting at most ``wait_s`` for room, and no longer once the run is to end."""
        while not self._failed:
            if self._queue.put(handed, timeout_s=min(wait_s, CALM_S)):
                return
            wait_s -= CALM_S
            if wait_s <= 0 or self._stop.is_set():
                break
        self._counters.sink_dropped += 1

    def close(self) -> None:
        """Write what is queued, close the sink, end the thread."""
        self._queue.close()
        if not self._stop.join(self._thread, DRAIN_TIMEOUT_S, keep_s=DRAIN_KEEP_S):
            log.warning("a sink is blocked: %d predictions were not written to it", len(self._queue))

    def _run(self) -> None:
        try:
            while not self._queue.finished:
                if batch := self._queue.take(timeout_s=1.0):
                    self._sink.write(batch)
        finally:
            self._sink.close()

    def _crashed(self, error: BaseException) -> None:
        self._failed = True
        log.error("a sink failed and gets no more predictions: %s", error)


def hand_to(outlets: Sequence[Outlet], handed: Handed, *, live: bool, stop: threading.Event) -> None:
    """Give one prediction to every sink; files wait for room, live sources do not."""
    for outlet in outlets:
        outlet.hand(handed, wait_s=0.0 if live or stop.is_set() else DRAIN_TIMEOUT_S)
