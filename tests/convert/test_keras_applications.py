"""Networks of keras.applications, small, with a last layer fitted to pictures: the float model is the same network."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import Options, convert, litert, preprocessing, source_check

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
pytestmark = [pytest.mark.convert, pytest.mark.usefixtures("convertible"), pytest.mark.filterwarnings("ignore")]
SIDE, PICTURES = 64, 48


def build(name: str, classes: int) -> Any:
    from keras import applications

    wanted = {"input_shape": (SIDE, SIDE, 3), "weights": None, "classes": classes}
    if name == "MobileNetV2":
        return applications.MobileNetV2(alpha=0.35, **wanted)
    return getattr(applications, name)(**wanted)


@pytest.mark.parametrize("name", ["MobileNetV2", "MobileNetV3Small", "EfficientNetV2B0"])
def test_a_network_of_keras_converts_and_answers_alike(
    name: str, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras
    import keras_networks
    from onnx_sweep import StepHere

    for module in (litert, preprocessing, source_check):
        monkeypatch.setattr(module, "Child", StepHere)
    keras.utils.set_random_seed(11)
    pictures, classes = keras_networks.load_pictures(reference / "cifar10", SIDE)
    pictures, classes = pictures[:PICTURES], classes[:PICTURES]
    normalized = name == "MobileNetV2"
    model = build(name, classes.shape[1])
    keras_networks.settle(model, pictures / 127.5 - 1.0 if normalized else pictures, classes)
    model.save(tmp_path / "model.keras")
    # Features of a random network tell pictures apart by little, so int8 is no test of them: see docs/converting.md.
    np.save(tmp_path / "pictures.npy", pictures[::4].astype(np.uint8))
    result = convert(
        Options(
            source=tmp_path / "model.keras",
            output=tmp_path / "out.tflite",
            quantize="none",
            calibration=str(tmp_path / "pictures.npy"),
            **({"mean": (127.5,), "std": (127.5,)} if normalized else {}),
        )
    )
    assert result.output is not None
    assert result.float_sqnr_db >= 90.0 or any("magnifies rounding" in warning for warning in result.warnings)
    assert result.verdict.agreement == 1.0
    assert result.verdict.class_entropy_bits is not None
    assert result.verdict.class_entropy_bits > 1.0
