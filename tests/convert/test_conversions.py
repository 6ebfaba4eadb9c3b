"""Real conversions through the command, real refusals, and the artifacts used by the device's own command."""

import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from converters.cli import main
from edge_runtime import load
from edge_runtime.cli import main as edge_infer
from edge_runtime.manifest import resolve
from edge_runtime.model_file import read_model
from edge_runtime.types import ImageInput, WindowInput

pytestmark = [pytest.mark.convert, pytest.mark.usefixtures("convertible")]
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
Convert = Callable[..., dict[str, Any]]


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    path = tmp_path / "vectors.npy"
    np.save(path, np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32))
    return path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "pictures.npy"
    coarse = np.random.default_rng(0).integers(0, 256, (40, 3, 4, 3), np.uint8)
    np.save(path, coarse.repeat(4, 1).repeat(4, 2))
    return path


def test_a_trained_keras_file_keeps_its_accuracy_and_runs_without_flags(
    convert: Convert, reference: Path, tmp_path: Path
) -> None:
    (tmp_path / "labels.txt").write_text("\n".join(CLASSES))
    pictures = reference / "cifar10"
    source = reference / "models/mlperf_tiny/pretrainedResnet.h5"
    result = convert(source, "--calibration", pictures, "--eval", pictures, "--labels", tmp_path / "labels.txt")
    assert result["verdict"]["samples"] == 400  # 100 of the 500 calibrated and are not scored
    assert result["verdict"]["accuracy"]["after"] >= result["verdict"]["accuracy"]["before"] - 0.01
    assert result["preprocessing"].startswith("preset raw, proven by --eval")
    assert result["float_operators"] == 0
    right = 0
    with load(tmp_path / "out.tflite") as model:
        for name in CLASSES:
            files = sorted((pictures / name).iterdir())
            right += sum(prediction.result[0]["label"] == name for prediction in model.batch(files))
    assert right >= 374 - 3  # the published int8 file: 374


def test_the_artifact_is_described_for_the_device_and_for_other_tools(
    convert: Convert, models: Path, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\ne\n")
    flags = ("--calibration", pictures, "--labels", tmp_path / "labels.txt", "--name", "five", "--model-version", "7")
    result = convert(models / "rescaling.keras", *flags, "--resize", "letterbox")
    spec = resolve(tmp_path / "out.tflite")
    assert spec.inferred == ()
    assert (spec.identity.name, spec.identity.version, spec.task) == ("five", "7", "classify")
    assert spec.labels == ("a", "b", "c", "d", "e")
    assert isinstance(spec.input, ImageInput)
    assert (spec.input.size, spec.input.mean, spec.input.std) == ((16, 12), (0.0,), (1.0,))
    assert spec.input.resize == "letterbox"
    assert (spec.inputs[0].dtype, spec.outputs[0].dtype) == (np.int8, np.int8)
    assert "rescaling" in result["preprocessing"]
    assert spec.provenance is not None
    assert spec.provenance["source_sha256"] == result["source_sha256"]
    assert spec.reference is not None
    assert spec.reference["inputs"][0]["max"] == 255.0


def test_an_autoencoder_reconstructs_within_five_percent(convert: Convert, reference: Path, tmp_path: Path) -> None:
    frames = np.fromfile(reference / "sensor/normal_id_01_00000000_hist_librosa.bin", "<f4").reshape(200, 128)
    windows = np.stack([frames[start : start + 5].reshape(-1) for start in range(196)])
    np.savez(tmp_path / "windows.npz", x=windows, y=windows)
    result = convert(
        reference / "models/mlperf_tiny/ad01.h5", "--calibration", tmp_path / "windows.npz", "--preset", "raw"
    )
    before, after = result["verdict"]["mean_squared_error"]
    assert abs(after - before) <= 0.05 * before


def test_an_onnx_digit_classifier_reads_its_picture(convert: Convert, reference: Path, tmp_path: Path) -> None:
    picture = reference / "images/mnist_nine.bmp"
    source = reference / "models/onnx/mnist.onnx"
    digest = source.read_bytes()
    result = convert(source, "--quantize", "none", "--preset", "raw")
    assert source.read_bytes() == digest, "the source was rewritten"
    assert result["layout"]["input"] == [0, 2, 3, 1]
    assert result["float_sqnr_db"] > 100
    with load(tmp_path / "out.tflite") as model:
        assert model(picture).result[0]["class_id"] == 9


def test_an_onnx_digit_classifier_reads_its_picture_in_int8(convert: Convert, reference: Path, tmp_path: Path) -> None:
    draw_digits(tmp_path / "digits")
    source = reference / "models/onnx/mnist.onnx"
    result = convert(source, "--calibration", tmp_path / "digits", "--preset", "raw", "--report", tmp_path / "r.html")
    assert result["verdict"]["outputs"][0]["sqnr_db"] >= 30
    assert "passed" in (tmp_path / "r.html").read_text()
    with load(tmp_path / "out.tflite") as model:
        assert model(reference / "images/mnist_nine.bmp").result[0]["class_id"] == 9


def draw_digits(folder: Path) -> None:
    """White digits on black, of several sizes and angles."""
    folder.mkdir()
    for number in range(60):
        picture = Image.new("L", (28, 28), 0)
        font = ImageFont.load_default(size=18 + number % 9)
        ImageDraw.Draw(picture).text((5 + number % 5, number % 4), str(number % 10), fill=255, font=font)
        picture.rotate(number % 7 * 5 - 15).save(folder / f"{number:02}.png")


@pytest.mark.parametrize("scheme", ["int8", "int8-float-io", "int16x8", "dynamic", "float16", "none"])
def test_every_scheme_runs_on_the_device(
    scheme: str, convert: Convert, models: Path, pictures: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "squares.npy", np.load(pictures)[:, :8, :8])
    flags = ("--calibration", tmp_path / "squares.npy", "--preset", "0-1", "--quantize", scheme)
    result = convert(models / "square.onnx", *flags)
    assert result["verdict"]["outputs"][0]["sqnr_db"] > 25
    expected = {"int8": "int8"}.get(scheme, "float32")
    spec = resolve(tmp_path / "out.tflite")
    assert spec.inputs[0].dtype == spec.outputs[0].dtype == np.dtype(expected)
    assert np.array_equal(spec.inputs[0].shape, (1, 8, 8, 3))


def test_a_saved_model_converts(convert: Convert, models: Path, pictures: Path) -> None:
    result = convert(models / "saved", "--calibration", pictures, "--preset", "tf")
    assert result["route"].startswith("savedmodel")
    assert result["float_sqnr_db"] > 100


def test_a_window_of_samples_is_fed_as_one(convert: Convert, models: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.random.default_rng(0).normal(5, 2, (50, 20, 3)).astype(np.float32))
    convert(models / "window.keras", "--calibration", tmp_path / "w.npy", "--mean", "5", "--std", "2",
            "--window", "20x3", "--task", "raw")  # fmt: skip
    spec = resolve(tmp_path / "out.tflite")
    assert spec.input == WindowInput(20, 3, mean=(5.0,), std=(2.0,))
    rows = "\n".join("a,b,c" if n < 0 else f"{n},{n},{n}" for n in range(-1, 20))
    (tmp_path / "r.csv").write_text(rows)
    assert edge_infer(["batch", "--model", str(tmp_path / "out.tflite"), "--sensor", f"csv:{tmp_path / 'r.csv'}",
                       "-o", str(tmp_path / "r.jsonl"), "-q"]) == 0  # fmt: skip
    assert json.loads((tmp_path / "r.jsonl").read_text().splitlines()[0])["task"] == "raw"


@pytest.mark.parametrize("scheme", ["int8", "dynamic"])
def test_a_recurrent_network_converts(scheme: str, convert: Convert, models: Path) -> None:
    flags = ("--calibration", "random", "--preset", "raw", "--window", "10x3", "--task", "raw")
    result = convert(models / "recurrent.keras", *flags, "--quantize", scheme)
    assert result["verdict"]["outputs"][0]["sqnr_db"] > 25
    assert result["float_operators"] == 0 or scheme == "dynamic"


def test_an_open_size_is_asked_for_and_taken(convert: Convert, models: Path, pictures: Path, tmp_path: Path) -> None:
    flags = ("--calibration", pictures, "--preset", "tf")
    asked = convert(models / "open_size.keras", *flags, status=2)
    assert "--input-shape" in asked["error"]
    convert(models / "open_size.keras", *flags, "--input-shape", "1,12,16,3")
    assert resolve(tmp_path / "out.tflite").inputs[0].shape == (1, 12, 16, 3)


def test_an_open_onnx_size_is_asked_for_and_taken(convert: Convert, models: Path, tmp_path: Path) -> None:
    flags = ("--quantize", "none", "--preset", "tf")
    assert "[N, 3, side, side]" in convert(models / "open.onnx", *flags, status=2)["error"]
    convert(models / "open.onnx", *flags, "--input-shape", "1,3,10,12")
    assert resolve(tmp_path / "out.tflite").inputs[0].shape == (1, 10, 12, 3)


def test_what_lost_its_accuracy_is_not_written(convert: Convert, models: Path, vectors: Path) -> None:
    refused = convert(models / "collapsing.keras", "--calibration", vectors, "--preset", "raw", "--no-rescue", status=3)
    assert "at least 20 dB are wanted" in refused["error"]
    assert refused["output"] is None
    assert refused["passed"] is False


def test_force_writes_it_marked_and_the_device_warns(
    convert: Convert, models: Path, vectors: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    convert(models / "collapsing.keras", "--calibration", vectors, "--preset", "raw", "--force", "--no-rescue")
    spec = resolve(tmp_path / "out.tflite")
    assert spec.provenance is not None
    assert "converted with --force" in spec.provenance["warning"]
    monkeypatch.setattr(logging.getLogger("edge_runtime"), "propagate", True)
    with caplog.at_level(logging.WARNING, "edge_runtime"), load(tmp_path / "out.tflite"):
        assert "converted with --force" in caplog.text


def test_random_calibration_is_marked(convert: Convert, models: Path, tmp_path: Path) -> None:
    result = convert(models / "square.onnx", "--calibration", "random", "--preset", "0-1")
    assert any("random" in warning for warning in result["warnings"])
    provenance = resolve(tmp_path / "out.tflite").provenance
    assert provenance is not None
    assert "random" in provenance["warning"]


@pytest.mark.parametrize(
    ("name", "complaint", "status"),
    [
        ("lambda.keras", "layer 'lambda' is a Lambda", 3),
        ("lambda.h5", "is a Lambda", 3),
        ("broken.keras", "no numbers (NaN or infinite)", 3),
        ("two_inputs.keras", "2 inputs; the device feeds one", 3),
        ("only.weights.h5", "has weights only, no network", 3),
    ],
)
def test_models_that_cannot_be_used_are_refused(
    name: str, complaint: str, status: int, convert: Convert, models: Path, vectors: Path
) -> None:
    said = convert(models / name, "--calibration", vectors, "--preset", "raw", status=status)
    assert complaint in said["error"]


def test_an_operator_that_does_not_convert_is_named(convert: Convert, models: Path) -> None:
    said = convert(models / "determinant.onnx", "--quantize", "none", "--preset", "raw", status=3)
    assert "det" in said["error"].lower()


def test_an_operator_that_onnx2tf_gets_wrong_arrives_right(convert: Convert, models: Path) -> None:
    """onnx2tf 2.6.9 takes the alpha of Elu for 1, without a word."""
    said = convert(models / "elu.onnx", "--quantize", "none", "--preset", "raw")
    assert said["passed"] is True


def test_preprocessing_is_asked_for(convert: Convert, models: Path, pictures: Path) -> None:
    said = convert(models / "open_size.keras", "--calibration", pictures, "--input-shape", "1,12,16,3", status=2)
    assert "--preset" in said["error"]


def test_check_shows_both_answers(convert: Convert, reference: Path, tmp_path: Path, capsys: Any) -> None:
    source = reference / "models/mlperf_tiny/pretrainedResnet.tflite"
    convert(source, "--calibration", reference / "cifar10", "--preset", "raw")
    picture = reference / "cifar10/cat/0003.jpg"
    flags = ["--check", str(picture), str(tmp_path / "out.tflite"), "-q", "--json"]
    assert main([*flags, "--source", str(source)]) == 0
    answer = json.loads(capsys.readouterr().out)
    best = answer["pictures"][0]["values"][0]
    assert abs(best["float"] - best["artifact"]) < 0.2
    assert main(flags) == 2  # its source is not beside it
    assert "--source" in capsys.readouterr().err
    (tmp_path / source.name).write_bytes(source.read_bytes())
    assert main(flags) == 0


def test_a_model_for_the_edge_tpu_keeps_its_description(
    convert: Convert, models: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler drops the metadata; a stand-in for it does so too."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/edgetpu_compiler"
    stand_in = Path(__file__).parents[1] / "unit/stand_in_edgetpu_compiler.py"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {stand_in} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    result = convert(models / "rescaling.keras", "--calibration", pictures, "--edgetpu", "--task", "classify")
    compiled = tmp_path / "out_edgetpu.tflite"
    assert result["edgetpu"]["output"] == str(compiled)
    assert result["edgetpu"]["after"]["left"] == []
    spec, plain = resolve(compiled), resolve(tmp_path / "out.tflite")
    assert (spec.input, spec.task, spec.reference) == (plain.input, plain.task, plain.reference)
    assert spec.inferred == plain.inferred
    weights = [tensor for tensor in read_model(tmp_path / "out.tflite").tensors if tensor.shape == (5, 8)]
    assert weights[0].scales.size == 1  # the compiler's kernels read only the first scale of a matrix
    compiled.unlink()
    monkeypatch.setenv("STAND_IN_MODE", "fail")
    (tmp_path / "out.tflite").unlink()
    refused = convert(models / "rescaling.keras", "--calibration", pictures, "--edgetpu", status=3)
    assert "Didn't find op for builtin opcode 'EXP'" in refused["error"]


def test_without_the_compiler_the_edge_tpu_is_checked_only(convert: Convert, models: Path, pictures: Path) -> None:
    flags = ("--calibration", pictures, "--preset", "0-1", "--edgetpu")
    result = convert(models / "rescaling.keras", *flags)
    assert result["edgetpu"]["output"] is None
    assert any("edgetpu_compiler is not on PATH" in warning for warning in result["warnings"])
