"""When an isolated engine is started again, what runs meanwhile, and for how long an invoke may last; no process."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_runtime.engines._deadlines import (
    FIRST_INVOKES_S,
    LEAST_INVOKE_S,
    LEAST_START_S,
    MEDIANS,
    SAMPLE,
    START_S,
    InvokeDeadline,
    StartDeadline,
)
from edge_runtime.engines._isolated_dialogue import Opening
from edge_runtime.engines.isolated import BACKOFF_MOST_S, LASTING_S, WAIT_S, IsolatedEngine
from edge_runtime.errors import DelegateError, EngineError, EngineRestartingError
from edge_runtime.types import TensorSpec

TPU = Opening(model="tpu.tflite", library="tpu.so", delegate="edgetpu", threads=1)
CPU = Opening(model="cpu.tflite", threads=2, delegate_reason="while edgetpu does not work")
INPUTS = [np.zeros((2,), np.uint8)]
LOST = DelegateError("the device was lost")


class Bench:
    """Time, and processes that do what is asked of their model."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.started: list[tuple[str, float]] = []
        self.running: list[FakeProcess] = []
        self.opens: dict[str, Callable[[], bool]] = {}
        self.invokes: dict[str, Callable[[], None]] = {}
        self.width = 2

    def pause(self, seconds: float) -> None:
        self.now_s += seconds

    def engine(self, *, fallback: Opening | None = None, away: str | None = None) -> IsolatedEngine:
        made = IsolatedEngine(
            TPU,
            fallback=fallback,
            launch=lambda opening: FakeProcess(self, opening),  # type: ignore[arg-type, return-value]
            clock=lambda: self.now_s,
            pause=self.pause,
            uniform=lambda low, high: (low + high) / 2,
        )
        made.open(away=away)
        return made

    def starts(self, model: str) -> list[float]:
        """When ``model`` was started, in seconds from the beginning, without the opening."""
        return [round(at_s - 1000.0, 3) for name, at_s in self.started[1:] if name == model]


class FakeProcess:
    """Stands in for ``EngineProcess``."""

    pid = 1
    runtime = "fake 1"

    def __init__(self, bench: Bench, opening: Opening) -> None:
        self.bench, self.opening = bench, opening
        self.inputs = (TensorSpec("in", (bench.width,), np.dtype(np.uint8)),)
        self.outputs = (TensorSpec("out", (1,), np.dtype(np.uint8)),)

    def start(self) -> None:
        self.bench.started.append((self.opening.model, self.bench.now_s))
        self.bench.running.append(self)

    def opened(self, timeout_s: float) -> bool:
        answers = self.bench.opens.get(self.opening.model, lambda: True)()
        if not answers:
            self.bench.pause(timeout_s)
        return answers

    def invoke(self, inputs: Any, *, timeout_s: float) -> tuple[np.ndarray, ...]:
        self.bench.invokes.get(self.opening.model, lambda: None)()
        return (np.zeros((1,), np.uint8),)

    def kill(self) -> None:
        """The child of ``stop`` is dead at once."""

    def stop(self) -> None:
        self.bench.running.remove(self)


def raising(error: Exception) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


def lose(engine: IsolatedEngine, bench: Bench) -> None:
    """Let one invoke fail."""
    bench.invokes["tpu.tflite"] = raising(LOST)
    with pytest.raises(EngineRestartingError, match="the device was lost"):
        engine.invoke(INPUTS)
    del bench.invokes["tpu.tflite"]


def drive(engine: IsolatedEngine, bench: Bench, *, seconds: float) -> int:
    """Invoke once every 0.1 s; return how many frames were lost."""
    lost, end_s = 0, bench.now_s + seconds
    while bench.now_s < end_s:
        try:
            engine.invoke(INPUTS)
        except EngineRestartingError:
            lost += 1
        bench.now_s += 0.1
    return lost


def test_the_first_failure_restarts_at_once_and_loses_one_frame() -> None:
    bench = Bench()
    engine = bench.engine()
    lose(engine, bench)
    engine.invoke(INPUTS)
    assert bench.starts("tpu.tflite") == [0.0]
    assert (engine.restarts, engine.restart_reason) == (1, "the device was lost")
    assert len(bench.running) == 1


def test_failures_that_follow_wait_twice_as_long_each_up_to_a_minute() -> None:
    bench = Bench()
    engine = bench.engine()
    bench.opens["tpu.tflite"] = raising(LOST)
    lose(engine, bench)
    drive(engine, bench, seconds=400)
    starts = bench.starts("tpu.tflite")
    pauses = [round(after - before) for before, after in itertools.pairwise(starts)]
    assert pauses[:9] == [1, 2, 4, 8, 16, 32, BACKOFF_MOST_S, BACKOFF_MOST_S, BACKOFF_MOST_S]
    assert bench.running == []


def test_an_engine_that_lasted_is_restarted_at_once_again() -> None:
    bench = Bench()
    engine = bench.engine()
    for _ in range(4):
        lose(engine, bench)
        assert drive(engine, bench, seconds=LASTING_S) == 0
    assert len(bench.starts("tpu.tflite")) == 4


def test_an_engine_that_fails_soon_again_waits() -> None:
    bench = Bench()
    engine = bench.engine()
    lose(engine, bench)
    drive(engine, bench, seconds=LASTING_S - 1)
    lose(engine, bench)
    lost_at_s = bench.now_s - 1000.0
    assert bench.starts("tpu.tflite") == [0.0]
    drive(engine, bench, seconds=5)
    assert bench.starts("tpu.tflite") == [0.0, pytest.approx(lost_at_s + 1, abs=0.2)]


def test_a_restart_holds_an_invoke_up_for_three_seconds_at_most() -> None:
    bench = Bench()
    engine = bench.engine()
    bench.opens["tpu.tflite"] = lambda: False
    lose(engine, bench)
    before_s = bench.now_s
    with pytest.raises(EngineRestartingError, match="being restarted: the device was lost") as caught:
        engine.invoke(INPUTS)
    assert bench.now_s - before_s == pytest.approx(WAIT_S)
    assert caught.value.retryable


def test_a_child_that_hangs_while_it_starts_is_given_up_and_replaced() -> None:
    bench = Bench()
    engine = bench.engine()
    bench.opens["tpu.tflite"] = lambda: False
    lose(engine, bench)
    drive(engine, bench, seconds=LEAST_START_S + 2)
    assert "hangs: no answer within 5 s of its start" in (engine.restart_reason or "")
    assert engine.restarts == 2
    assert len(bench.running) == 1


def test_each_start_that_hangs_gives_the_next_one_twice_the_time_up_to_half_a_minute() -> None:
    bench = Bench()
    engine = bench.engine()
    bench.opens["tpu.tflite"] = lambda: False
    lose(engine, bench)
    drive(engine, bench, seconds=150)
    starts = bench.starts("tpu.tflite")
    backoff_s = 1.0
    for (before, after), limit_s in zip(itertools.pairwise(starts), (5, 10, 20, START_S), strict=False):
        assert after - before == pytest.approx(limit_s + backoff_s, abs=0.3)
        backoff_s *= 2


def test_a_start_that_was_slow_when_it_went_well_may_take_twice_as_long_again() -> None:
    deadline = StartDeadline()
    assert deadline.seconds == START_S
    deadline.add_good(8.0)
    assert deadline.seconds == 16.0
    deadline.add_hung()
    assert deadline.seconds == START_S
    deadline.add_good(1.0)
    assert deadline.seconds == 16.0


def test_the_fallback_takes_over_when_one_restart_hangs_and_the_preferred_engine_returns() -> None:
    bench = Bench()
    engine = bench.engine(fallback=CPU)
    bench.opens["tpu.tflite"] = lambda: False
    lose(engine, bench)
    drive(engine, bench, seconds=LEAST_START_S + 1)
    assert engine.delegate == "cpu"
    assert bench.starts("cpu.tflite") == [pytest.approx(LEAST_START_S, abs=0.2)]
    del bench.opens["tpu.tflite"]
    assert drive(engine, bench, seconds=BACKOFF_MOST_S) == 0
    assert engine.delegate == "edgetpu"


def test_a_slow_return_is_given_half_a_minute_while_the_fallback_serves() -> None:
    bench = Bench()
    engine = bench.engine(fallback=CPU)
    bench.opens["tpu.tflite"] = lambda: False
    lose(engine, bench)
    drive(engine, bench, seconds=LEAST_START_S + 4)
    back_at_s = bench.now_s + LEAST_START_S * 4
    bench.opens["tpu.tflite"] = lambda: bench.now_s > back_at_s
    assert drive(engine, bench, seconds=LEAST_START_S * 4 + 1) == 0
    assert engine.delegate == "edgetpu"
    assert len(bench.starts("tpu.tflite")) == 2


def test_the_fallback_serves_after_three_failures_and_the_preferred_engine_returns() -> None:
    bench = Bench()
    engine = bench.engine(fallback=CPU)
    bench.opens["tpu.tflite"] = raising(LOST)
    lose(engine, bench)
    drive(engine, bench, seconds=5)
    assert (engine.delegate, engine.threads) == ("cpu", 2)
    assert engine.delegate_reason == CPU.delegate_reason
    assert len(bench.starts("cpu.tflite")) == 1
    assert drive(engine, bench, seconds=300) == 0  # trying the preferred engine costs no frame
    tried = len(bench.starts("tpu.tflite"))
    assert tried > 5

    del bench.opens["tpu.tflite"]
    assert drive(engine, bench, seconds=BACKOFF_MOST_S + 1) == 0
    assert engine.delegate == "edgetpu"
    assert [process.opening for process in bench.running] == [TPU]


def test_a_preferred_engine_that_is_away_at_the_start_is_not_waited_for() -> None:
    bench = Bench()
    engine = bench.engine(fallback=CPU, away="no Edge TPU was found")
    assert [name for name, _ in bench.started] == ["cpu.tflite"]
    assert (engine.delegate, engine.restarts, engine.restart_reason) == ("cpu", 0, "no Edge TPU was found")
    assert drive(engine, bench, seconds=10) == 0
    assert engine.delegate == "edgetpu"


def test_a_fallback_that_does_not_work_does_not_keep_the_preferred_engine_from_returning() -> None:
    bench = Bench()
    engine = bench.engine(fallback=CPU)
    bench.opens = {"tpu.tflite": raising(LOST), "cpu.tflite": raising(EngineError("no memory"))}
    lose(engine, bench)
    drive(engine, bench, seconds=60)
    del bench.opens["tpu.tflite"]
    drive(engine, bench, seconds=BACKOFF_MOST_S + 1)
    assert engine.delegate == "edgetpu"
    assert [process.opening for process in bench.running] == [TPU]


def test_a_child_with_other_tensors_does_not_take_over() -> None:
    bench = Bench()
    engine = bench.engine()
    bench.width = 3
    lose(engine, bench)
    with pytest.raises(EngineRestartingError, match="other inputs or outputs"):
        engine.invoke(INPUTS)
    assert bench.running == []


def test_closing_ends_what_serves_and_what_is_being_started() -> None:
    bench = Bench()
    engine = bench.engine(fallback=CPU)
    bench.opens["tpu.tflite"] = raising(LOST)
    lose(engine, bench)
    drive(engine, bench, seconds=5)
    bench.opens["tpu.tflite"] = lambda: False
    drive(engine, bench, seconds=10)
    assert len(bench.running) == 2
    engine.close()
    assert bench.running == []


def test_an_invoke_may_take_ten_seconds_until_enough_were_timed() -> None:
    deadline = InvokeDeadline(None)
    for _ in range(SAMPLE - 1):
        deadline.add(0.5)
    assert deadline.seconds == FIRST_INVOKES_S
    deadline.add(9.0)
    assert deadline.seconds == MEDIANS * 0.5


def test_a_fast_model_is_given_two_seconds_all_the_same() -> None:
    deadline = InvokeDeadline(None)
    for _ in range(SAMPLE):
        deadline.add(0.001)
    assert deadline.seconds == LEAST_INVOKE_S


def test_a_deadline_that_is_configured_stays() -> None:
    deadline = InvokeDeadline(3.0)
    for _ in range(SAMPLE):
        deadline.add(1.0)
    assert deadline.seconds == 3.0
