"""The command with a float .tflite, which needs nothing but the interpreter, and what it refuses before it starts."""

import json
from pathlib import Path

import numpy as np
import pytest
from model_files import Op, T, write_model
from PIL import Image

from converters.cli import main
from edge_runtime import load
from edge_runtime.manifest import resolve
from edge_runtime.types import ImageInput

SIDE = 16
FULLY_CONNECTED = 9


@pytest.fixture
def redness(tmp_path: Path) -> Path:
    """A network with two outputs: the sum of red, the sum of blue."""
    weights = np.zeros((2, SIDE, SIDE, 3), np.float32)
    weights[0, ..., 0] = weights[1, ..., 2] = 1 / SIDE**2
    return write_model(
        tmp_path / "redness.tflite",
        [T((1, SIDE, SIDE, 3))],
        [T((1, 2))],
        inner=[T((2, SIDE * SIDE * 3), name="weights")],
        ops=[Op(FULLY_CONNECTED, [0, 2], [1])],
        constants={2: weights.tobytes()},
    )


def paint(path: Path, color: tuple[int, int, int]) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.new("RGB", (20, 30), color).save(path)
    return path


def test_a_described_model_needs_no_flag_on_the_device(
    redness: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels.txt").write_text("red\nblue\n")
    output = tmp_path / "out.tflite"
    flags = ["--quantize", "none", "--preset", "0-1", "--color", "BGR", "--labels", str(tmp_path / "labels.txt")]
    assert main([str(redness), "-o", str(output), *flags, "--json", "-q"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["verdict"]["outputs"][0]["sqnr_db"] > 100
    assert result["passed"] is True
    spec = resolve(output)
    assert spec.inferred == ()
    assert isinstance(spec.input, ImageInput)
    assert (spec.input.color, spec.input.std) == ("BGR", (255.0,))
    with load(output) as model:
        # The network takes blue first, so what it calls red is blue.
        assert model(paint(tmp_path / "b.png", (0, 0, 200))).result[0]["label"] == "red"


def test_labelled_pictures_prove_the_normalisation_or_it_is_asked_for(
    redness: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(6):
        paint(tmp_path / "eval" / "a" / f"{number}.png", (200 + number, 0, 20))
        paint(tmp_path / "eval" / "b" / f"{number}.png", (20, 0, 200 + number))
    flags = ["-o", str(tmp_path / "out.tflite"), "--quantize", "none", "-q", "--eval", str(tmp_path / "eval")]
    assert main([str(redness), *flags]) == 2  # a linear network answers the same at every scale
    assert "does not tell how inputs are normalised" in capsys.readouterr().err
    assert main([str(redness), *flags, "--preset", "raw"]) == 0
    assert "accuracy: 100.0% float" in capsys.readouterr().out


@pytest.mark.parametrize(("red", "labels"), [("apple", ("apple", "sky")), ("tomato", None)])
def test_the_names_of_evaluated_folders_become_labels_where_the_source_agrees(
    redness: Path, tmp_path: Path, red: str, labels: tuple[str, ...] | None
) -> None:
    for number in range(6):
        paint(tmp_path / "eval" / red / f"{number}.png", (200 + number, 0, 20))
        paint(tmp_path / "eval" / "sky" / f"{number}.png", (20, 0, 200 + number))
    output = tmp_path / "out.tflite"
    flags = ["--quantize", "none", "-q", "--preset", "raw", "--eval", str(tmp_path / "eval")]
    assert main([str(redness), "-o", str(output), *flags]) == 0
    assert resolve(output).labels == labels


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = np.zeros((2, 8), np.float32)
    weights[1, 3] = np.inf
    path = write_model(
        tmp_path / "m.tflite",
        [T((1, 8))],
        [T((1, 2))],
        inner=[T((2, 8), name="dense/kernel")],
        ops=[Op(FULLY_CONNECTED, [0, 2], [1])],
        constants={2: weights.tobytes()},
    )
    assert main([str(path), "-o", str(tmp_path / "o.tflite"), "--quantize", "none", "--preset", "raw", "-q"]) == 3
    assert "'dense/kernel' have 1 of 16 values" in capsys.readouterr().err
    assert not (tmp_path / "o.tflite").exists()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"just some text\n", "is a text file"),
        (b"", "is an empty file"),
        (b"\x80\x02pickled", "a Python pickle"),
        (b"\x1c\0\0\0TFL3" + bytes(8), "is damaged"),
    ],
)
def test_what_is_no_model_is_refused(
    content: bytes, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.bin").write_bytes(content)
    flags = ["-o", str(tmp_path / "o.tflite"), "--quantize", "none", "--preset", "raw", "-q"]
    assert main([str(tmp_path / "m.bin"), *flags]) == 3
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.bin"]


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["-o", "o.tflite"], "needs calibration data"),
        (["-o", "o.bin"], "give it that ending"),
        (["-o", "nowhere/o.tflite"], "there is no folder nowhere"),
        (["-o", "redness.tflite"], "is a folder or the source itself"),
        (["-o", "o.tflite", "--quantize", "none"], "say how its inputs are normalised"),
        (["-o", "o.tflite", "--quantize", "none", "--preset", "raw", "--mean", "1"], "one or the other"),
        (
            ["-o", "o.tflite", "--quantize", "none", "--preset", "raw", "--calibration", "gone"],
            "no such file or folder",
        ),
        (["-o", "o.tflite", "--quantize", "none", "--mean", "1,2"], "expected one number or 3"),
        (["-o", "o.tflite", "--quantize", "none", "--preset", "raw", "--input-shape", "1,8,8,3"], "keeps its input"),
        (["--fps", "10", "-o", "o.tflite"], "--fps belongs to --estimate"),
        (["--estimate", "--device", "toaster"], "no device profile 'toaster'; one of coral-dev-board"),
    ],
)
def test_wrong_flags_are_a_sentence(
    flags: list[str],
    complaint: str,
    redness: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["redness.tflite", *flags, "-q"]) in {2, 3}
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["redness.tflite"]


def test_a_float_model_is_estimated_without_any_package_of_the_extra(
    redness: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--estimate", "--quantize", "none", "--device", "pi-5", "--fps", "1"]
    assert main([str(redness), *flags, "-q"]) == 0
    said = capsys.readouterr()
    assert "verdict    time: fits" in said.out
    assert "used as    an estimate: --quantize none" in said.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["redness.tflite"]


def test_a_missing_model_is_a_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "gone.onnx"), "-o", str(tmp_path / "o.tflite")]) == 2
    assert "no such model" in capsys.readouterr().err


def test_a_disk_that_takes_nothing_is_a_sentence(redness: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["-o", "/proc/o.tflite", "--quantize", "none", "--preset", "raw", "-q"]
    assert main([str(redness), *flags]) == 1
    assert "/proc/o.tflite cannot be written" in capsys.readouterr().err


def test_several_pictures_and_folders_are_checked_at_once(
    redness: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.tflite"
    flags = ["--quantize", "none", "--preset", "0-1", "--task", "classify", "-q"]
    assert main([str(redness), "-o", str(output), *flags]) == 0
    one = paint(tmp_path / "one.png", (200, 0, 0))
    paint(tmp_path / "more" / "b.png", (0, 0, 200))
    paint(tmp_path / "more" / "a.png", (100, 0, 50))
    capsys.readouterr()
    assert main(["--check", str(one), "--check", str(tmp_path / "more"), str(output), "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)["pictures"]
    assert [Path(answer["picture"]).name for answer in answers] == ["one.png", "a.png", "b.png"]
    assert answers[0]["values"][0]["float"] == pytest.approx(200 / 255, abs=0.01)
    assert answers[0]["values"][0]["artifact"] == pytest.approx(200 / 255, abs=0.01)
    (tmp_path / "none").mkdir()
    assert main(["--check", str(tmp_path / "none"), str(output), "-q"]) == 2
    assert "no pictures in this folder" in capsys.readouterr().err
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    assert main(["--check", str(tmp_path / "broken.jpg"), str(output), "-q"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
