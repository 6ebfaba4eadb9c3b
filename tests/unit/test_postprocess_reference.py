"""Real models, bare interpreter, plainest preparation: our results against those recorded in the reference set."""

import json
import wave
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from postprocess_parts import Array, Bare, prepared, quantize, stretched

from edge_runtime.postprocess import factory
from edge_runtime.postprocess.nms import iou
from edge_runtime.types import ModelSpec, Origin, Result, TensorSpec

SCORE_TOLERANCE = 0.12
"""Kernels differ between delegates by up to 28 steps of 1/256."""


@pytest.fixture(scope="module")
def expected(reference: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((reference / "index.json").read_text())["expected"]
    return values


@pytest.fixture(scope="module")
def imagenet(reference: Path) -> list[str]:
    return (reference / "labels/imagenet_labels.txt").read_text().splitlines()


def pixels_of(path: Path, size: tuple[int, int], *, input_spec: TensorSpec) -> Array:
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BILINEAR))[None]
    raw = input_spec.dtype == np.uint8 and input_spec.zero_point in {0, 127, 128}
    return pixels if raw else quantize((pixels.astype(np.float32) - 127.5) / 127.5, input_spec)


def run(model: Bare, spec: ModelSpec, picture: Path, **options: Any) -> Result:
    size = (model.inputs[0].shape[2], model.inputs[0].shape[1])
    with Image.open(picture) as image:
        frame_size = image.size
    tensor = pixels_of(picture, size, input_spec=model.inputs[0])
    read = factory.build(spec, **{"top_k": None, "score_threshold": None, **options})
    return read(model.invoke(tensor), prepared(stretched(size, frame_size), tensor))


CLASSIFIERS = ["v1_0.25_128", "v1_0.25_224", "v1_0.75_192", "v2_1.0_224"]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_give_the_recorded_classes(
    reference: Path, expected: dict[str, Any], imagenet: list[str], name: str
) -> None:
    path = f"models/classify/mobilenet_{name}_quant.tflite"
    model = Bare(reference / path)
    cases = [case for case in expected["classify"] if case["model"] == path and case["norm"] == "m11"]
    assert cases
    for case in cases:
        result = run(model, model.spec("classify", labels=imagenet), reference / case["image"])
        assert len(result) == 5
        scores = {row["class_id"]: row["score"] for row in result}
        first_id, first_label, first_score = case["top5"][0]
        if first_score - case["top5"][1][2] > 0.05:
            assert (result[0]["class_id"], result[0]["label"]) == (first_id, first_label), case
        for class_id, _, score in case["top5"][:2]:
            assert scores.get(class_id, 0.0) == pytest.approx(score, abs=SCORE_TOLERANCE), case


def test_an_lstm_reads_a_nine(reference: Path, expected: dict[str, Any]) -> None:
    model = Bare(reference / "models/digits/keras_lstm_mnist_ptq.tflite")
    picture = np.asarray(Image.open(reference / "images/mnist_nine.bmp").convert("L"))[None]
    spec = model.spec("classify")
    result = factory.build(spec, top_k=1, score_threshold=None)(model.invoke(picture), prepared(None, picture))
    assert result[0]["class_id"] == expected["keras_lstm_mnist_nine"]


@pytest.mark.parametrize("name", ["pretrainedResnet.tflite", "pretrainedResnet_quant.tflite"])
def test_cifar_accuracy_is_the_recorded_one(reference: Path, expected: dict[str, Any], name: str) -> None:
    model = Bare(reference / "models/mlperf_tiny" / name)
    read = factory.build(model.spec("classify"), top_k=1, score_threshold=None)
    right = total = 0
    for class_id, folder in enumerate(sorted((reference / "cifar10").iterdir())):
        for path in sorted(folder.iterdir()):
            tensor = quantize(np.asarray(Image.open(path), dtype=np.float32)[None], model.inputs[0])
            result = read(model.invoke(tensor), prepared(None, tensor))
            right += result[0]["class_id"] == class_id
            total += 1
    recorded = expected["cifar10_top1_on_this_subset"][name]
    assert total == recorded["n"]
    assert right / total == pytest.approx(recorded["top1"], abs=0.01)


def test_ssd_finds_the_recorded_boxes(reference: Path, expected: dict[str, Any]) -> None:
    labels = (reference / "labels/coco_90.txt").read_text().splitlines()
    models: dict[str, Bare] = {}
    for case in expected["detect"]:
        model = models.setdefault(case["model"], Bare(reference / case["model"]))
        result = run(model, model.spec("detect", labels=labels), reference / case["image"], score_threshold=0.4)
        assert result.extras()["frame"] == {"width": case["size"][0], "height": case["size"][1]}
        for wanted in case["detections"]:
            frame = np.array(case["size"] * 2)
            box = np.clip(np.array(wanted["px"]), 0, frame)
            rows = [row for row in result if row["label"] == wanted["label"] and row["class_id"] == wanted["cls"]]
            boxes = np.array([row["box"] for row in rows], dtype=np.float32).reshape(-1, 4)
            assert ((boxes >= 0) & (boxes <= frame)).all()
            overlaps = iou(boxes, box[None].astype(np.float32))[:, 0]
            near = [row for row, overlap in zip(rows, overlaps, strict=True) if overlap > 0.8]
            assert any(abs(row["score"] - wanted["score"]) < SCORE_TOLERANCE for row in near), (case["image"], wanted)


def test_deeplab_covers_the_bird(reference: Path, expected: dict[str, Any]) -> None:
    labels = (reference / "labels/pascal_voc_segmentation_labels.txt").read_text().splitlines()
    model = Bare(reference / "models/segment/deeplabv3_mnv2_dm05_pascal_quant.tflite")
    result = run(model, model.spec("segment", labels=labels), reference / "images/bird_segmentation.bmp")
    assert [row["label"] for row in result][:2] == ["background", "bird"]
    assert sum(row["pixels"] for row in result) == result.mask.size  # type: ignore[union-attr]
    truth = np.asarray(Image.open(reference / "images/bird_segmentation_mask.bmp"))
    common = int((result.mask == truth).sum())  # type: ignore[union-attr]
    recorded = expected["segment"][0]
    assert common / truth.size == pytest.approx(recorded["pix_acc"], abs=0.01)
    assert common / (2 * truth.size - common) == pytest.approx(recorded["coral_iou"], abs=0.015)
    assert {row["class_id"] for row in result} >= {0, 3}


def test_movenet_places_the_keypoints_of_a_squat(reference: Path, expected: dict[str, Any]) -> None:
    model = Bare(reference / "models/pose/movenet_single_pose_lightning_ptq.tflite")
    result = run(model, model.spec("pose"), reference / "images/squat.bmp")
    with Image.open(reference / "images/squat.bmp") as picture:
        size = picture.size
    found = np.array(result[0]["keypoints"])
    wanted = np.array(expected["movenet_squat"]["out"])
    assert found[:, :2] / size == pytest.approx(wanted[:, 1::-1], abs=0.03)
    assert found[:, 2] == pytest.approx(wanted[:, 2], abs=0.3)
    assert result[0]["score"] == pytest.approx(wanted[:, 2].mean(), abs=SCORE_TOLERANCE)


@pytest.mark.parametrize("name", ["ad01_fp32", "ad01_int8"])
def test_the_autoencoder_scores_a_normal_machine_as_recorded(
    reference: Path, expected: dict[str, Any], name: str
) -> None:
    model = Bare(reference / f"models/mlperf_tiny/{name}.tflite")
    mels = np.fromfile(reference / "sensor/normal_id_01_00000000_hist_librosa.bin", "<f4").reshape(-1, 128)
    read = factory.build(model.spec("anomaly"), top_k=None, score_threshold=None)
    scores = []
    for start in range(len(mels) - 4):
        tensor = quantize(mels[start : start + 5].reshape(1, -1), model.inputs[0])
        scores.append(read(model.invoke(tensor), prepared(None, tensor))[0]["score"])
    recorded = expected["anomaly_ad01"][name]
    assert len(scores) == recorded["windows"]
    assert np.mean(scores) == pytest.approx(recorded["mean_mse"], rel=0.02)


def test_yamnet_hears_what_was_recorded(reference: Path, expected: dict[str, Any]) -> None:
    path = reference / "models/audio/yamnet_audio_classifier_with_metadata.tflite"
    model = Bare(path)
    with zipfile.ZipFile(path) as archive:
        names = archive.read(archive.namelist()[0]).decode().splitlines()
    read = factory.build(model.spec("audio", labels=names), top_k=3, score_threshold=None)
    for case in expected["yamnet"]:
        with wave.open(str(reference / case["wav"])) as sound:
            samples = np.frombuffer(sound.readframes(15600), "<i2").astype(np.float32) / 32768.0
        result = read(model.invoke(samples), prepared(None, samples, origin=Origin(start_s=0.0, end_s=0.975)))
        for row, (class_id, label, score) in zip(result, case["top3"], strict=True):
            assert (row["class_id"], row["label"]) == (class_id, label)
            assert row["score"] == pytest.approx(score, abs=0.01)
            assert (row["start_s"], row["end_s"]) == (0.0, 0.975)
