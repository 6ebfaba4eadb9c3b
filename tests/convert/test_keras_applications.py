"""Networks of keras.applications, small, with random layers and a task that these can tell: int8 answers alike."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import Options, convert, litert, preprocessing, quantization, source_check

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
pytestmark = [pytest.mark.convert, pytest.mark.usefixtures("convertible"), pytest.mark.filterwarnings("ignore")]
SIDE, FITTED, SEEN = 64, 160, 120


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import drawn_scenes

    path = tmp_path_factory.mktemp("scenes") / "seen.npz"
    pictures, shown = drawn_scenes.sightings(SEEN, SIDE, seed=1)
    np.savez(path, x=pictures, y=shown)
    return path


def build(name: str, folder: Path) -> Path:
    import drawn_scenes
    import keras
    import keras_networks

    keras.utils.set_random_seed(11)
    classes = drawn_scenes.SCENES
    pictures, shown = drawn_scenes.sightings(FITTED, SIDE, seed=0)
    model: Any = getattr(keras.applications, name)(input_shape=(SIDE, SIDE, 3), weights=None, classes=classes)
    fed = pictures / np.float32(127.5) - np.float32(1.0) if name == "MobileNetV2" else pictures.astype(np.float32)
    keras_networks.settle(model, fed, np.eye(classes, dtype=np.float32)[shown])
    model.save(folder / "model.keras")
    return folder / "model.keras"


@pytest.mark.parametrize("name", ["MobileNetV2", "MobileNetV3Small", "EfficientNetV2B0"])
def test_a_network_of_keras_passes_the_gate_in_int8(
    name: str, seen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnx_sweep import StepHere

    for module in (litert, preprocessing, quantization, source_check):
        monkeypatch.setattr(module, "Child", StepHere)
    result = convert(
        Options(
            source=build(name, tmp_path),
            output=tmp_path / "out.tflite",
            calibration=str(seen),
            evaluation=str(seen),
            samples=60,
            task="classify",
            **({"mean": (127.5,), "std": (127.5,)} if name == "MobileNetV2" else {}),
        )
    )
    assert result.output is not None
    assert result.float_operators == 0
    assert result.float_sqnr_db >= 90.0 or any("magnifies rounding" in warning for warning in result.warnings)
    assert result.verdict.samples == SEEN - 60
    assert result.verdict.agreement is not None
    assert result.verdict.agreement >= 0.95
    assert result.verdict.class_entropy_bits is not None
    assert result.verdict.class_entropy_bits > 2.7
    assert result.verdict.accuracy is not None
    assert result.verdict.accuracy.before > 0.95
