"""Delegates: a real library in the real interpreter, and everything that goes wrong with one."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from edgetpu_trees import install_library, plug_usb

from edge_runtime.engines.delegates import load_delegate, resolve_library
from edge_runtime.engines.factory import Choice, choose_delegate, open_engine
from edge_runtime.engines.litert import EngineConfig, LiteRtEngine
from edge_runtime.engines.trial import Trial, try_model
from edge_runtime.errors import (
    ConfigError,
    DelegateError,
    EdgeTpuRequiredError,
    EngineError,
    ModelError,
    UsageError,
)
from edge_runtime.interpreter import load_runtime
from edge_runtime.manifest import Overrides, resolve
from edge_runtime.types import ModelSpec

pytestmark = pytest.mark.runtime

DIGITS = Path(__file__).parents[2] / "edge_runtime" / "demo" / "digits.tflite"
Mode = Callable[[str], None]


@pytest.fixture
def compiled(reference: Path) -> ModelSpec:
    """A model compiled for the Edge TPU."""
    return resolve(reference / "models/edgetpu/mobilenet_v1_0.25_128_quant_edgetpu.tflite", Overrides())


@pytest.fixture
def plain() -> ModelSpec:
    """A model that is not."""
    return resolve(DIGITS, Overrides())


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Mode:
    """Let the stand-in library fail in one of its ways."""
    return lambda mode: monkeypatch.setenv("FAKE_EDGETPU", mode)


def picture(spec: ModelSpec) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, spec.inputs[0].shape, np.uint8)


def open_with(spec: ModelSpec, library: Path) -> Any:
    return open_engine(spec, EngineConfig(delegate=str(library)))


def attempt(outcome: Trial) -> Callable[..., Trial]:
    return lambda *_, **__: outcome


def test_a_library_really_runs_the_operators_it_claims(compiled: ModelSpec, fake_edgetpu: Path) -> None:
    with contextlib.closing(open_with(compiled, fake_edgetpu)) as engine:
        tensor = picture(compiled)
        (scores,) = engine.invoke([tensor])
        assert engine.delegate == str(fake_edgetpu)
        assert engine.outputs[0].shape == (1, 1001)
        assert scores.argmax() == int(tensor.sum(dtype=np.int64)) % 1001
        assert scores.sum(dtype=np.int64) == 255


def test_outputs_are_copies_that_a_later_invoke_leaves_alone(compiled: ModelSpec, fake_edgetpu: Path) -> None:
    with contextlib.closing(open_with(compiled, fake_edgetpu)) as engine:
        (first,) = engine.invoke([np.zeros(compiled.inputs[0].shape, np.uint8)])
        engine.invoke([picture(compiled)])
        assert first.argmax() == 0


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("null", "does not start: no device answers"),
        ("prepare-fails", "the device does not take this graph"),
        ("claims-nothing", "unresolved custom op: edgetpu-custom-op"),
    ],
)
def test_a_delegate_that_refuses_is_one_line(
    compiled: ModelSpec, fake_edgetpu: Path, device: Mode, mode: str, said: str
) -> None:
    device(mode)
    with pytest.raises(DelegateError) as caught:
        open_with(compiled, fake_edgetpu)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_lost_device_fails_the_invoke_and_not_the_process(
    compiled: ModelSpec, fake_edgetpu: Path, device: Mode
) -> None:
    device("invoke-fails:0")
    engine = open_engine(compiled, EngineConfig(delegate=str(fake_edgetpu), isolate=False))
    with contextlib.closing(engine), pytest.raises(DelegateError, match="the device was lost"):
        engine.invoke([picture(compiled)])


def test_a_wrong_input_is_the_engines_error_without_a_delegate(plain: ModelSpec) -> None:
    with contextlib.closing(LiteRtEngine(plain.path)) as engine, pytest.raises(EngineError) as caught:
        engine.invoke([np.zeros((1, 2, 3), np.uint8)])
    assert not isinstance(caught.value, DelegateError)


def test_a_library_without_the_delegates_functions_is_named() -> None:
    with pytest.raises(DelegateError, match=r"libm\.so\.6 is not a TFLite delegate"):
        load_delegate("libm.so.6", load_runtime())


def test_a_file_that_is_no_library_does_not_load(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(DelegateError, match="does not load"):
        load_delegate(str(tmp_path / "text.so"), load_runtime())


def test_a_relative_path_becomes_one_that_the_loader_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.so").touch()
    monkeypatch.chdir(tmp_path)
    assert resolve_library("own.so") == str(tmp_path / "own.so")
    assert resolve_library("libm.so.6") == "libm.so.6"


@pytest.mark.parametrize("name", ["nowhere/x.so", "libnowhere.so.9"])
def test_a_missing_library_is_wrong_usage(plain: ModelSpec, name: str) -> None:
    with pytest.raises(UsageError, match="no such library") as caught:
        open_engine(plain, EngineConfig(delegate=name))
    assert caught.value.exit_status == 2


def test_an_unknown_delegate_lists_what_there_is(plain: ModelSpec) -> None:
    with pytest.raises(ConfigError, match=r"expected auto, cpu, edgetpu or a library FILE\.so, found 'gpu'"):
        open_engine(plain, EngineConfig(delegate="gpu"))


def test_a_trial_that_works_tells_its_time(compiled: ModelSpec, fake_edgetpu: Path) -> None:
    trial = try_model(compiled.path, library=str(fake_edgetpu))
    assert trial.outcome == "works"
    assert trial.invoke_ms is not None


@pytest.mark.parametrize(
    ("mode", "outcome", "said"),
    [
        ("null", "fails", "libedgetpu.so.1 does not start: no device answers"),
        ("prepare-fails", "fails", "does not take this model"),
        ("invoke-fails", "fails", "the device was lost"),
        ("exit", "crashes", "status 7"),
        ("segfault", "crashes", "SIGSEGV"),
    ],
)
def test_a_trial_survives_what_the_library_does(
    compiled: ModelSpec, fake_edgetpu: Path, device: Mode, mode: str, outcome: str, said: str
) -> None:
    device(mode)
    trial = try_model(compiled.path, library=str(fake_edgetpu))
    assert trial.outcome == outcome
    assert said in trial.reason
    assert "\n" not in trial.reason


def test_a_trial_that_hangs_ends_at_its_deadline(compiled: ModelSpec, fake_edgetpu: Path, device: Mode) -> None:
    device("hang")
    trial = try_model(compiled.path, library=str(fake_edgetpu), deadline_s=1.0)
    assert trial == Trial("hangs", "no answer within 1 s")
    assert not [child for child in psutil.Process().children() if "_trial_child" in " ".join(child.cmdline())]


def test_a_trial_may_not_take_more_memory_than_it_is_given(
    compiled: ModelSpec, fake_edgetpu: Path, device: Mode, tmp_path: Path
) -> None:
    from model_files import SOFTMAX, Op, T, write_model  # skips where the schema's own code is missing

    limit_bytes = 400 * 2**20
    device("oom")
    runaway = try_model(compiled.path, library=str(fake_edgetpu), allocate_bytes=limit_bytes)
    assert runaway.outcome == "crashes"
    assert "SIGABRT" in runaway.reason
    side = T((1, limit_bytes // 4))
    large = write_model(tmp_path / "large.tflite", [side], [side], ops=[Op(SOFTMAX, [0], [1])])
    asking = try_model(str(large), allocate_bytes=limit_bytes)
    assert asking.outcome == "fails"
    for trial in (runaway, asking):
        assert "more than the 400 MiB that it may allocate" in trial.reason
        assert "\n" not in trial.reason


def test_a_trial_of_a_library_that_is_not_there_fails(compiled: ModelSpec) -> None:
    trial = try_model(compiled.path, library="libnowhere.so.9")
    assert trial.outcome == "fails"
    assert "does not load" in trial.reason


def test_auto_takes_an_edge_tpu_that_did_well_in_a_real_trial(
    compiled: ModelSpec, fake_edgetpu: Path, tmp_path: Path
) -> None:
    plug_usb(tmp_path)
    library = install_library(tmp_path, fake_edgetpu)
    choice = choose_delegate(compiled, EngineConfig(), root=tmp_path)
    assert (choice.name, choice.library) == ("edgetpu", str(library))
    assert "one ran it in a trial (USB 2-1, " in choice.reason


@pytest.mark.parametrize("delegate", ["auto", "edgetpu"])
def test_an_edge_tpu_model_without_one_is_refused_with_what_to_use_instead(
    compiled: ModelSpec, tmp_path: Path, delegate: str
) -> None:
    fails = attempt(Trial("fails", "libedgetpu.so.1 does not load"))
    with pytest.raises(EdgeTpuRequiredError, match="no Edge TPU was found") as caught:
        choose_delegate(compiled, EngineConfig(delegate=delegate), root=tmp_path, attempt=fails)
    assert "before edgetpu_compiler" in str(caught.value)
    assert caught.value.exit_status == 3


def test_a_crash_in_the_trial_is_told_and_not_repeated_here(compiled: ModelSpec, tmp_path: Path) -> None:
    plug_usb(tmp_path)
    install_library(tmp_path)
    crashes = attempt(Trial("crashes", "it crashes (SIGSEGV)"))
    with pytest.raises(EdgeTpuRequiredError, match="SIGSEGV"):
        choose_delegate(compiled, EngineConfig(), root=tmp_path, attempt=crashes)


def test_an_edge_tpu_model_is_refused_on_the_cpu(compiled: ModelSpec) -> None:
    with pytest.raises(EdgeTpuRequiredError, match="cannot run on the CPU"):
        open_engine(compiled, EngineConfig(delegate="cpu"))


def test_the_edge_tpu_refuses_a_model_that_is_not_compiled_for_it(plain: ModelSpec) -> None:
    with pytest.raises(ModelError, match="edgetpu_compiler"):
        open_engine(plain, EngineConfig(delegate="edgetpu"))


def test_auto_falls_back_to_the_cpu_with_its_reason(plain: ModelSpec, tmp_path: Path) -> None:
    def never(*_: Any, **__: Any) -> Trial:
        pytest.fail("there is nothing to try with a model for the CPU")

    assert choose_delegate(plain, EngineConfig(), root=tmp_path, attempt=never) == Choice(
        "cpu", "no Edge TPU was found, and the model is not compiled for one"
    )
    plug_usb(tmp_path)
    choice = choose_delegate(plain, EngineConfig(), root=tmp_path, attempt=never)
    assert choice.name == "cpu"
    assert "USB 2-1), but this model is not compiled for one" in choice.reason


def test_the_cpu_can_be_asked_for(plain: ModelSpec) -> None:
    with contextlib.closing(open_engine(plain, EngineConfig(delegate="cpu"))) as engine:
        assert (engine.delegate, engine.delegate_reason) == ("cpu", "the CPU was asked for")


def test_a_library_may_be_given_for_any_model(plain: ModelSpec, fake_edgetpu: Path) -> None:
    inputs = [np.zeros(plain.inputs[0].shape, plain.inputs[0].dtype)]
    engine, bare = open_with(plain, fake_edgetpu), open_engine(plain, EngineConfig(delegate="cpu"))
    with contextlib.closing(engine), contextlib.closing(bare):
        np.testing.assert_array_equal(engine.invoke(inputs)[0], bare.invoke(inputs)[0])


def test_an_engine_may_be_closed_twice(compiled: ModelSpec, fake_edgetpu: Path) -> None:
    engine = open_with(compiled, fake_edgetpu)
    engine.close()
    engine.close()


def test_a_tensor_whose_name_is_no_text_makes_a_model_error(tmp_path: Path) -> None:
    digits = Path(__file__).parents[2] / "edge_runtime/demo/digits.tflite"
    sound = LiteRtEngine(str(digits))
    name = sound.inputs[0].name.encode()
    sound.close()
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(digits.read_bytes().replace(name, b"\xff" * len(name)))
    with pytest.raises(ModelError, match="does not run this model"):
        LiteRtEngine(str(broken))
