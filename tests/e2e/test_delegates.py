"""Models compiled for the Edge TPU through the real command, with a library that stands in for libedgetpu."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytestmark = [pytest.mark.e2e, pytest.mark.runtime]

BACKGROUND = (10, 20, 30)


@pytest.fixture(params=[("mobilenet_v1_0.25_128", 128), ("mobilenet_v1_0.75_192", 192)], ids=["128", "192"])
def compiled(request: pytest.FixtureRequest, reference: Path) -> tuple[Path, int]:
    """A model compiled for the Edge TPU, and the side of its input."""
    name, side = request.param
    return reference / f"models/edgetpu/{name}_quant_edgetpu.tflite", side


@pytest.fixture
def small(reference: Path) -> Path:
    return reference / "models/edgetpu/mobilenet_v1_0.25_128_quant_edgetpu.tflite"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """One colour, whatever its size: every way of decoding and resizing gives the same bytes."""
    path = tmp_path / "plain.png"
    Image.new("RGB", (320, 240), BACKGROUND).save(path)
    return path


def expected_class(side: int) -> int:
    """What the stand-in computes from such a picture: the sum of all input bytes, modulo the 1001 classes."""
    return side * side * sum(BACKGROUND) % 1001


def test_a_delegate_library_runs_the_model_and_its_results_are_published(
    compiled: tuple[Path, int], picture: Path, fake_edgetpu: Path, edge_infer: Any, mosquitto: Any, subscriber: Any
) -> None:
    model, side = compiled
    listener = subscriber("edge-infer/tpu/#")
    ended = edge_infer(
        "--images", picture, "--model", model, "--delegate", fake_edgetpu,
        "--broker", mosquitto.url, "--device-id", "tpu",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    (message,) = listener.wait(1, topic="edge-infer/tpu/images0/prediction")
    best = json.loads(message.payload)["result"][0]
    assert best["class_id"] == expected_class(side)
    assert best["score"] == pytest.approx(255 / 256, abs=1e-3)
    info = json.loads(listener.wait(1, topic="edge-infer/tpu/info")[0].payload)
    assert info["delegate"] == str(fake_edgetpu)


def test_auto_finds_the_library_by_name_and_says_so_in_info(
    small: Path, picture: Path, fake_edgetpu: Path, edge_infer: Any, mosquitto: Any, subscriber: Any
) -> None:
    listener = subscriber("edge-infer/tpu/#")
    ended = edge_infer(
        "--images", picture, "--model", small, "--broker", mosquitto.url, "--device-id", "tpu",
        LD_LIBRARY_PATH=str(fake_edgetpu.parent),
    )  # fmt: skip
    assert ended.status == 0, ended.err
    (message,) = listener.wait(1, topic="edge-infer/tpu/images0/prediction")
    assert json.loads(message.payload)["result"][0]["class_id"] == expected_class(128)
    info = json.loads(listener.wait(1, topic="edge-infer/tpu/info")[0].payload)
    assert info["delegate"] == "edgetpu"
    assert "one ran it in a trial" in info["delegate_reason"]
    assert "on edgetpu: " in ended.err


def test_a_model_for_the_cpu_says_in_info_why_it_runs_there(
    picture: Path, edge_infer: Any, mosquitto: Any, subscriber: Any
) -> None:
    listener = subscriber("edge-infer/tpu/info")
    digits = Path(__file__).parents[2] / "edge_runtime/demo/digits.tflite"
    ended = edge_infer("--images", picture, "--model", digits, "--broker", mosquitto.url, "--device-id", "tpu")
    assert ended.status == 0, ended.err
    info = json.loads(listener.wait(1)[0].payload)
    assert info["delegate"] == "cpu"
    assert "not compiled for one" in info["delegate_reason"]
    assert info["delegate_reason"] in ended.err


@pytest.mark.parametrize("mode", ["null", "segfault", "exit"])
def test_a_device_that_fails_its_trial_is_refused_with_status_3(
    mode: str, small: Path, picture: Path, fake_edgetpu: Path, edge_infer: Any
) -> None:
    ended = edge_infer(
        "--images", picture, "--model", small, "--delegate", "edgetpu", "--broker", "none", "--jsonl", "-",
        LD_LIBRARY_PATH=str(fake_edgetpu.parent), FAKE_EDGETPU=mode,
    )  # fmt: skip
    assert ended.status == 3
    assert ended.err.count("edge-infer: error: ") == 1
    assert "before edgetpu_compiler" in ended.err
    assert not ended.out


@pytest.mark.parametrize(
    ("delegate", "mode", "status"),
    [
        ("{library}", "null", 1),
        ("{library}", "prepare-fails", 1),
        ("/nowhere.so", "", 2),
        ("gpu", "", 2),
        ("cpu", "", 3),
    ],
)
def test_a_delegate_that_does_not_work_ends_in_one_line(
    delegate: str, mode: str, status: int, small: Path, picture: Path, fake_edgetpu: Path, edge_infer: Any
) -> None:
    named = delegate.format(library=fake_edgetpu)
    ended = edge_infer(
        "--images", picture, "--model", small, "--delegate", named, "--broker", "none", "-q", FAKE_EDGETPU=mode
    )
    assert ended.status == status
    assert ended.err.startswith("edge-infer: error: ")
    assert len(ended.err.splitlines()) == 1


def test_a_device_that_is_lost_while_running_is_told_and_fails_the_run(
    small: Path, tmp_path: Path, fake_edgetpu: Path, edge_infer: Any
) -> None:
    pictures = []
    for number in range(3):
        pictures.append(tmp_path / f"{number}.png")
        Image.new("RGB", (128, 128), BACKGROUND).save(pictures[-1])
    ended = edge_infer(
        "--images", *pictures, "--model", small, "--broker", "none", "--jsonl", "-",
        LD_LIBRARY_PATH=str(fake_edgetpu.parent), FAKE_EDGETPU="invoke-fails:2",
    )  # fmt: skip
    assert ended.status == 1
    assert len(ended.lines) == 2
    assert "invoke failed on the delegate edgetpu: the device was lost" in ended.err


def test_a_library_that_crashes_costs_a_frame_each_time_and_never_the_run(
    small: Path, picture: Path, fake_edgetpu: Path, edge_infer: Any, mosquitto: Any, subscriber: Any
) -> None:
    listener = subscriber("edge-infer/tpu/#")
    ended = edge_infer(
        "--images", *[picture] * 12, "--model", small, "--delegate", fake_edgetpu,
        "--broker", mosquitto.url, "--device-id", "tpu", FAKE_EDGETPU="segfault:5",
    )  # fmt: skip
    # Opening takes one invoke of the five; frames that come during a pause between two restarts may be lost too.
    assert ended.status == 1
    assert "crashed (SIGSEGV); the engine is started again" in ended.err
    messages = listener.wait(7, topic="edge-infer/tpu/images0/prediction")
    assert {json.loads(message.payload)["result"][0]["class_id"] for message in messages} == {expected_class(128)}
    listener.wait(2, topic="edge-infer/tpu/status")  # offline is the last word: all statistics are there
    engine = json.loads(listener.wait(1, topic="edge-infer/tpu/stats")[-1].payload)["engine"]
    assert engine["restarts"] >= 1
    assert "SIGSEGV" in engine["restart_reason"]


def test_info_says_what_runs_the_model_after_a_fallback_and_after_the_return(
    small: Path, fake_edgetpu: Path, reference: Path, edge_infer: Any, mosquitto: Any, subscriber: Any
) -> None:
    mode = edge_infer.folder / "mode"
    fallback = reference / "models/classify/mobilenet_v1_0.25_128_quant.tflite"
    (edge_infer.folder / "edge.toml").write_text(
        f'[[source]]\ntype = "demo"\nfps = 10.0\n[engine]\nfallback_model = "{fallback}"\ndelegate = "{fake_edgetpu}"\n'
    )
    listener = subscriber("edge-infer/tpu/info")
    running = edge_infer.start(
        "--config", "edge.toml", "--model", small, "--broker", mosquitto.url, "--device-id", "tpu",
        FAKE_EDGETPU=f"@{mode}",
    )  # fmt: skip

    def delegates(messages: Any) -> list[str]:
        return [json.loads(message.payload)["delegate"] for message in messages]

    listener.wait_for(lambda messages: delegates(messages)[-1:] == [str(fake_edgetpu)])
    mode.write_text("invoke-fails")
    listener.wait_for(lambda messages: delegates(messages)[-1] == "cpu")
    mode.write_text("")
    listener.wait_for(lambda messages: delegates(messages)[-1] == str(fake_edgetpu))
    assert edge_infer.finish(running, with_signal=signal.SIGTERM).status == 0
