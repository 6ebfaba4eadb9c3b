"""A thread for each source: open, read, open again; and what is done about one that its driver does not give back."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from edge_runtime.clock import monotonic_ns
from edge_runtime.errors import BadFrameError, EdgeRuntimeError, SourceError, SourceTimeoutError, UsageError
from edge_runtime.protocols import Source
from edge_runtime.queues import Intake
from edge_runtime.types import Frame
from edge_runtime.workers import CAPTURE, READ_TIMEOUT_S, Clock, RunCounters, SkipLog, StreamCounters, guarded

log = logging.getLogger(__name__)

StateListener = Callable[[str, str, str | None], None]
"""Called with stream, ``online | stalled | offline`` and the error, from the capture thread."""

REOPEN_FIRST_S = 0.5
REOPEN_MOST_S = 30.0
OPEN_S = 15.0
"""Opening may take longer than reading: a decoder's process is started, a network camera is called."""
STUCK_S: Final = 15.0
"""A read has a deadline of a quarter of a second; one that has not come back after this long is in native code."""
MOST_LEFT: Final = 3
"""So many threads of one stream are left behind; each holds some memory, and the device."""


@dataclass(frozen=True, slots=True)
class Inlet:
    """One source of a flow, and how many frames a second it may deliver at most."""

    source: Source
    max_fps: float | None = None
    anew: Callable[[], Source] | None = None
    """Makes the source once more, when a call into native code does not return; None where it cannot happen."""


class _StalledError(SourceError):
    """A source is open and silent; its state has been told."""


class CaptureWorker:
    """Keeps one source open and moves its frames into the intake. ``run`` is the body of one thread."""

    def __init__(
        self,
        source: Source,
        *,
        stream: str,
        intake: Intake,
        counters: RunCounters,
        stop: threading.Event,
        on_state: StateListener,
        max_fps: float | None = None,
        clock: Clock = monotonic_ns,
    ) -> None:
        self._source = source
        self._stream = stream
        self._intake = intake
        self._run_counters = counters
        self._counters = counters.streams.setdefault(stream, StreamCounters())
        self._clock = clock
        self._skips = SkipLog(stream, clock=clock)
        self._stop = stop
        self._on_state = on_state
        self._interval_ns = int(1e9 / max_fps) if max_fps else 0
        self._due_ns = 0
        self.was_opened = False
        """Whether it was open before, also in another worker's hands: what then cannot be opened is tried again."""
        self._abandoned = False
        self._state: str | None = None

    def run(self) -> None:
        """Open, read, reopen with back-off and jitter until the source ends or the run stops."""
        try:
            self._keep_open()
        finally:
            if not self._abandoned:
                self._intake.finish(self._stream)
                self._run_counters.beats.pop(CAPTURE + self._stream, None)

    def abandon(self) -> None:
        """Have no more to do with the run: another worker is in this one's place. Any thread."""
        self._abandoned = True
        self._run_counters.beats[CAPTURE + self._stream] = monotonic_ns()

    @property
    def _over(self) -> bool:
        return self._abandoned or self._stop.is_set()

    def _beat(self, ahead_s: float = 0.0) -> None:
        if self._abandoned:
            return
        self._run_counters.beats[CAPTURE + self._stream] = monotonic_ns() + int(ahead_s * 1e9)

    def _keep_open(self) -> None:
        delay_s = REOPEN_FIRST_S
        while not self._over:
            frames_before = self._counters.captured
            self._beat(ahead_s=OPEN_S)
            try:
                self._source.open()
                self.was_opened = True
                self._read_until_end()
                self._set_state("offline", None)
                return
            except UsageError as error:
                if self._abandoned:
                    return
                self._run_counters.fatal = self._run_counters.fatal or error
                self._stop.set()
                return
            except EdgeRuntimeError as error:
                if self._abandoned:
                    return
                if not isinstance(error, _StalledError):
                    self._set_state("offline", str(error))
                if not self._may_retry(error):
                    return
                log.warning("%s: %s; trying again", self._stream, error)
            finally:
                self._source.close()
            if self._counters.captured > frames_before:
                delay_s = REOPEN_FIRST_S
            self._counters.reopened += 1
            self._beat(ahead_s=delay_s)
            self._stop.wait(_jittered(delay_s))
            delay_s = min(delay_s * 2, REOPEN_MOST_S)

    def _may_retry(self, error: EdgeRuntimeError) -> bool:
        if not self.was_opened:
            self._run_counters.never_opened[self._stream] = error
            return len(self._run_counters.never_opened) < len(self._run_counters.streams)
        if self._source.live and error.retryable:
            return True
        self._run_counters.fatal = self._run_counters.fatal or error
        return False

    def _read_until_end(self) -> None:
        last_frame_ns = self._clock()
        while not self._over:
            self._beat()
            try:
                frame = self._source.read(READ_TIMEOUT_S)
            except SourceTimeoutError:
                self._check_stall(last_frame_ns)
                continue
            except BadFrameError as error:
                last_frame_ns = self._clock()
                self._counters.captured += 1
                self._counters.bad += 1
                self._skips.add(error)
                continue
            if frame is None or self._abandoned:
                return
            last_frame_ns = frame.arrived_ns
            self._counters.captured += 1
            self._run_counters.never_opened.pop(self._stream, None)
            self._set_state("online", None)
            self._deliver(frame)

    def _deliver(self, frame: Frame) -> None:
        if self._source.live:
            if self._is_due(frame.arrived_ns):
                self._counters.offered += 1
                self._counters.dropped += self._intake.offer(frame)
            return
        if (ahead_ns := self._due_ns - self._clock()) > 0:
            self._beat(ahead_s=ahead_ns / 1e9)
            self._stop.wait(ahead_ns / 1e9)
        if self._interval_ns:
            self._due_ns = self._clock() + self._interval_ns
        self._counters.offered += 1
        while not self._over and not self._intake.put(frame, timeout_s=READ_TIMEOUT_S):
            self._beat()

    def _is_due(self, arrived_ns: int) -> bool:
        """Thin out to the rate asked for: counted from when a frame was due, after a pause from now."""
        if not self._interval_ns:
            return True
        if arrived_ns < self._due_ns:
            return False
        next_ns = self._due_ns + self._interval_ns
        self._due_ns = next_ns if next_ns > arrived_ns else arrived_ns + self._interval_ns
        return True

    def _check_stall(self, last_frame_ns: int) -> None:
        limit_s = self._source.stall_after_s
        silent_s = (self._clock() - last_frame_ns) / 1e9
        if limit_s is None or silent_s < limit_s:
            return
        silence = f"no frame for {silent_s:.0f} s"
        self._set_state("stalled", silence)
        raise _StalledError(silence)

    def _set_state(self, state: str, error: str | None) -> None:
        if state != self._state and not self._abandoned:
            self._state = state
            self._on_state(self._stream, state, error)


def _jittered(delay_s: float) -> float:
    from random import uniform  # where all goes well it is not needed

    return delay_s * uniform(0.75, 1.25)  # noqa: S311 - jitter, not secrecy


class Captures:
    """One thread for each inlet. ``look`` belongs to the supervisor's thread, the rest to the flow's.

    A thread cannot be ended, so one that is stuck is left behind: its stream counts as stalled and gets a new thread
    with a new source. When the stuck call returns after all, the old thread closes its device and ends without a word.
    """

    def __init__(
        self,
        inlets: Mapping[str, Inlet],
        *,
        worker: Callable[[str, Source], CaptureWorker],
        counters: RunCounters,
        on_state: StateListener,
        on_crash: Callable[[BaseException], None],
        clock: Callable[[], int] = monotonic_ns,
    ) -> None:
        self._inlets = inlets
        self._make = worker
        self._counters = counters
        self._on_state = on_state
        self._on_crash = on_crash
        self._clock = clock
        self._workers: dict[str, CaptureWorker] = {}
        self._left: Counter[str] = Counter()
        self.threads: list[threading.Thread] = []
        """All of them, those left behind too."""

    def start(self) -> None:
        """Start a thread for each inlet."""
        for stream, inlet in self._inlets.items():
            self._start(stream, self._make(stream, inlet.source))

    def look(self) -> None:
        """Leave behind what is stuck, and open its source anew in another thread."""
        for stream, worker in tuple(self._workers.items()):
            seen_ns = self._counters.beats.get(CAPTURE + stream)
            anew = self._inlets[stream].anew
            if seen_ns is None or self._clock() - seen_ns < STUCK_S * 1e9:
                continue
            if anew is None or self._left[stream] >= MOST_LEFT:
                continue
            self._left[stream] += 1
            worker.abandon()
            error = f"its driver does not answer for {STUCK_S:g} s; it is opened anew"
            log.error("%s: %s", stream, error)
            self._on_state(stream, "stalled", error)
            self._start(stream, self._make(stream, anew()), reopened=True)

    def _start(self, stream: str, worker: CaptureWorker, *, reopened: bool = False) -> None:
        worker.was_opened = reopened
        self._workers[stream] = worker
        thread = guarded(f"capture-{stream}", worker.run, self._on_crash)
        self.threads.append(thread)
        thread.start()
