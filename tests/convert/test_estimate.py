"""``edge-convert --estimate`` on architectures nobody has trained, and that nothing is left behind."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from converters.cli import main

pytestmark = [pytest.mark.convert, pytest.mark.usefixtures("convertible")]
Estimate = Callable[..., tuple[int, Any, str]]
MAKE = """
import keras, sys
from keras import layers
model = keras.Sequential([
    keras.Input((32, 32, 3)),
    layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
    layers.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
    layers.GlobalAveragePooling2D(),
    layers.Dense(5, activation="softmax", bias_initializer="ones"),  # zeros would be left out
])
model.save(sys.argv[1] + "/net.keras")
open(sys.argv[1] + "/net.json", "w").write(model.to_json())
x = keras.Input((None, None, 3))
model = keras.Model(x, layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, padding="same")(x)))
open(sys.argv[1] + "/open.json", "w").write(model.to_json())
"""
# By hand: 16 x 16 x 8 results of 27 products, 8 x 8 x 16 of 72, 5 of 16; the same plus a bias each are parameters.
MACS = 16 * 16 * 8 * 27 + 8 * 8 * 16 * 72 + 5 * 16
PARAMETERS = 8 * 28 + 16 * 73 + 5 * 17


@pytest.fixture(scope="module")
def untrained(convertible: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("untrained")
    made = subprocess.run([sys.executable, "-c", MAKE, folder], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[-2000:]
    return folder


@pytest.fixture
def estimate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Estimate:
    """``estimate(model, *flags)`` returns status, JSON document and error; no file may come of it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))

    def run(model: Path, *flags: object) -> tuple[int, Any, str]:
        status = main([str(model), "--estimate", "--json", "-q", *map(str, flags)])
        said = capsys.readouterr()
        assert [path.name for path in tmp_path.rglob("*")] == ["tmp"]
        return status, json.loads(said.out) if said.out else None, said.err

    return run


def test_an_architecture_without_weights_is_estimated_without_being_asked_anything(
    estimate: Estimate, untrained: Path
) -> None:
    status, result, _ = estimate(untrained / "net.json", "--device", "pi-4b-64")
    assert status == 0
    assert (result["totals"]["macs"], result["totals"]["parameters"]) == (MACS, PARAMETERS)
    assert result["model"]["inputs"][0]["type"] == "int8"
    assert result["model"]["path"].endswith("net.json")
    assert result["estimate"]["quantize"] == "int8"
    (device,) = result["devices"]
    assert 0 < device["latency_ms"]["low"] < device["latency_ms"]["predicted"] < device["latency_ms"]["high"]


def test_a_network_of_open_size_is_estimated_for_the_size_that_is_given(estimate: Estimate, untrained: Path) -> None:
    status, _, err = estimate(untrained / "open.json")
    assert status == 2
    assert "--input-shape 1,HEIGHT,WIDTH,3" in err
    status, result, err = estimate(untrained / "open.json", "--input-shape", "1,64,48,3")
    assert status == 0, err
    assert result["totals"]["macs"] == 64 * 48 * 8 * 27
    status, _, err = estimate(untrained / "open.json", "--input-shape", "x:1,64,48,3")
    assert (status, "give its sizes alone" in err) == (2, True)


def test_an_architecture_that_keras_does_not_build_says_what_is_wrong_in_it(
    estimate: Estimate, untrained: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = json.loads((untrained / "net.json").read_text())
    config["config"]["layers"][1]["config"]["filters"] = -4
    path = tmp_path_factory.mktemp("wrong") / "wrong.json"
    path.write_text(json.dumps(config))
    status, _, err = estimate(path)
    assert status == 3
    assert "filters" in err
    assert "-4" in err
    assert "get_config" not in err
    assert err.count("\n") == 1


def test_what_does_not_fit_ends_with_status_3(estimate: Estimate, untrained: Path) -> None:
    flags = ("--device", "pi-zero-2-w", "--quantize", "none")
    status, result, _ = estimate(untrained / "net.keras", *flags, "--fps", "1000000")
    assert (status, result["verdict"]) == (3, "does not fit")


def test_an_onnx_network_is_estimated_on_every_board(estimate: Estimate, models: Path) -> None:
    status, result, err = estimate(models / "square.onnx")
    assert status == 0, err
    assert len(result["devices"]) >= 8
    assert result["totals"]["macs"] > 0
