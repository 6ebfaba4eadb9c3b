"""The doctor's look at what is installed."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.doctor import software
from edge_runtime.engines.litert import EngineConfig
from edge_runtime.engines.trial import Trial
from edge_runtime.interpreter import load_runtime

PIP = f"{sys.executable} -m pip install "


def test_the_interpreter_really_runs_the_bundled_model() -> None:
    found = software.interpreter(EngineConfig())
    assert found.status == "ok"
    assert found.message.startswith(f"{load_runtime().version} runs the bundled model (")


@pytest.mark.parametrize(
    ("trial", "said", "do"),
    [
        (Trial("crashes", "it crashes (SIGILL)"), "SIGILL", "--force-reinstall ai-edge-litert"),
        (Trial("fails", "tflite-runtime 2.14.0 does not work with numpy 2.4: pip install 'numpy<2'"), "numpy", None),
    ],
)
def test_one_that_does_not_work_fails_with_what_to_install(
    trial: Trial, said: str, do: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = {"ai_edge_litert"} if do else {"tflite_runtime"}
    monkeypatch.setattr(software, "find_spec", lambda name: name if name in installed else None)
    found = software.interpreter(EngineConfig(), attempt=lambda *_, **__: trial)
    assert found.status == "fail"
    assert said in found.message
    assert found.do == PIP + (do or "'numpy<2'")


def test_none_at_all_names_the_first_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "find_spec", lambda _: None)
    trial = Trial("fails", "no interpreter is installed")
    assert software.interpreter(EngineConfig(), attempt=lambda *_, **__: trial).do == f"{PIP}ai-edge-litert"
    asked = EngineConfig(runtime="tflite-runtime")
    assert software.interpreter(asked, attempt=lambda *_, **__: trial).do == f"{PIP}tflite-runtime 'numpy<2'"


def test_the_decoder_of_the_cameras_pictures_is_tried() -> None:
    found = software.jpeg()
    assert found.status == ("ok" if find_spec("simplejpeg") else "warn")


def test_pillow_alone_is_slower_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    found = software.jpeg()
    assert (found.status, found.do) == ("warn", f"{PIP}simplejpeg")


def test_a_decoder_that_decodes_wrongly_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong:
        @staticmethod
        def decode_jpeg(_: bytes) -> Any:
            return type("Picture", (), {"shape": (8, 8, 3)})

    monkeypatch.setitem(sys.modules, "simplejpeg", Wrong)
    found = software.jpeg()
    assert found.status == "fail"
    assert "32x16 became 8x8" in found.message


@pytest.mark.parametrize(
    ("look", "extra"), [(software.video, "video"), (software.dashboard, "dashboard")], ids=["video", "dashboard"]
)
def test_an_extra_that_is_not_there_is_no_failure(look: Any, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "find_spec", lambda _: None)
    found = look()
    assert (found.status, found.do) == ("none", f"{PIP}'edge-infer[{extra}]'")


def test_a_package_of_the_system_is_seen_from_outside(tmp_path: Path) -> None:
    assert not software.system_package(tmp_path, "picamera2")
    (tmp_path / "usr/lib/python3/dist-packages/picamera2").mkdir(parents=True)
    assert software.system_package(tmp_path, "picamera2")
