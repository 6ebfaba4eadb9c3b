"""`edge-infer bench`: that it measures what it says, through the real command on real small models."""

import json
from pathlib import Path

import pytest

from edge_runtime.bench import Replay, Samples
from edge_runtime.cli import main
from edge_runtime.types import Frame

DIGITS = Path(__file__).parents[2] / "edge_runtime" / "demo" / "digits.tflite"
QUICK = ("--runs", "1", "--seconds", "0.05", "--quiet")


def test_percentiles_are_values_that_were_measured_and_ratios_those_of_rates_and_cpu() -> None:
    bare = Samples(ms=[1.0] * 100, cpu_s=0.1, wall_s=0.1)
    ours = Samples(ms=[float(n) for n in range(1, 51)], cpu_s=0.1, wall_s=0.1)

    summary = ours.summary(bare)

    assert summary == {
        "frames": 50,
        "p50_ms": 25.0,
        "p95_ms": 48.0,
        "p99_ms": 50.0,
        "frames_per_s": 500.0,
        "cpu_ms": 2.0,
        "throughput_ratio": 0.5,
        "cpu_ratio": 2.0,
    }


def test_nothing_measured_has_no_numbers() -> None:
    assert Samples().summary(Samples()) == {"frames": 0}


def test_a_replay_ends_when_its_time_is_over() -> None:
    source = Replay(lambda number: Frame(b"", "jpeg", "bench0", number, 0, 0), seconds=0.0)
    source.open()

    assert source.read(1.0) is None


def test_a_picture_model_is_measured_on_made_up_frames(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(DIGITS), *QUICK, "--size", "320x240", "--threads", "1", "--json"]) == 0

    document = json.loads(capsys.readouterr().out)
    assert document["frames"]["format"] == "jpeg"
    assert document["threads"] == 1
    for way in ("bare", "serial", "threaded"):
        assert document[way]["frames"] > 0
        assert 0 < document[way]["p50_ms"] <= document[way]["p99_ms"]
    assert document["bare"]["throughput_ratio"] == document["bare"]["cpu_ratio"] == 1.0
    assert set(document["stages"]) == {"prepare", "invoke", "postprocess"}
    # The stages are parts of what one thread does for a frame.
    assert document["serial"]["p99_ms"] >= document["stages"]["invoke"]["p50_ms"]
    assert document["memory_mb"]["peak"] > 10


def test_people_get_a_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 48), "red").save(tmp_path / "one.png")

    assert main(["bench", str(DIGITS), *QUICK, "--images", str(tmp_path)]) == 0

    table = capsys.readouterr().out
    assert "1 different, picture" in table
    for row in ("bare invoke", "prepare", "postprocess", "pipeline, one thread", "pipeline, threaded", "memory"):
        assert row in table


def test_a_sensor_model_is_measured_on_windows(reference: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = reference / "models" / "mlperf_tiny" / "ad01_fp32.tflite"

    assert main(["bench", str(model), *QUICK, "--json"]) == 0

    assert json.loads(capsys.readouterr().out)["frames"]["format"] == "window"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["missing.tflite"], "missing.tflite"),
        ([str(DIGITS), "--size", "big"], "1280x720"),
        ([str(DIGITS), "--seconds", "0"], "above 0"),
        ([str(DIGITS), "--images", "/nowhere"], "/nowhere"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(words: list[str], names: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) == 2

    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert names in told
    assert "Traceback" not in told
