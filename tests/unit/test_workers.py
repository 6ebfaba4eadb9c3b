"""Capture, prepare and inference threads one by one: reopening, stalls, thinning out, broken frames, engines."""

import logging
import threading
from typing import Any

import pytest
from flow_parts import DEADLINE_S, MS, FakePipeline, PatientStop, ScriptedSource, bad, ends, frame, prepared, started

from edge_runtime.captures import REOPEN_FIRST_S, REOPEN_MOST_S, CaptureWorker
from edge_runtime.errors import (
    EngineError,
    EngineRestartingError,
    InputMismatchError,
    SourceError,
    SourceTimeoutError,
    SourceUnavailableError,
    StoreError,
    UsageError,
)
from edge_runtime.queues import Intake, ReadySlot
from edge_runtime.schedule import STALE_FACTOR, Schedule
from edge_runtime.workers import (
    MAX_ENGINE_FAILURES,
    SKIP_LOG_NS,
    SKIPS_IN_FULL,
    InferenceWorker,
    PrepareWorker,
    RunCounters,
    SkipLog,
    StreamCounters,
    guarded,
)

CAMERA = "camera0"


class Capture:
    """A capture worker with everything around it to look at; ``run`` runs it in this thread."""

    def __init__(self, source: ScriptedSource, *, others: tuple[str, ...] = (), **options: Any) -> None:
        self.source = source
        self.states: list[tuple[str, str | None]] = []
        self.counters = RunCounters(streams={name: StreamCounters() for name in (CAMERA, *others)})
        self.intake = Intake([CAMERA])
        self.stop = options.pop("stop", None) or PatientStop()
        self.worker = CaptureWorker(
            source,  # type: ignore[arg-type]
            stream=CAMERA,
            intake=self.intake,
            counters=self.counters,
            stop=self.stop,
            on_state=lambda _, state, error: self.states.append((state, error)),
            **options,
        )

    @property
    def stream(self) -> StreamCounters:
        return self.counters.streams[CAMERA]

    def run(self) -> "Capture":
        self.worker.run()
        return self


class Clock:
    """Monotonic nanoseconds that pass when told to, or by ``step_ns`` at each look."""

    def __init__(self, *, step_ns: int = 0) -> None:
        self.now_ns = 1_000 * MS
        self._step_ns = step_ns

    def __call__(self) -> int:
        self.now_ns += self._step_ns
        return self.now_ns


def test_a_source_is_online_with_its_first_frame_and_offline_at_its_end() -> None:
    capture = Capture(ScriptedSource([frame(0, CAMERA)], live=True)).run()

    assert capture.states == [("online", None), ("offline", None)]
    assert capture.intake.wait_ended(0.0)
    assert capture.source.closed == 1
    assert capture.counters.fatal is None


def test_a_live_source_drops_the_oldest_frame_and_counts_it() -> None:
    capture = Capture(ScriptedSource([frame(n, CAMERA) for n in range(5)], live=True)).run()

    taken = capture.intake.take(timeout_s=0.0)
    assert taken is not None
    assert taken[1].sequence == 4
    assert (capture.stream.captured, capture.stream.dropped) == (5, 4)


def test_a_file_waits_for_room_and_drops_nothing() -> None:
    capture = Capture(ScriptedSource([frame(n, CAMERA) for n in range(20)]))
    thread = started(capture.worker.run)[0]
    taken = []
    while not capture.intake.finished:
        if entry := capture.intake.take(timeout_s=DEADLINE_S):
            taken.append(entry[1].sequence)

    assert ends(thread)
    assert taken == list(range(20))
    assert (capture.stream.captured, capture.stream.dropped) == (20, 0)


def test_a_source_that_fails_is_opened_again_with_growing_jittered_pauses() -> None:
    stop = PatientStop(after_waits=12)
    capture = Capture(ScriptedSource([SourceError("gone")] * 100, live=True), stop=stop).run()

    bounds = [min(REOPEN_FIRST_S * 2**n, REOPEN_MOST_S) for n in range(12)]
    assert all(0.75 * b <= waited <= 1.25 * b for waited, b in zip(stop.waits, bounds, strict=True))
    assert len(set(stop.waits)) == 12
    assert capture.source.opened == capture.source.closed == capture.stream.reopened == 12


def test_the_pauses_start_anew_once_frames_came() -> None:
    script = [SourceError("gone"), SourceError("gone"), frame(0, CAMERA), SourceError("gone")]
    stop = PatientStop()
    Capture(ScriptedSource(script, live=True), stop=stop).run()

    first, second, third = stop.waits
    assert second > first * 1.1
    assert 0.75 * REOPEN_FIRST_S <= third <= 1.25 * REOPEN_FIRST_S


def test_a_source_that_fails_says_so_and_comes_back() -> None:
    script = [frame(0, CAMERA), SourceError("unplugged"), frame(1, CAMERA)]
    capture = Capture(ScriptedSource(script, live=True)).run()

    assert capture.states == [("online", None), ("offline", "unplugged"), ("online", None), ("offline", None)]


def test_a_silent_source_stalls_and_is_opened_again() -> None:
    silence = [SourceTimeoutError("nothing")] * 2
    source = ScriptedSource([frame(0, CAMERA, at_ns=1000 * MS), *silence, frame(1, CAMERA)], live=True)
    source.stall_after_s = 2.0
    capture = Capture(source, clock=Clock(step_ns=1000 * MS)).run()

    # Stalled until frames come again: reopening is not worth a state of its own.
    assert [state for state, _ in capture.states] == ["online", "stalled", "online", "offline"]
    assert capture.states[1][1] == "no frame for 2 s"
    assert source.opened == 2


def test_a_stalled_source_that_cannot_be_opened_again_is_offline() -> None:
    source = ScriptedSource(
        [SourceTimeoutError("nothing"), frame(0, CAMERA)],
        live=True,
        openings=[None, SourceUnavailableError("unplugged")],
        stall_after_s=0.5,
    )
    capture = Capture(source, clock=Clock(step_ns=1000 * MS)).run()

    assert [state for state, _ in capture.states] == ["stalled", "offline", "online", "offline"]


def test_a_source_for_which_silence_is_normal_never_stalls() -> None:
    source = ScriptedSource([SourceTimeoutError("nothing")] * 50, live=True)
    capture = Capture(source, clock=Clock(step_ns=1000 * MS)).run()

    assert capture.states == [("offline", None)]
    assert source.opened == 1


def test_a_source_that_never_opens_ends_and_says_why() -> None:
    error = SourceUnavailableError("no such camera")
    capture = Capture(ScriptedSource([], live=True, openings=[error] * 9)).run()

    assert capture.counters.never_opened == {CAMERA: error}
    assert capture.source.opened == 1
    assert capture.intake.finished


def test_a_source_that_does_not_open_is_tried_again_while_another_may_work() -> None:
    errors = [SourceUnavailableError("busy")] * 3
    source = ScriptedSource([frame(0, CAMERA)], live=True, openings=errors)
    capture = Capture(source, others=("camera1",)).run()

    assert source.opened == 4
    assert capture.counters.never_opened == {}
    assert capture.states[-2:] == [("online", None), ("offline", None)]


def test_a_users_mistake_ends_the_run() -> None:
    error = UsageError("no such file")
    capture = Capture(ScriptedSource([], openings=[error]), others=("camera1",)).run()

    assert capture.counters.fatal is error
    assert capture.stop.is_set()


def test_a_file_that_breaks_off_is_not_opened_again_and_stops_nobody_else() -> None:
    error = SourceError("the disk is gone")
    capture = Capture(ScriptedSource([frame(0, CAMERA), error])).run()

    assert capture.counters.fatal is error
    assert capture.source.opened == 1
    assert not capture.stop.is_set()


def test_broken_frames_are_counted_and_the_source_goes_on() -> None:
    capture = Capture(ScriptedSource([bad(), frame(1, CAMERA), bad()], live=True)).run()

    assert (capture.stream.captured, capture.stream.bad) == (3, 2)
    assert capture.source.opened == 1


def test_a_live_source_is_thinned_out_to_the_rate_asked_for() -> None:
    frames = [frame(n, CAMERA, at_ns=1000 * MS + round(n * 1e9 / 30)) for n in range(300)]
    capture = Capture(ScriptedSource(frames, live=True), max_fps=7.0).run()

    offered = capture.stream.dropped + 1  # all but the last were displaced
    assert offered == 70
    assert capture.stream.captured == 300


def test_after_a_pause_nothing_is_made_up_for() -> None:
    moments_ms = [1000, 9000, 9001, 9002, 9003]
    frames = [frame(n, CAMERA, at_ns=at * MS) for n, at in enumerate(moments_ms)]
    capture = Capture(ScriptedSource(frames, live=True), max_fps=10.0).run()

    assert capture.stream.dropped + 1 == 2


def test_a_file_is_slowed_down_to_the_rate_asked_for() -> None:
    stop = PatientStop()
    capture = Capture(ScriptedSource([frame(n, CAMERA) for n in range(3)]), stop=stop, max_fps=4.0, clock=Clock())
    threads = started(capture.worker.run)
    while not capture.intake.finished:
        capture.intake.take(timeout_s=DEADLINE_S)

    assert ends(*threads)
    assert stop.waits == [0.25, 0.25]


def test_what_was_skipped_is_said_in_full_at_first_and_then_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    skips = SkipLog(CAMERA, clock=clock)
    with caplog.at_level(logging.WARNING, logger="edge_runtime"):
        for number in range(SKIPS_IN_FULL + 50):
            skips.add(bad(f"broken {number}"), what="a.jpg")
        clock.now_ns += SKIP_LOG_NS
        skips.add(bad("one more"))

    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == SKIPS_IN_FULL + 1
    assert lines[0] == "camera0: skipped a.jpg: broken 0"
    assert lines[-1] == "camera0: skipped: one more (50 more since)"


class Middle:
    """What is between capture and inference: slots, a schedule, counters, for one stream."""

    def __init__(self, *, live_only: bool = False, cores: int = 2) -> None:
        self.intake = Intake([CAMERA])
        self.ready = ReadySlot()
        self.schedule = Schedule(live_only=live_only, cores=cores)
        self.counters = RunCounters(streams={CAMERA: StreamCounters()})
        self.stop = threading.Event()

    def preparer(self, pipeline: FakePipeline, *, number: int = 0, **options: Any) -> PrepareWorker:
        return PrepareWorker(
            pipeline,  # type: ignore[arg-type]
            number=number,
            intake=self.intake,
            ready=self.ready,
            schedule=self.schedule,
            counters=self.counters,
            stop=self.stop,
            infer=options.pop("infer", None) or self.inferrer(pipeline, lambda _: None).infer,
            **options,
        )

    def inferrer(self, pipeline: FakePipeline, hand_over: Any) -> InferenceWorker:
        return InferenceWorker(
            pipeline,  # type: ignore[arg-type]
            ready=self.ready,
            schedule=self.schedule,
            counters=self.counters,
            hand_over=hand_over,
            stop=self.stop,
        )


def failing(error: Exception, *, when: Any = lambda _: True) -> Any:
    def fail(item: Any) -> None:
        if when(item):
            raise error

    return fail


def test_a_broken_picture_is_counted_named_and_skipped(caplog: pytest.LogCaptureFixture) -> None:
    middle = Middle()
    thread = started(middle.preparer(FakePipeline(on_prepare=failing(bad(), when=lambda f: f.sequence == 0))).run)[0]
    for number in range(2):
        while not middle.intake.put(frame(number, CAMERA), timeout_s=DEADLINE_S):
            pass
    middle.intake.finish(CAMERA)

    assert ends(thread)
    good = middle.ready.take(timeout_s=0.0)
    assert good is not None
    assert good.frame.sequence == 1
    assert middle.counters.streams[CAMERA].bad == 1
    assert "frame 0" in caplog.text


def test_a_model_that_cannot_take_the_frames_ends_the_run() -> None:
    middle = Middle()
    error = InputMismatchError("samples, not pictures")
    thread = started(middle.preparer(FakePipeline(on_prepare=failing(error))).run)[0]
    middle.intake.put(frame(0, CAMERA), timeout_s=0.0)

    assert ends(thread)
    assert middle.counters.fatal is error
    assert middle.stop.is_set()


def test_a_tensor_that_waited_too_long_gives_way_to_a_newer_frame_and_is_counted() -> None:
    middle = Middle(live_only=True)
    middle.schedule.prepared(MS)
    pipeline = FakePipeline()
    old = prepared(frame(0, CAMERA), ready_ns=0)
    middle.ready.put(0, old, stop=middle.stop)
    middle.intake.offer(frame(0, CAMERA))
    middle.intake.take(timeout_s=0.0)  # ticket 0
    clock = Clock()
    clock.now_ns = STALE_FACTOR * MS
    thread = started(middle.preparer(pipeline, clock=clock).run)[0]
    middle.intake.offer(frame(1, CAMERA))
    thread.join(0.05)
    assert middle.ready.peek() is old  # not a moment too early

    clock.now_ns += 1
    middle.intake.finish(CAMERA)

    assert ends(thread)
    assert pipeline.discarded == [old]
    assert middle.counters.superseded == middle.counters.streams[CAMERA].dropped == 1
    newer = middle.ready.peek()
    assert newer is not None
    assert newer.frame.sequence == 1


def test_the_second_thread_stays_out_of_the_way_until_inference_starves() -> None:
    middle = Middle(cores=4)
    middle.schedule.prepared(1 * MS)
    middle.schedule.invoke_started(0)
    middle.schedule.invoke_ended(10 * MS)
    seen: list[int] = []
    worker = middle.preparer(FakePipeline(on_prepare=lambda f: seen.append(f.sequence)), number=1)
    middle.intake.put(frame(0, CAMERA), timeout_s=0.0)
    thread = started(worker.run)[0]
    thread.join(0.05)
    assert seen == []

    for _ in range(100):
        middle.schedule.prepared(20 * MS)
    while middle.ready.take(timeout_s=DEADLINE_S) is None:
        pass
    middle.intake.finish(CAMERA)

    assert ends(thread)
    assert seen == [0]


def test_on_two_cores_a_starved_engine_is_used_by_the_thread_that_prepared() -> None:
    middle = Middle()
    middle.schedule.prepared(20 * MS)
    middle.schedule.invoke_started(0)
    middle.schedule.invoke_ended(10 * MS)
    inferred: list[int] = []
    worker = middle.preparer(FakePipeline(), infer=lambda p: inferred.append(p.frame.sequence))
    thread = started(worker.run)[0]
    for number in range(5):
        while not middle.intake.put(frame(number, CAMERA), timeout_s=DEADLINE_S):
            pass
    middle.intake.finish(CAMERA)

    assert ends(thread)
    assert inferred == [0, 1, 2, 3, 4]
    assert middle.ready.peek() is None
    assert middle.ready.take(timeout_s=0.0) is None  # and the engine was given back


def test_one_failed_invoke_is_counted_and_many_in_a_row_end_the_run() -> None:
    middle = Middle()
    error = EngineError("invoke failed")
    handed: list[Any] = []
    pipeline = FakePipeline(on_infer=failing(error, when=lambda p: p.frame.sequence != 3))
    thread = started(middle.inferrer(pipeline, handed.append).run)[0]
    for ticket in range(MAX_ENGINE_FAILURES + 4):
        middle.ready.put(ticket, prepared(frame(ticket, CAMERA)), stop=middle.stop)

    assert ends(thread)
    assert [p.sequence for p in handed] == [3]
    assert middle.counters.engine_failures == MAX_ENGINE_FAILURES + 3  # three, a success, and then too many
    assert middle.counters.fatal is error
    assert middle.stop.is_set()


@pytest.mark.parametrize("live", [True, False])
def test_an_engine_that_restarts_itself_ends_the_run_over_a_file_and_never_that_of_a_camera(live: bool) -> None:
    middle = Middle(live_only=live)
    error = EngineRestartingError("the engine is being restarted")
    handed: list[Any] = []
    pipeline = FakePipeline(on_infer=failing(error, when=lambda p: p.frame.sequence <= MAX_ENGINE_FAILURES))
    thread = started(middle.inferrer(pipeline, handed.append).run)[0]
    for ticket in range(MAX_ENGINE_FAILURES + 2):
        middle.ready.put(ticket, prepared(frame(ticket, CAMERA)), stop=middle.stop)
    middle.ready.close()

    assert ends(thread)
    assert middle.counters.fatal is (None if live else error)
    assert [p.sequence for p in handed] == ([MAX_ENGINE_FAILURES + 1] if live else [])
    assert middle.counters.engine_failures == MAX_ENGINE_FAILURES + live


def test_a_run_that_has_no_numbers_left_ends_and_says_why() -> None:
    middle = Middle()
    error = StoreError("no sequence number")
    thread = started(middle.inferrer(FakePipeline(), failing(error)).run)[0]
    middle.ready.put(0, prepared(frame(0, CAMERA)), stop=middle.stop)

    assert ends(thread)
    assert middle.counters.fatal is error
    assert middle.stop.is_set()


def test_an_unexpected_error_is_logged_and_reported_never_lost(caplog: pytest.LogCaptureFixture) -> None:
    crashes: list[BaseException] = []
    error = RuntimeError("a plugin's mistake")
    thread = guarded("capture-0", lambda: failing(error)(None), crashes.append)
    thread.start()

    assert ends(thread)
    assert crashes == [error]
    assert "capture-0 failed" in caplog.text
