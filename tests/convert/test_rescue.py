"""A network that int8 destroys is found out, and brought back."""

import json
from pathlib import Path

import numpy as np
import pytest

from converters import older_runtime
from converters.cli import main
from edge_runtime import load
from edge_runtime.errors import UsageError

pytestmark = [pytest.mark.convert, pytest.mark.usefixtures("convertible")]


@pytest.fixture
def flags(models: Path, tmp_path: Path) -> list[str]:
    data = str(models / "digits.npz")
    output = str(tmp_path / "digits.tflite")
    return [str(models / "collapsed_digits.keras"), "-o", output, "--calibration", data, "--eval", data, "--json", "-q"]


def test_a_collapsed_network_is_equalised_until_it_passes(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*flags, "--no-rescue"]) == 3
    refused = json.loads(capsys.readouterr().out)
    assert not any(row["recipe"]["equalized"] for row in refused["candidates"])
    assert not (tmp_path / "digits.tflite").exists()

    assert main(flags) == 0
    result = json.loads(capsys.readouterr().out)
    before, after = refused["verdict"], result["verdict"]
    assert before["outputs"][0]["sqnr_db"] < 15.0
    assert after["outputs"][0]["sqnr_db"] > 30.0
    assert after["agreement"] >= 0.95
    assert after["accuracy"]["after"] >= after["accuracy"]["before"] - 0.02
    assert after["samples"] == 100  # of 200, 80 calibrated and 20 tried the candidates
    assert result["float_operators"] == 0
    (chosen,) = [row for row in result["candidates"] if row["chosen"]]
    assert chosen["recipe"]["equalized"]
    assert chosen["int8_macs"] == 1.0
    assert any(error["sqnr_db"] < 60 for error in result["layer_errors"])
    assert {"low", "high", "seen", "clipped_share"} <= set(result["ranges"][0])
    with load(tmp_path / "digits.tflite") as model:
        assert model.spec.provenance is not None
        assert "equalised" in model.spec.provenance["recipe"]


def test_scores_beside_boxes_in_pixels_are_not_rounded_away(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (60, 12, 16, 3), np.uint8))
    flags = ["--calibration", str(tmp_path / "x.npy"), "--preset", "tf", "--task", "raw", "--json", "-q"]
    source = [str(models / "boxes_beside_scores.keras"), "-o", str(tmp_path / "out.tflite")]
    assert main([*source, *flags]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["candidates"][0]["scores_db"] < 20.0
    (kept,) = result["verdict"]["outputs"]
    assert kept["scores_db"] > 30.0
    (chosen,) = [row for row in result["candidates"] if row["chosen"]]
    assert 1 <= len(chosen["recipe"]["in_float"]) <= 3
    assert chosen["int8_macs"] == 1.0


def test_activations_that_were_not_fused_are_computed_in_int8(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), np.uint8))
    flags = ["--calibration", str(tmp_path / "x.npy"), "--preset", "tf", "--task", "raw", "--json", "-q"]
    assert main([str(models / "unfused.keras"), "-o", str(tmp_path / "out.tflite"), *flags]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["float_operators"] == 0
    assert result["verdict"]["outputs"][0]["sqnr_db"] > 25


def test_the_artifact_passes_in_tflite_runtime_too(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        older_runtime.find_python()
    except UsageError as error:
        pytest.skip(f"needs an environment with tflite-runtime: {error}")
    source = reference / "models/mlperf_tiny/pretrainedResnet.tflite"
    flags = ["--calibration", str(reference / "cifar10"), "--preset", "raw", "--json", "-q"]
    assert main([str(source), "-o", str(tmp_path / "out.tflite"), "--runtime", "tflite-runtime", *flags]) == 0
    older = json.loads(capsys.readouterr().out)["older_runtime"]
    assert older["runtime"] == "tflite-runtime 2.14.0"
    assert older["verdict"]["outputs"][0]["sqnr_db"] > 20
    assert older["verdict"]["agreement"] > 0.95
