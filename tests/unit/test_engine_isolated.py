"""An engine in a child process: a real library that crashes, hangs, exits, fails and prints there."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from edge_runtime.engines import _deadlines
from edge_runtime.engines._isolated_child import answer
from edge_runtime.engines._isolated_dialogue import Done, Opening, SharedTensors, create_memory, decode_answer
from edge_runtime.engines._memory_ceiling import MemoryCeiling
from edge_runtime.engines.factory import open_engine
from edge_runtime.engines.isolated import IsolatedEngine
from edge_runtime.engines.litert import EngineConfig, LiteRtEngine
from edge_runtime.errors import ConfigError, DelegateError, EngineError, EngineRestartingError, ModelError
from edge_runtime.manifest import Overrides, resolve
from edge_runtime.types import ModelSpec, TensorSpec

pytestmark = pytest.mark.runtime

DIGITS = Path(__file__).parents[2] / "edge_runtime/demo/digits.tflite"
DEADLINE_S = 60.0
HANG_S = 0.5
"""For what hangs by intent; elsewhere a machine may be slow."""
Mode = Callable[[str], None]


@pytest.fixture
def compiled(reference: Path) -> ModelSpec:
    """A model compiled for the Edge TPU."""
    return resolve(reference / "models/edgetpu/mobilenet_v1_0.25_128_quant_edgetpu.tflite", Overrides())


@pytest.fixture
def uncompiled(reference: Path) -> Path:
    """The same model for the CPU."""
    return reference / "models/classify/mobilenet_v1_0.25_128_quant.tflite"


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Mode:
    """Let the stand-in library fail in one of its ways, in children that are started from now on."""
    return lambda mode: monkeypatch.setenv("FAKE_EDGETPU", mode)


@pytest.fixture
def isolated(compiled: ModelSpec, fake_edgetpu: Path) -> Iterator[Callable[..., IsolatedEngine]]:
    """``isolated(**options)`` opens the compiled model; at the end no process of it may be left."""
    engines = contextlib.ExitStack()

    def make(*, allocate_bytes: int | None = None, **options: Any) -> IsolatedEngine:
        opening = Opening(
            model=compiled.path, library=str(fake_edgetpu), delegate="edgetpu", allocate_bytes=allocate_bytes
        )
        options = {"invoke_timeout_s": 30.0, "uniform": lambda *_: 0.0} | options
        engine = IsolatedEngine(opening, **options)
        engines.callback(engine.close)
        engine.open()
        return engine

    yield make
    engines.close()
    assert not children()


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "_isolated_child" in " ".join(child.cmdline())]


def picture(shape: tuple[int, ...] = (1, 128, 128, 3)) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, shape, np.uint8)


def expected_class(tensor: np.ndarray) -> int:
    """What the stand-in computes."""
    return int(tensor.sum(dtype=np.int64)) % 1001


def infers_again(engine: IsolatedEngine, *, until: Callable[[], bool] = lambda: True) -> None:
    """Invoke until a result comes and ``until`` holds; the result must be right."""
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        with contextlib.suppress(EngineRestartingError):
            (scores,) = engine.invoke([picture()])
            if until():
                assert scores.argmax() == expected_class(picture())
                return
    pytest.fail(f"the engine does not come back: {engine.restart_reason}")


def test_results_are_those_of_the_engine_in_this_process() -> None:
    opened = IsolatedEngine(Opening(model=str(DIGITS)))
    opened.open()
    with contextlib.closing(opened) as isolated, contextlib.closing(LiteRtEngine(str(DIGITS))) as bare:
        inputs = [picture(bare.inputs[0].shape).astype(bare.inputs[0].dtype)]
        for ours, theirs in zip(isolated.invoke(inputs), bare.invoke(inputs), strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype
        assert (isolated.inputs, isolated.outputs) == (bare.inputs, bare.outputs)
        assert (isolated.runtime, isolated.threads, isolated.restarts) == (bare.runtime, 1, 0)


def test_outputs_are_copies_that_a_later_invoke_leaves_alone(isolated: Callable[..., IsolatedEngine]) -> None:
    engine = isolated()
    (first,) = engine.invoke([np.zeros((1, 128, 128, 3), np.uint8)])
    engine.invoke([picture()])
    assert first.argmax() == 0


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("segfault:2", "crashed (SIGSEGV)"),
        ("exit:2", "ended with status 7"),
        ("hang:2", "no answer within 0.5 s"),
        ("invoke-fails:2", "the device was lost"),
    ],
)
def test_what_native_code_does_costs_one_frame_and_one_restart(
    isolated: Callable[..., IsolatedEngine], device: Mode, mode: str, said: str
) -> None:
    device(mode)  # the first invoke is the one that belongs to opening
    engine = isolated(invoke_timeout_s=HANG_S if mode.startswith("hang") else 30.0)
    infers_again(engine)
    with pytest.raises(EngineRestartingError) as caught:
        engine.invoke([picture()])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    infers_again(engine)
    assert engine.restarts == 1
    assert said in (engine.restart_reason or "")


def test_a_library_that_leaks_is_started_anew_without_losing_a_frame(
    isolated: Callable[..., IsolatedEngine], device: Mode
) -> None:
    device("leak:3")
    now_s = [0.0]
    engine = isolated(ceiling=MemoryCeiling(220.0, clock=lambda: now_s[0]))
    while not engine.restarts:
        (scores,) = engine.invoke([picture()])
        assert scores.argmax() == expected_class(picture())
        now_s[0] += 10.0
    assert "it leaks" in (engine.restart_reason or "")
    infers_again(engine)


def test_a_library_that_allocates_without_end_dies_of_it_alone(
    isolated: Callable[..., IsolatedEngine], device: Mode
) -> None:
    device("oom:2")
    engine = isolated(allocate_bytes=400 * 1024 * 1024)
    infers_again(engine)
    with pytest.raises(EngineRestartingError, match="SIGABRT"):
        engine.invoke([picture()])
    infers_again(engine)


def test_a_device_that_fails_every_third_time_loses_those_frames_and_no_others(
    isolated: Callable[..., IsolatedEngine], device: Mode
) -> None:
    device("fails-every:3")  # of each process; the first invoke is the one that belongs to opening
    engine = isolated()
    answered = lost = 0
    while answered < 4:
        try:
            engine.invoke([picture()])
            answered += 1
        except EngineRestartingError as error:
            lost += "the device was lost; the engine is restarted" in str(error)
    assert lost == 3
    assert engine.restarts == lost


def test_an_invoke_that_hangs_is_ended_from_another_thread(
    isolated: Callable[..., IsolatedEngine], device: Mode
) -> None:
    device("hang:2")
    engine = isolated(invoke_timeout_s=600.0)
    infers_again(engine)
    threading.Timer(0.3, engine.abort).start()
    with pytest.raises(EngineRestartingError):
        engine.invoke([picture()])
    with pytest.raises(EngineError):
        engine.invoke([picture()])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV])
def test_a_child_that_is_killed_or_stopped_is_replaced(
    isolated: Callable[..., IsolatedEngine], number: signal.Signals
) -> None:
    engine = isolated(invoke_timeout_s=HANG_S if number == signal.SIGSTOP else 30.0)
    first = engine.pid
    assert first is not None
    os.kill(first, number)
    with pytest.raises(EngineRestartingError):
        engine.invoke([picture()])
    infers_again(engine)
    assert engine.pid != first
    assert len(children()) == 1


def test_restarts_leave_no_descriptors_behind(isolated: Callable[..., IsolatedEngine]) -> None:
    before = psutil.Process().num_fds()
    engine = isolated()
    while engine.restarts < 3:
        os.kill(engine.pid or 0, signal.SIGKILL)
        with pytest.raises(EngineRestartingError):
            engine.invoke([picture()])
        infers_again(engine)
    engine.close()
    assert psutil.Process().num_fds() == before


@pytest.mark.parametrize("stopped", [False, True])
def test_the_child_goes_with_its_parent_however_that_ends(stopped: bool) -> None:
    code = (
        "import sys; from edge_runtime.engines.isolated import IsolatedEngine, Opening\n"
        f"engine = IsolatedEngine(Opening(model={str(DIGITS)!r})); engine.open()\n"
        "print(engine.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        if stopped:
            child.suspend()
        parent.kill()
    deadline_s = time.monotonic() + DEADLINE_S
    # Reaping an orphan is up to the machine's first process, which in a container may not do it.
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline_s, "the child outlives its parent"
        time.sleep(0.01)


def test_signals_meant_for_the_daemon_leave_the_child_alone_and_a_crash_leaves_no_file(
    isolated: Callable[..., IsolatedEngine],
) -> None:
    engine = isolated()
    child = psutil.Process(engine.pid)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        child.send_signal(number)
    infers_again(engine)
    assert engine.restarts == 0
    assert os.getpgid(child.pid) != os.getpgid(0)
    assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0)


def test_what_native_code_prints_goes_to_the_debug_log(
    isolated: Callable[..., IsolatedEngine],
    device: Mode,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "edge_runtime")
    device("print")
    engine = isolated()
    engine.invoke([picture()])
    engine.close()
    assert "engine: printed to standard output" in caplog.text
    assert "engine: printed to standard error" in caplog.text
    assert capfd.readouterr() == ("", "")


def test_inputs_that_do_not_fit_are_refused_without_a_restart(isolated: Callable[..., IsolatedEngine]) -> None:
    engine = isolated()
    for wrong in ([picture((128, 128, 3))], [picture().astype(np.int8)], []):
        with pytest.raises(EngineError, match="expected uint8 1x128x128x3") as caught:
            engine.invoke(wrong)
        assert not caught.value.retryable
    assert engine.restarts == 0


@pytest.mark.parametrize(
    ("mode", "kind", "said"),
    [
        ("null", DelegateError, "no device answers"),
        ("invoke-fails", DelegateError, "the device was lost"),
        ("segfault", EngineError, "crashed (SIGSEGV)"),
    ],
)
def test_an_engine_that_does_not_open_says_why_and_leaves_no_process(
    isolated: Callable[..., IsolatedEngine], device: Mode, mode: str, kind: type[Exception], said: str
) -> None:
    device(mode)
    with pytest.raises(kind) as caught:
        isolated()
    assert said in str(caught.value)
    assert not children()


def test_a_model_that_the_interpreter_refuses_is_refused_here_too(tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(64))
    engine = IsolatedEngine(Opening(model=str(broken)))
    with pytest.raises((ModelError, EngineError)):
        engine.open()
    assert not children()


def test_the_fallback_takes_over_and_the_delegate_comes_back_when_it_answers(
    isolated: Callable[..., IsolatedEngine], device: Mode, uncompiled: Path
) -> None:
    engine = isolated(fallback=Opening(model=str(uncompiled), delegate_reason="while edgetpu does not work"))
    device("null")
    os.kill(engine.pid or 0, signal.SIGKILL)
    bare = LiteRtEngine(str(uncompiled))
    deadline_s = time.monotonic() + DEADLINE_S
    while engine.delegate != "cpu":
        assert time.monotonic() < deadline_s, engine.restart_reason
        with contextlib.suppress(EngineRestartingError):
            (scores,) = engine.invoke([picture()])
    np.testing.assert_array_equal(scores, bare.invoke([picture()])[0])
    assert engine.delegate_reason == "while edgetpu does not work"
    device("")
    infers_again(engine, until=lambda: engine.delegate == "edgetpu")
    assert len(children()) == 1


def test_one_restart_that_hangs_is_enough_for_the_fallback(
    isolated: Callable[..., IsolatedEngine], device: Mode, uncompiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_deadlines, "LEAST_START_S", 1.0)
    engine = isolated(fallback=Opening(model=str(uncompiled), delegate_reason="while edgetpu does not work"))
    device("hang")
    os.kill(engine.pid or 0, signal.SIGKILL)
    deadline_s = time.monotonic() + _deadlines.START_S
    while engine.delegate != "cpu":
        assert time.monotonic() < deadline_s, engine.restart_reason
        with contextlib.suppress(EngineRestartingError):
            engine.invoke([picture()])
    assert "hangs: no answer within" in (engine.restart_reason or "")
    assert engine.restarts == 2  # the one that hung, and the fallback
    device("")
    infers_again(engine, until=lambda: engine.delegate == "edgetpu")


def test_a_closed_engine_says_so_and_may_be_closed_twice(isolated: Callable[..., IsolatedEngine]) -> None:
    engine = isolated()
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.invoke([picture()])


def test_auto_isolates_a_delegate_and_leaves_the_cpu_in_this_process(compiled: ModelSpec, fake_edgetpu: Path) -> None:
    plain = resolve(DIGITS, Overrides())
    for spec, config, kind in (
        (compiled, EngineConfig(delegate=str(fake_edgetpu)), IsolatedEngine),
        (compiled, EngineConfig(delegate=str(fake_edgetpu), isolate=False), LiteRtEngine),
        (plain, EngineConfig(), LiteRtEngine),
        (plain, EngineConfig(isolate=True), IsolatedEngine),
    ):
        with contextlib.closing(open_engine(spec, config)) as engine:
            assert isinstance(engine, kind)
            assert (engine.restarts, engine.restart_reason) == (0, None)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"invoke_timeout_s": 0.0}, r"engine\.invoke_timeout_s: expected more than 0, found 0"),
        ({"fallback_model": "/nowhere.tflite"}, r"engine\.fallback_model: /nowhere\.tflite: no such model file"),
        ({"fallback_model": str(DIGITS)}, "has other inputs or outputs"),
        ({"fallback_model": "itself"}, "is compiled for an Edge TPU"),
        ({"fallback_model": str(DIGITS), "isolate": False}, "only an isolated engine has one"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_starts(
    compiled: ModelSpec, fake_edgetpu: Path, settings: dict[str, Any], said: str
) -> None:
    if settings.get("fallback_model") == "itself":
        settings = {"fallback_model": compiled.path}
    with pytest.raises(ConfigError, match=said):
        open_engine(compiled, EngineConfig(delegate=str(fake_edgetpu), **settings))
    assert not children()


def test_a_fallback_with_the_same_tensors_is_taken(compiled: ModelSpec, fake_edgetpu: Path, uncompiled: Path) -> None:
    config = EngineConfig(delegate=str(fake_edgetpu), fallback_model=str(uncompiled))
    with contextlib.closing(open_engine(compiled, config)) as engine:
        assert engine.delegate == str(fake_edgetpu)


@pytest.mark.parametrize("named", ["auto", "{library}"])
def test_with_a_fallback_a_device_that_is_away_at_the_start_is_no_reason_not_to_start(
    compiled: ModelSpec,
    fake_edgetpu: Path,
    uncompiled: Path,
    device: Mode,
    monkeypatch: pytest.MonkeyPatch,
    named: str,
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(fake_edgetpu.parent))
    device("null")
    config = EngineConfig(delegate=named.format(library=fake_edgetpu), fallback_model=str(uncompiled))
    with contextlib.closing(open_engine(compiled, config)) as engine:
        assert engine.delegate == "cpu"
        assert "no device answers" in (engine.restart_reason or "")
        assert engine.invoke([picture()])[0].shape == (1, 1001)


TENSORS = [TensorSpec("a", (2, 3), np.dtype(np.uint8)), TensorSpec("b", (4,), np.dtype(np.float32))]


class GrowingEngine:
    """Outputs that have more rows with each invoke."""

    def __init__(self) -> None:
        self.rows = 4

    def invoke(self, inputs: Any) -> tuple[np.ndarray, ...]:
        self.rows *= 10
        return (np.full(self.rows, inputs[0][0, 0], np.float32),)


def test_outputs_that_change_their_shape_grow_the_shared_memory() -> None:
    ours = SharedTensors(create_memory(TENSORS[:1], TENSORS[1:]), TENSORS[:1], TENSORS[1:])
    theirs = SharedTensors(os.dup(ours._descriptor), TENSORS[:1], TENSORS[1:])
    with contextlib.closing(ours), contextlib.closing(theirs):
        engine: Any = GrowingEngine()
        for value in (7, 9, 11):
            ours.write([np.full((2, 3), value, np.uint8)])
            done = decode_answer(answer(engine, theirs, ((4,),)))
            assert isinstance(done, Done)
            (output,) = ours.read(done.shapes)
            np.testing.assert_array_equal(output, np.full(engine.rows, value, np.float32))


@pytest.mark.parametrize("shapes", [((1_000_000,),), ((-4,),), ((2, 2), (2, 2)), ((1 << 62, 1 << 62),)])
def test_shapes_that_a_broken_child_makes_up_are_not_read(shapes: Any) -> None:
    ours = SharedTensors(create_memory(TENSORS[:1], TENSORS[1:]), TENSORS[:1], TENSORS[1:])
    with contextlib.closing(ours), pytest.raises(ValueError, match=r"shape|fit|argument"):
        ours.read(shapes)


def test_a_broken_child_cannot_take_memory_away_from_its_parent() -> None:
    memory = create_memory(TENSORS[:1], TENSORS[1:])
    with pytest.raises(PermissionError):
        os.ftruncate(memory, 0)
    os.close(memory)
