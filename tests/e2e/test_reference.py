"""Every reference model through the real command, with the result that a bare interpreter gives."""

import json
import shutil
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.e2e

TOLERANCE = 0.12
"""Of scores: kernels differ by up to 28 steps of 1/256 between delegates (see the reference's method)."""

Predictions = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def expected(reference: Path) -> dict[str, Any]:
    return json.loads((reference / "index.json").read_text())["expected"]


def by_model(cases: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    grouped = defaultdict(list)
    for case in cases:
        grouped[case["model"]].append(case)
    return grouped


@pytest.fixture
def moved(reference: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A model under a name and in a place that say nothing of it."""

    def move(model: str) -> Path:
        return Path(shutil.copy(reference / model, tmp_path / "x.tflite"))

    return move


def test_classifiers_agree_with_the_bare_interpreter(
    reference: Path, expected: dict[str, Any], moved: Callable[[str], Path], predictions: Predictions
) -> None:
    seen = 0
    for model, cases in by_model(expected["classify"]).items():
        images = [reference / case["image"] for case in cases]
        found = predictions("--images", *images, "--model", moved(model))
        assert [line["path"] for line in found] == [str(image) for image in images]
        for case, line in zip(cases, found, strict=True):
            class_id, label, score = case["top5"][0]
            best = line["result"][0]
            assert best["class_id"] == class_id, case
            # One model carries a label file of its own, with the first of several names.
            assert label.startswith(best["label"]), case
            assert best["score"] == pytest.approx(score, abs=TOLERANCE), case
            assert len(line["result"]) == 5
            seen += 1
    assert seen == len(expected["classify"])


@pytest.mark.runtime
def test_detector_finds_every_expected_box(
    reference: Path, expected: dict[str, Any], moved: Callable[[str], Path], predictions: Predictions
) -> None:
    for model, cases in by_model(expected["detect"]).items():
        found = predictions("--images", *(reference / case["image"] for case in cases), "--model", moved(model))
        for case, line in zip(cases, found, strict=True):
            width, height = size_of(reference / case["image"])
            assert line["frame"] == {"width": width, "height": height}
            for wanted in case["detections"]:
                if wanted["score"] < 0.5 + TOLERANCE:
                    continue
                box = np.clip(wanted["px"], 0, [width, height, width, height])
                assert any(
                    row["label"] == wanted["label"]
                    and overlap(row["box"], box) > 0.8
                    and row["score"] == pytest.approx(wanted["score"], abs=TOLERANCE)
                    for row in line["result"]
                ), (case["image"], wanted, line["result"])


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def overlap(one: Any, other: Any) -> float:
    left, top = np.maximum(one[:2], other[:2])
    right, bottom = np.minimum(one[2:], other[2:])
    shared = max(0.0, right - left) * max(0.0, bottom - top)
    area = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    return float(shared / (sum(area) - shared))


@pytest.mark.runtime
def test_segmentation_covers_the_bird(
    reference: Path, expected: dict[str, Any], moved: Callable[[str], Path], predictions: Predictions
) -> None:
    case = expected["segment"][0]
    labels = reference / "labels/pascal_voc_segmentation_labels.txt"
    (line,) = predictions(
        "--images",
        reference / "images" / case["image"],
        "--model",
        moved(f"models/segment/{case['model']}"),
        "--labels",
        labels,
    )
    pixels = {row["label"]: row["pixels"] for row in line["result"]}
    mask = np.asarray(Image.open(reference / "images/bird_segmentation_mask.bmp").convert("P"))
    bird = int((mask == 3).sum())
    assert line["task"] == "segment"
    assert pixels["bird"] == pytest.approx(bird, rel=0.15)
    assert sum(pixels.values()) == 513 * 513


def test_pose_finds_the_keypoints(
    reference: Path, expected: dict[str, Any], moved: Callable[[str], Path], predictions: Predictions
) -> None:
    image = reference / "images/squat.bmp"
    (line,) = predictions("--images", image, "--model", moved("models/pose/movenet_single_pose_lightning_ptq.tflite"))
    width, height = size_of(image)
    (pose,) = line["result"]
    for (y, x, score), (found_x, found_y, found_score) in zip(
        expected["movenet_squat"]["out"], pose["keypoints"], strict=True
    ):
        assert found_x == pytest.approx(x * width, abs=0.04 * width)
        assert found_y == pytest.approx(y * height, abs=0.04 * height)
        assert found_score == pytest.approx(score, abs=0.25)


@pytest.mark.runtime
def test_yamnet_hears_speech_and_a_cat(
    reference: Path, expected: dict[str, Any], moved: Callable[[str], Path], predictions: Predictions
) -> None:
    model = moved("models/audio/yamnet_audio_classifier_with_metadata.tflite")
    for case in expected["yamnet"]:
        first = predictions("--sensor", f"wav:{reference / case['wav']}", "--model", model)[0]
        assert (first["result"][0]["start_s"], first["result"][0]["end_s"]) == (0.0, 0.975)
        for (class_id, label, score), row in zip(case["top3"], first["result"], strict=False):
            assert row["score"] == pytest.approx(score, abs=TOLERANCE)
            assert (row["class_id"], row["label"]) == (class_id, label) or score < first["result"][0]["score"]


@pytest.mark.runtime
@pytest.mark.parametrize("name", ["ad01_fp32", "ad01_int8"])
def test_autoencoder_gives_the_expected_error(
    name: str,
    reference: Path,
    expected: dict[str, Any],
    moved: Callable[[str], Path],
    predictions: Predictions,
    tmp_path: Path,
) -> None:
    values = np.fromfile(reference / "sensor/normal_id_01_00000000_hist_librosa.bin", "<f4").reshape(-1, 128)
    table = tmp_path / "log_mel.csv"
    np.savetxt(table, values, delimiter=",", fmt="%.7g")
    found = predictions(
        "--sensor", f"csv:{table}", "--stride", "1", "--model", moved(f"models/mlperf_tiny/{name}.tflite")
    )
    case = expected["anomaly_ad01"][name]
    assert len(found) == case["windows"]
    assert {line["task"] for line in found} == {"anomaly"}
    assert np.mean([line["result"][0]["score"] for line in found]) == pytest.approx(case["mean_mse"], rel=0.01)


def test_digits_and_cifar_classifiers(
    reference: Path, expected: dict[str, Any], moved: Callable[[str], Path], predictions: Predictions, tmp_path: Path
) -> None:
    (nine,) = predictions(
        "--images", reference / "images/mnist_nine.bmp", "--model", moved("models/digits/keras_lstm_mnist_ptq.tflite")
    )
    assert nine["result"][0]["class_id"] == expected["keras_lstm_mnist_nine"]
    names = sorted(path.name for path in (reference / "cifar10").iterdir())
    (tmp_path / "labels.txt").write_text("\n".join(names))
    for model in ("pretrainedResnet.tflite", "pretrainedResnet_quant.tflite"):
        found = predictions(
            "--images", *(reference / "cifar10" / name for name in names), "--labels", tmp_path / "labels.txt",
            "--model", moved(f"models/mlperf_tiny/{model}"), "--mean", "0", "--std", "1",
        )  # fmt: skip
        right = sum(line["result"][0]["label"] == Path(line["path"]).parent.name for line in found)
        wanted = expected["cifar10_top1_on_this_subset"][model]
        assert len(found) == wanted["n"]
        assert right / wanted["n"] == pytest.approx(wanted["top1"], abs=0.01)


@pytest.mark.runtime
def test_keyword_model_takes_a_table_of_features(
    reference: Path, moved: Callable[[str], Path], predictions: Predictions, tmp_path: Path
) -> None:
    features = np.random.default_rng(1).normal(0, 20, (49 * 3, 10))
    np.savetxt(tmp_path / "mfcc.csv", features, delimiter=",")
    for model in ("kws_ref_model.tflite", "kws_ref_model_float32.tflite"):
        found = predictions("--sensor", f"csv:{tmp_path / 'mfcc.csv'}", "--model", moved(f"models/mlperf_tiny/{model}"))
        assert len(found) == 3
        assert all(len(line["result"]) == 5 for line in found)


@pytest.mark.runtime
def test_models_that_cannot_run_are_refused_with_status_3(reference: Path, edge_infer: Any, tmp_path: Path) -> None:
    table = tmp_path / "three.csv"
    table.write_text("1,2,3\n")
    picture = reference / "images/parrot.jpg"
    refused = [
        *(("--images", picture, "--model", path) for path in sorted((reference / "models/edgetpu").iterdir())),
        ("--images", picture, "--model", reference / "models/refused/person_detect.tflite"),
        ("--sensor", f"csv:{table}", "--model", reference / "models/refused/model_invoking_error.tflite"),
    ]  # fmt: skip
    for words in refused:
        ended = edge_infer(*words, "--broker", "none")
        assert ended.status == 3, (words, ended)
        assert ended.err.count("edge-infer: error: ") == 1
        assert not ended.out


@pytest.mark.runtime
def test_a_truncated_model_is_refused(reference: Path, edge_infer: Any, tmp_path: Path) -> None:
    whole = (reference / "models/mlperf_tiny/pretrainedResnet_quant.tflite").read_bytes()
    for size in (0, 3, 20, 1000, len(whole) // 2):
        (tmp_path / "cut.tflite").write_bytes(whole[:size])
        ended = edge_infer(
            "--images", reference / "images/parrot.jpg", "--model", tmp_path / "cut.tflite", "--broker", "none"
        )
        assert ended.status == 3, (size, ended)
    (tmp_path / "cut.tflite").write_bytes(struct.pack("<I", 4) + b"TFL3" + whole[8:])
    ended = edge_infer(
        "--images", reference / "images/parrot.jpg", "--model", tmp_path / "cut.tflite", "--broker", "none"
    )
    assert ended.status == 3, ended
