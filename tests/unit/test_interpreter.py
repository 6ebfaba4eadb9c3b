"""Which interpreter is used, and what is said when none works."""

import importlib.util
import logging
import os
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_runtime import interpreter
from edge_runtime.errors import ConfigError, UsageError
from edge_runtime.interpreter import Runtime, load_runtime, one_line, quiet_native_output

pytestmark = pytest.mark.runtime


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("EDGE_INFER_RUNTIME", raising=False)
    interpreter._load.cache_clear()
    yield
    interpreter._load.cache_clear()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that exactly these packages are installed and import without trouble."""

    def install(*packages: str, broken: tuple[str, ...] = ()) -> None:
        def load(name: str) -> Any:
            package = name.partition(".")[0]
            if package in broken:
                raise ImportError("libc++.so.1: cannot open\nshared object file")
            return SimpleNamespace(name=package)

        monkeypatch.setattr(interpreter, "find_spec", lambda name: name if name in packages else None)
        monkeypatch.setattr(interpreter, "import_module", load)

    return install


def test_litert_is_preferred(installed: Any) -> None:
    installed("tflite_runtime", "ai_edge_litert")
    assert load_runtime().name == "litert"


def test_tflite_runtime_is_taken_where_it_is_alone_or_the_other_does_not_load(installed: Any) -> None:
    installed("tflite_runtime")
    assert load_runtime().name == "tflite-runtime"
    interpreter._load.cache_clear()
    installed("tflite_runtime", "ai_edge_litert", broken=("ai_edge_litert",))
    assert load_runtime().name == "tflite-runtime"


def test_the_configuration_chooses_and_the_environment_wins(installed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    installed("tflite_runtime", "ai_edge_litert")
    assert load_runtime("tflite-runtime").distribution == "tflite-runtime"
    monkeypatch.setenv("EDGE_INFER_RUNTIME", "litert")
    assert load_runtime("tflite-runtime").distribution == "ai-edge-litert"


def test_a_runtime_that_is_asked_for_and_missing_says_how_to_install_it(installed: Any) -> None:
    installed("ai_edge_litert")
    with pytest.raises(UsageError, match=r"pip install tflite-runtime 'numpy<2'"):
        load_runtime("tflite-runtime")


def test_no_interpreter_at_all_names_both(installed: Any) -> None:
    installed()
    with pytest.raises(UsageError, match=r"pip install ai-edge-litert \(or pip install tflite-runtime 'numpy<2'\)"):
        load_runtime()


def test_one_that_does_not_load_says_why_on_one_line(installed: Any) -> None:
    installed("ai_edge_litert", broken=("ai_edge_litert",))
    with pytest.raises(UsageError, match=r"libc\+\+\.so\.1: cannot open shared object file; reinstall it"):
        load_runtime()


def test_an_unknown_name_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_INFER_RUNTIME", "onnx")
    with pytest.raises(ConfigError, match="expected auto, litert or tflite-runtime, found 'onnx'"):
        load_runtime()


def test_numpy_2_beside_tflite_runtime_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise SystemError("<built-in method CreateWrapperFromFile> returned a result with an exception set")

    monkeypatch.setattr(np, "__version__", "2.4.6")
    runtime = Runtime(SimpleNamespace(Interpreter=refuse), "tflite-runtime", "tflite-runtime")
    with pytest.raises(UsageError, match=r"numpy 2\.4\.6: pip install 'numpy<2'"):
        runtime.interpreter(model_path="x")


def test_other_system_errors_stay_what_they_are() -> None:
    def refuse(**_: Any) -> None:
        raise SystemError("something else")

    runtime = Runtime(SimpleNamespace(Interpreter=refuse), "litert", "ai-edge-litert")
    with pytest.raises(SystemError, match="something else"):
        runtime.interpreter()


def test_the_installed_one_constructs_and_tells_its_version() -> None:
    runtime = load_runtime()
    expected = "ai-edge-litert " if importlib.util.find_spec("ai_edge_litert") else "tflite-runtime "
    assert runtime.version.startswith(expected)
    with pytest.raises(ValueError, match="Could not open"):
        runtime.interpreter(model_path="/nowhere.tflite")


def test_native_reports_become_one_line() -> None:
    native = (
        "the device was lostEncountered unresolved custom op: x.\nSee instructions: https://example.org/ops_custom "
        "Node number 0 (x) failed to prepare.\n"
    )
    assert one_line(RuntimeError(native)) == "the device was lost. Encountered unresolved custom op: x"
    assert one_line(RuntimeError("Node number 3 (CONV_2D) failed to prepare.")) == (
        "Node number 3 (CONV_2D) failed to prepare."
    )
    assert one_line(MemoryError()) == "MemoryError"
    assert len(one_line(ValueError("x" * 1000))) == 300


def test_native_chatter_goes_to_the_debug_log_and_not_to_the_terminal(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG, "edge_runtime")
    with quiet_native_output():
        os.write(2, b"INFO: Created delegate\n")
    os.write(2, b"after\n")
    assert "interpreter: INFO: Created delegate" in caplog.messages
    assert capfd.readouterr().err == "after\n"


def test_what_another_thread_logs_meanwhile_still_reaches_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("edge_runtime")
    handler = _DescriptorHandler()
    logger.addHandler(handler)
    try:
        other = threading.Thread(target=logger.warning, args=("the broker is away",))
        with quiet_native_output():
            other.start()
            os.write(2, b"native\n")
        other.join()
    finally:
        logger.removeHandler(handler)
    assert capfd.readouterr().err == "the broker is away\n"


class _DescriptorHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        os.write(2, f"{record.getMessage()}\n".encode())
