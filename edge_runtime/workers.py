"""Threads around the pipeline: one capture thread per source, prepare threads, one inference thread.

Plugins raise; only what is here retries, counts and logs. Every thread watches one event, ``stop``, and every thread's
end is passed on downstream, so that a finite run drains and ends by itself.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from edge_runtime.clock import monotonic_ns
from edge_runtime.errors import BadFrameError, EdgeRuntimeError
from edge_runtime.pipeline import Pipeline
from edge_runtime.queues import Intake, ReadySlot
from edge_runtime.schedule import Schedule
from edge_runtime.types import Frame, Prediction, Prepared

log = logging.getLogger(__name__)

READ_TIMEOUT_S = 0.25
MAX_ENGINE_FAILURES = 10
SKIPS_IN_FULL = 20
SKIP_LOG_NS = 10_000_000_000
CAPTURE: Final = "capture "
"""What the sign of life of a capture thread begins with; the stream's name follows."""
IDLE_S = 0.1
"""How often the second prepare thread looks whether it is needed, and whether the run has been stopped."""

Clock = Callable[[], int]


@dataclass(slots=True)
class StreamCounters:
    """What happened on one stream; written by its capture thread and the prepare threads, read by anyone."""

    captured: int = 0
    offered: int = 0
    """Frames given to the pipeline; the rest was beyond the rate asked for, or broken."""
    dropped: int = 0
    bad: int = 0
    reopened: int = 0


@dataclass(slots=True)
class RunCounters:
    """What happened in this run; each field is written by one thread."""

    streams: dict[str, StreamCounters] = field(default_factory=dict)
    inferred: int = 0
    shown: int = 0
    """Frames of a preview."""
    superseded: int = 0
    """Tensors that were ready and gave way to a newer frame."""
    engine_failures: int = 0
    sink_dropped: int = 0
    never_opened: dict[str, EdgeRuntimeError] = field(default_factory=dict)
    fatal: EdgeRuntimeError | None = None
    beats: dict[str, int] = field(default_factory=dict)
    """When each worker last came round, monotonic ns; one that waits out a back-off says until when. Ended: gone."""


def guarded(name: str, body: Callable[[], None], on_crash: Callable[[BaseException], None]) -> threading.Thread:
    """Return an unstarted thread whose unexpected exceptions are logged and reported, never lost."""

    def run() -> None:
        try:
            body()
        except Exception as error:
            log.exception("%s failed", name)
            on_crash(error)

    return threading.Thread(target=run, name=name, daemon=True)


class SkipLog:
    """Says what was skipped: the first few in full, then once in a while how many more."""

    def __init__(self, stream: str, *, clock: Clock = monotonic_ns) -> None:
        self._stream = stream
        self._clock = clock
        self._said = 0
        self._unsaid = 0
        self._next_ns = 0

    def add(self, error: BadFrameError, *, what: str | None = None) -> None:
        """Count one broken frame and log it, or not yet."""
        now_ns = self._clock()
        if self._said >= SKIPS_IN_FULL and now_ns < self._next_ns:
            self._unsaid += 1
            return
        more = f" ({self._unsaid} more since)" if self._unsaid else ""
        log.warning("%s: skipped%s: %s%s", self._stream, f" {what}" if what else "", error, more)
        self._said += 1
        self._unsaid = 0
        self._next_ns = now_ns + SKIP_LOG_NS


class PrepareWorker:
    """Turns frames into tensors, early enough for the engine and no earlier.

    The first worker (``number`` 0) always runs; the second one only takes frames while preparing is what inference
    waits for: always running two costs CPU and gains nothing when the model is slower than the decoder. On two cores
    they then infer as well what they have prepared, by ``infer``; one at a time, as `ReadySlot` sees to.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        number: int,
        intake: Intake,
        ready: ReadySlot,
        schedule: Schedule,
        counters: RunCounters,
        stop: threading.Event,
        infer: Callable[[Prepared], None],
        clock: Clock = monotonic_ns,
    ) -> None:
        self._pipeline = pipeline
        self._infer = infer
        self._number = number
        self._clock = clock
        self._intake = intake
        self._ready = ready
        self._schedule = schedule
        self._counters = counters
        self._stop = stop
        self._skips = {stream: SkipLog(stream, clock=clock) for stream in counters.streams}

    def run(self) -> None:
        """Prepare frames until the sources have ended or the run stops."""
        name = f"prepare {self._number}"
        try:
            self._work(name)
        finally:
            self._counters.beats.pop(name, None)

    def _work(self, name: str) -> None:
        while not self._stop.is_set() and not self._intake.finished:
            self._counters.beats[name] = monotonic_ns()
            if self._number and not self._schedule.starved:
                if self._intake.wait_ended(IDLE_S):
                    return  # the first worker does the rest
                continue
            stream = self._wait_for_room() if self._schedule.live_only else None
            if taken := self._intake.take(timeout_s=READ_TIMEOUT_S, stream=stream):
                self._prepare(*taken)

    def _prepare(self, ticket: int, frame: Frame, live: bool) -> None:
        started_ns = self._clock()
        try:
            prepared = self._pipeline.prepare(frame)
        except BadFrameError as error:
            self._counters.streams[frame.stream].bad += 1
            self._skips[frame.stream].add(error, what=frame.origin.path or f"frame {frame.sequence}")
            self._ready.put(ticket, None, stop=self._stop)
            return
        except EdgeRuntimeError as error:
            self._counters.fatal = self._counters.fatal or error
            self._stop.set()
            return
        self._schedule.prepared(self._clock() - started_ns)
        if self._schedule.in_place and self._ready.claim(ticket):
            self._infer_in_place(prepared)
            return
        if not live:
            self._ready.put(ticket, prepared, stop=self._stop)
            return
        _, displaced = self._ready.replace(ticket, prepared, stop=self._stop)
        if displaced is not None:
            self._counters.superseded += 1
            self._counters.streams[displaced.frame.stream].dropped += 1
            self._pipeline.discard(displaced)

    def _infer_in_place(self, prepared: Prepared) -> None:
        waiting: Prepared | None = prepared
        while waiting is not None:
            if not self._stop.is_set():
                self._infer(waiting)
            waiting = self._ready.more()

    def _wait_for_room(self) -> str | None:
        """Hold back until the engine will soon be free; name the stream whose waiting tensor has grown too old."""
        while not self._stop.is_set():
            waiting = self._ready.peek()
            if waiting is None:
                if (hold_s := self._schedule.hold_s(self._clock())) > 0:
                    self._stop.wait(hold_s)
                return None
            stream = waiting.frame.stream
            if self._schedule.too_old(waiting.ready_ns, self._clock()) and self._intake.has(stream):
                return stream
            self._ready.wait_free(timeout_s=0.01)
        return None


class InferenceWorker:
    """Runs the engine and hands predictions over. ``run`` is the body of one thread.

    ``infer`` may be called by another one that has claimed the engine.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        ready: ReadySlot,
        schedule: Schedule,
        counters: RunCounters,
        hand_over: Callable[[Prediction], None],
        stop: threading.Event,
    ) -> None:
        self._pipeline = pipeline
        self._ready = ready
        self._schedule = schedule
        self._counters = counters
        self._hand_over = hand_over
        self._stop = stop
        self._failures_in_a_row = 0

    def run(self) -> None:
        """Infer until what is ready has been worked off or the run stops."""
        try:
            while not self._stop.is_set() and not self._ready.finished:
                self._counters.beats["inference"] = monotonic_ns()
                if prepared := self._ready.take(timeout_s=READ_TIMEOUT_S):
                    self.infer(prepared)
        finally:
            self._counters.beats.pop("inference", None)

    def infer(self, prepared: Prepared) -> None:
        """Invoke, and hand the prediction over. Never two threads at a time."""
        started_ns = monotonic_ns()
        self._schedule.invoke_started(started_ns)
        try:
            prediction = self._pipeline.infer(prepared)
        except EdgeRuntimeError as error:
            self._count_failure(error)
            return
        finally:
            self._schedule.invoke_ended(monotonic_ns())
        self._failures_in_a_row = 0
        self._counters.inferred += 1
        try:
            self._hand_over(prediction)
        except EdgeRuntimeError as error:  # there is no number left for it
            self._counters.fatal = self._counters.fatal or error
            self._stop.set()

    def _count_failure(self, error: EdgeRuntimeError) -> None:
        self._counters.engine_failures += 1
        if error.retryable and self._schedule.live_only:
            log.debug("%s", error)  # the engine restarts itself and says so; a file would lose frame after frame
            return
        self._failures_in_a_row += 1
        log.error("%s", error)
        if self._failures_in_a_row >= MAX_ENGINE_FAILURES:
            self._counters.fatal = error
            self._stop.set()
