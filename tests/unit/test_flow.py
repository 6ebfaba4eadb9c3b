"""All threads of a run together: order, losses, ends and stops."""

import random
import threading
import time
from typing import Any

import pytest
from flow_parts import DEADLINE_S, FakePipeline, ScriptedSource, bad, ends, frame, started
from real_broker import eventually

from edge_runtime.captures import OPEN_S, STUCK_S, Inlet
from edge_runtime.errors import SourceError
from edge_runtime.flow import Flow
from edge_runtime.stopping import Stop
from edge_runtime.types import Frame, Prediction, Prepared
from edge_runtime.workers import RunCounters


class Ran:
    """A flow over scripted sources, run to its end in a thread of its own."""

    def __init__(self, sources: dict[str, ScriptedSource], pipeline: FakePipeline, **options: Any) -> None:
        self.predictions: list[Prediction] = []
        self.counters = RunCounters()
        self.stop = Stop()
        self.states: list[tuple[str, str]] = []
        self._flow = Flow(
            {name: Inlet(source) for name, source in sources.items()},  # type: ignore[arg-type]
            counters=self.counters,
            stop=self.stop,
            on_state=lambda stream, state, _: self.states.append((stream, state)),
            cores=options.pop("cores", 4),
        )
        hand_over = options.pop("hand_over", self.predictions.append)
        self.thread = started(lambda: self._flow.run(pipeline, hand_over))[0]  # type: ignore[arg-type]

    def sequences(self, stream: str) -> list[int]:
        return [prediction.sequence for prediction in self.predictions if prediction.stream == stream]


def files(stream: str, count: int, **options: Any) -> ScriptedSource:
    return ScriptedSource((frame(number, stream) for number in range(count)), **options)


@pytest.mark.parametrize("cores", [2, 4])
def test_files_keep_their_order_although_two_threads_prepare_them(cores: int) -> None:
    # Some pictures take longer than others, and all longer than an invoke: both threads are at work.
    chance = random.Random(3)
    took = {number: chance.choice([0.0002, 0.001, 0.004]) for number in range(300)}
    by_thread: dict[str, int] = {}

    def prepare(of: Frame) -> None:
        name = threading.current_thread().name
        by_thread[name] = by_thread.get(name, 0) + 1
        time.sleep(took[of.sequence])

    inferring: set[str] = set()
    running: list[int] = []

    def infer(_: Prepared) -> None:
        inferring.add(threading.current_thread().name)
        running.append(1)
        time.sleep(0.0002)
        assert running.pop()
        assert not running  # never two at a time

    pipeline = FakePipeline(on_prepare=prepare, on_infer=infer)
    ran = Ran({"images0": files("images0", 300)}, pipeline, cores=cores)

    assert ends(ran.thread)
    assert ran.sequences("images0") == list(range(300))
    assert ran.counters.inferred == 300
    assert ran.counters.streams["images0"].dropped == 0
    assert set(by_thread) == {"prepare-0", "prepare-1"}
    # On two cores whoever has prepared infers as well; where there are more an inference thread of its own does.
    assert (inferring == {"inference-0"}) == (cores == 4)


def test_bad_pictures_are_left_out_and_the_others_stay_in_order() -> None:
    def prepare(of: Frame) -> None:
        time.sleep(0.001)
        if of.sequence % 3 == 0:
            raise bad()

    ran = Ran({"images0": files("images0", 60)}, FakePipeline(on_prepare=prepare))

    assert ends(ran.thread)
    assert ran.sequences("images0") == [n for n in range(60) if n % 3]
    assert ran.counters.streams["images0"].bad == 20


@pytest.mark.parametrize("cores", [1, 2, 4])
@pytest.mark.parametrize("slow", ["prepare", "infer"])
def test_live_frames_are_inferred_or_counted_as_dropped(slow: str, cores: int) -> None:
    source = files("camera0", 2000, live=True)
    wait = {slow: lambda _: time.sleep(0.0005)}
    pipeline = FakePipeline(**{f"on_{step}": act for step, act in wait.items()})
    ran = Ran({"camera0": source}, pipeline, cores=cores)

    assert ends(ran.thread)
    counts = ran.counters.streams["camera0"]
    got = ran.sequences("camera0")
    assert counts.captured == 2000 == len(got) + counts.dropped
    assert got == sorted(set(got))
    assert got[-1] == 1999  # the newest is never the one that is dropped


def test_two_live_sources_are_served_in_turn() -> None:
    sources = {
        name: files(name, 10**9, live=True, before_read=lambda: time.sleep(0.0005)) for name in ("camera0", "camera1")
    }
    ran = Ran(sources, FakePipeline(on_infer=lambda _: time.sleep(0.002)))
    deadline = time.monotonic() + DEADLINE_S
    while len(ran.predictions) < 60 and time.monotonic() < deadline:
        time.sleep(0.005)
    ran.stop.set()

    assert ends(ran.thread)
    first, second = (len(ran.sequences(name)) for name in sources)
    assert min(first, second) > 15


def test_a_source_that_is_gone_does_not_slow_the_other() -> None:
    dead = ScriptedSource([SourceError("unplugged")] * 1000, live=True)
    ran = Ran({"camera0": dead, "images0": files("images0", 200)}, FakePipeline())
    deadline = time.monotonic() + DEADLINE_S
    while len(ran.predictions) < 200 and time.monotonic() < deadline:
        time.sleep(0.005)

    assert ran.sequences("images0") == list(range(200))
    assert ("camera0", "offline") in ran.states
    ran.stop.set()
    assert ends(ran.thread)


def test_files_beside_a_camera_lose_nothing() -> None:
    camera = files("camera0", 300, live=True, before_read=lambda: time.sleep(0.0002))
    ran = Ran({"camera0": camera, "images0": files("images0", 100)}, FakePipeline())

    assert ends(ran.thread)
    assert ran.sequences("images0") == list(range(100))
    counts = ran.counters.streams["camera0"]
    assert counts.captured == len(ran.sequences("camera0")) + counts.dropped


@pytest.mark.parametrize("cores", [1, 2, 4])
@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("after", [1, 2, 7, 40])
def test_a_stop_ends_every_thread_wherever_they_are(live: bool, after: int, cores: int) -> None:
    stop_at = threading.Event()

    def hand_over(prediction: Prediction) -> None:
        if prediction.sequence >= after:
            stop_at.set()

    endless = ScriptedSource((frame(n, "camera0") for n in range(10**9)), live=live)
    ran = Ran({"camera0": endless}, FakePipeline(), hand_over=hand_over, cores=cores)

    assert stop_at.wait(DEADLINE_S)
    ran.stop.set()
    assert ends(ran.thread)
    assert endless.closed == 1


def test_a_stop_while_nothing_comes_ends_every_thread() -> None:
    ran = Ran({"camera0": ScriptedSource([], live=True, endless=True)}, FakePipeline())

    ran.stop.set()

    assert ends(ran.thread)


@pytest.mark.parametrize("where", ["prepare", "infer", "hand over", "read"])
def test_an_unexpected_error_anywhere_ends_the_run_with_a_sentence(where: str) -> None:
    def crash(*_: Any) -> None:
        raise ZeroDivisionError("a plugin's mistake")

    pipeline = FakePipeline(
        on_prepare=crash if where == "prepare" else lambda _: None,
        on_infer=crash if where == "infer" else lambda _: None,
    )
    source = files("camera0", 10**6, live=True, before_read=crash if where == "read" else lambda: None)
    ran = Ran({"camera0": source}, pipeline, **({"hand_over": crash} if where == "hand over" else {}))

    assert ends(ran.thread)
    assert ran.counters.fatal is not None
    assert "a plugin's mistake" in str(ran.counters.fatal)


def test_frames_without_a_model_are_shown_and_counted_to_a_limit() -> None:
    seen: list[Frame] = []
    stop = Stop()
    source = ScriptedSource((frame(n, "camera0") for n in range(10**6)), live=True)
    flow = Flow(
        {"camera0": Inlet(source)},  # type: ignore[arg-type]
        counters=RunCounters(),
        stop=stop,
        on_state=lambda *_: None,
    )

    assert ends(*started(lambda: flow.preview(seen.append, limit=5)))
    assert len(seen) == 5


class StuckSource:
    """A camera whose driver does not return from a read until ``released``; one made ``anew`` works."""

    live = True
    stall_after_s = 5.0

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.released, self.closed = threading.Event(), threading.Event()

    def open(self) -> None:
        pass

    def read(self, timeout_s: float) -> Frame | None:
        self.released.wait(DEADLINE_S)
        return frame(0, self.stream)

    def close(self) -> None:
        self.closed.set()


def test_a_camera_whose_driver_does_not_return_is_opened_anew_in_another_thread() -> None:
    stuck, works = StuckSource("a"), StuckSource("a")
    works.released.set()
    stop, counters, states = Stop(), RunCounters(), []
    predictions: list[Prediction] = []
    flow = Flow(
        {"a": Inlet(stuck, anew=lambda: works)},  # type: ignore[arg-type, return-value]
        counters=counters,
        stop=stop,
        on_state=lambda stream, state, error: states.append((stream, state, error)),
        cores=4,
    )
    thread = started(lambda: flow.run(FakePipeline(), predictions.append))[0]  # type: ignore[arg-type]
    eventually(lambda: counters.beats.get("capture a"), what="the thread")
    flow.look()
    assert not states
    counters.beats["capture a"] -= int((STUCK_S + OPEN_S) * 1e9)
    flow.look()
    eventually(lambda: predictions, what="a prediction of the new one")
    assert [state for _, state, _ in states][:2] == ["stalled", "online"]
    assert "driver does not answer" in str(states[0][2])
    stuck.released.set()
    assert stuck.closed.wait(DEADLINE_S)
    assert "capture a" in counters.beats, "the old thread leaves the new one's sign of life alone"
    stop.hurry(5.0)
    thread.join(DEADLINE_S)
    assert not flow.left_behind


def test_a_run_that_is_told_to_end_leaves_a_stuck_camera_behind_and_says_so() -> None:
    stuck = StuckSource("a")
    stop, counters = Stop(), RunCounters()
    flow = Flow({"a": Inlet(stuck)}, counters=counters, stop=stop, on_state=lambda *_: None, cores=4)  # type: ignore[arg-type]
    thread = started(lambda: flow.run(FakePipeline(), lambda _: None))[0]  # type: ignore[arg-type]
    eventually(lambda: counters.beats.get("capture a"), what="the thread")
    stop.hurry(1.2)
    thread.join(DEADLINE_S)
    assert flow.left_behind == ["capture-a"]
    stuck.released.set()


def test_an_invoke_that_does_not_end_is_aborted_when_the_run_is_told_to_end() -> None:
    pipeline = FakePipeline(on_infer=lambda _: pipeline.aborted.wait(DEADLINE_S))
    stop, counters = Stop(), RunCounters()
    source = ScriptedSource([frame(0, "a"), frame(1, "a")], live=True)
    flow = Flow({"a": Inlet(source)}, counters=counters, stop=stop, on_state=lambda *_: None, cores=4)  # type: ignore[arg-type]
    thread = started(lambda: flow.run(pipeline, lambda _: None))[0]  # type: ignore[arg-type]
    eventually(lambda: counters.beats.get("inference"), what="the thread")
    stop.hurry(1.2)
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
