"""Networks of many kinds come out as what they were: exported from torch, or speaking for themselves.

Only the smallest run here; ``scripts/convert_table`` converts all of them and writes the table in docs/converting.md.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keyword_speech
import numpy as np
import pytest

pytestmark = [pytest.mark.convert, pytest.mark.usefixtures("convertible")]
FIXTURES = Path(__file__).parent / "fixtures"
Convert = Callable[..., dict[str, Any]]


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """Wandering series of numbers, (n, length, channels), as sensors give them."""
    steps = np.random.default_rng(2).normal(size=(120, 20, 6)).astype(np.float32)
    np.save(tmp_path / "series.npy", steps.cumsum(1) * np.float32(0.4))
    return tmp_path / "series.npy"


def test_a_torch_classifier_agrees_with_itself_on_pictures(convert: Convert, reference: Path) -> None:
    flags = ("--calibration", reference / "cifar10", "--preset", "tf", "--samples", 50)
    verdict = convert(FIXTURES / "torch_cnn.onnx", *flags)["verdict"]
    assert verdict["outputs"][0]["sqnr_db"] > 22
    assert verdict["agreement"] >= 0.95
    assert verdict["class_entropy_bits"] > 1.5  # it does not always say the same


def test_a_torch_recurrence_agrees_with_itself(convert: Convert, series: Path) -> None:
    flags = ("--calibration", series, "--preset", "raw", "--window", "20x6", "--task", "classify")
    verdict = convert(FIXTURES / "torch_gru.onnx", *flags)["verdict"]
    assert verdict["outputs"][0]["sqnr_db"] > 22  # -0.1 dB when its matrices have a scale per channel
    assert verdict["agreement"] >= 0.95


def test_spoken_keywords_are_understood_as_before(
    convert: Convert, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not keyword_speech.available():
        if os.environ.get("EDGE_REQUIRE_E2E") == "1":
            pytest.fail("espeak-ng is missing: apt install espeak-ng")
        pytest.skip("nobody here can speak: apt install espeak-ng")
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    flags = ("--window", "49x10", "--task", "audio", "--preset", "raw")
    samples = ("--calibration", "keyword_speech:spoken", "--eval", "keyword_speech:labelled")
    verdict = convert(reference / "models/mlperf_tiny/kws_ref_model", *flags, *samples)["verdict"]
    assert verdict["class_entropy_bits"] > 2  # a constant answer has none
    assert verdict["agreement"] >= 0.95
    assert verdict["accuracy"]["before"] > 0.6  # 12 classes: the front end is the one it was trained with
    assert verdict["accuracy"]["after"] >= verdict["accuracy"]["before"] - 0.03
