"""The threads of one run: started together, and seen out one stage after the other."""

import logging
import math
import os
import threading
from collections.abc import Callable, Mapping
from typing import Final

from edge_runtime.captures import Captures, CaptureWorker, Inlet, StateListener
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.pipeline import Pipeline
from edge_runtime.preview import PreviewWorker
from edge_runtime.protocols import Source
from edge_runtime.queues import Intake, ReadySlot
from edge_runtime.schedule import Schedule
from edge_runtime.stopping import Stop
from edge_runtime.types import Frame, Prediction
from edge_runtime.workers import (
    InferenceWorker,
    PrepareWorker,
    RunCounters,
    StreamCounters,
    guarded,
)

log = logging.getLogger(__name__)

PREPARE_THREADS: Final = 2
JOIN_S: Final = 5.0
ABORT_KEEP_S, STAGE_KEEP_S, CAPTURE_KEEP_S = 1.0, 0.7, 0.6
"""Of the time left to a run that was told to end: what is kept when an invoke is ended by force, when a thread that
does not come back from it is left behind, and when a camera is."""


class Flow:
    """Sources, an optional pipeline, and the threads around them. Used once.

    ``cores`` is how many of them the threads may use; None asks the system.
    """

    def __init__(
        self,
        inlets: Mapping[str, Inlet],
        *,
        counters: RunCounters,
        stop: Stop,
        on_state: StateListener,
        cores: int | None = None,
    ) -> None:
        self._cores = cores or len(os.sched_getaffinity(0))
        self._inlets = dict(inlets)
        self._counters = counters
        self._stop = stop
        self._on_state = on_state
        self.left_behind: list[str] = []
        """Threads that did not end, stuck in native code."""
        self.aborted = False
        """Whether an invoke was ended by force."""
        self._intake = Intake(inlets)
        self._captures = Captures(
            self._inlets, worker=self._capture, counters=counters, on_state=on_state, on_crash=self._on_crash
        )
        self.look = self._captures.look
        """Leave a camera's thread behind that its driver does not give back; for the supervisor's thread."""
        for stream in inlets:
            counters.streams.setdefault(stream, StreamCounters())

    def run(self, pipeline: Pipeline, hand_over: Callable[[Prediction], None]) -> None:
        """Move frames through ``pipeline`` until every source has ended or ``stop`` is set; then everything is done.

        ``hand_over`` is called from the threads that infer, never from two at a time.
        """
        ready = ReadySlot()
        live_only = all(inlet.source.live for inlet in self._inlets.values())
        schedule = Schedule(live_only=live_only, cores=self._cores)
        inference = InferenceWorker(
            pipeline,
            ready=ready,
            schedule=schedule,
            counters=self._counters,
            hand_over=hand_over,
            stop=self._stop,
        )
        prepare = [
            PrepareWorker(
                pipeline,
                number=number,
                intake=self._intake,
                ready=ready,
                schedule=schedule,
                counters=self._counters,
                stop=self._stop,
                infer=inference.infer,
            ).run
            for number in range(PREPARE_THREADS)
        ]
        stages = [self._threads("prepare", prepare), self._threads("inference", [inference.run])]
        # Once nothing more is prepared, the inference thread works off what is ready and ends too.
        self._see_out(stages, after_first=ready.close, abort=pipeline.abort)

    def preview(self, on_frame: Callable[[Frame], None], *, limit: int | None = None) -> None:
        """Hand frames to ``on_frame``, without a model, until the sources end, ``limit`` frames came, or a stop."""
        worker = PreviewWorker(
            intake=self._intake, counters=self._counters, on_frame=on_frame, stop=self._stop, limit=limit
        )
        self._see_out([self._threads("preview", [worker.run])], after_first=lambda: None, abort=lambda: None)

    def _see_out(
        self, stages: list[list[threading.Thread]], *, after_first: Callable[[], None], abort: Callable[[], None]
    ) -> None:
        self._captures.start()
        for thread in (thread for stage in stages for thread in stage):
            thread.start()
        for stage in stages:
            for thread in stage:
                if not self._stop.join(thread, math.inf, keep_s=ABORT_KEEP_S):
                    self.aborted = True
                    abort()
                    self._leave_unless_ended(thread, math.inf, keep_s=STAGE_KEEP_S)
            after_first()
        self._stop.set()
        for thread in tuple(self._captures.threads):
            self._leave_unless_ended(thread, JOIN_S, keep_s=CAPTURE_KEEP_S)

    def _leave_unless_ended(self, thread: threading.Thread, usual_s: float, *, keep_s: float) -> None:
        if not self._stop.join(thread, usual_s, keep_s=keep_s):
            log.warning("%s does not end and is left behind", thread.name)
            self.left_behind.append(thread.name)

    def _capture(self, stream: str, source: Source) -> CaptureWorker:
        return CaptureWorker(
            source,
            stream=stream,
            intake=self._intake,
            counters=self._counters,
            stop=self._stop,
            on_state=self._on_state,
            max_fps=self._inlets[stream].max_fps,
        )

    def _threads(self, name: str, bodies: list[Callable[[], None]]) -> list[threading.Thread]:
        return [guarded(f"{name}-{number}", body, self._on_crash) for number, body in enumerate(bodies)]

    def _on_crash(self, error: BaseException) -> None:
        unexpected = EdgeRuntimeError(f"stopped by an unexpected error: {error!r}")
        self._counters.fatal = self._counters.fatal or unexpected
        self._stop.set()
